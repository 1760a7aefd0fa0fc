/*-------------------------------------------------------------------------
 *
 * shape.c
 *		What rows of schema chat look like as JSON: one description for
 *		fetches, history, lists and frames, as text and as jsonb.
 *
 * Members that a client must be able to rely on are always there, null or not;
 * the optional ones of a message (parts, model, client_id, usage, metadata,
 * updated_at) and of a tool execution (error) are left out when null.
 *
 * Text has the members in the order below.  A jsonb has them by length and
 * then by bytes, an order that is found once for each shape in a process.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "store/shape.h"

#define MEMBER(name, kind, from, shape)                                       \
	{                                                                         \
		"\"" name "\":", sizeof(name) - 1, PENNY_MEMBER_##kind, (from), shape \
	}
#define VALUE(name, column) MEMBER(name, VALUE, column, NULL)
#define OPTIONAL(name, column) MEMBER(name, OPTIONAL, column, NULL)
#define BOOLEAN(name, column) MEMBER(name, BOOLEAN, column, NULL)
#define EPOCH(name) MEMBER(name, EPOCH, 0, NULL)
#define OBJECT(name, shape) MEMBER(name, OBJECT, 0, &(shape))
#define OPTIONAL_OBJECT(name, shape) MEMBER(name, OPTIONAL_OBJECT, 0, &(shape))
#define LIST(name, number, shape) MEMBER(name, LIST, number, &(shape))
#define FIRST(name, number, shape) MEMBER(name, FIRST, number, &(shape))

#define SHAPE(members)               \
	{                                \
		(members), lengthof(members) \
	}

static const PennyMember user_members[] = {
	VALUE("id", PENNY_USER_ID),
	VALUE("name", PENNY_USER_NAME),
	VALUE("avatar_url", PENNY_USER_AVATAR),
};

static const PennyMember usage_members[] = {
	VALUE("input_tokens", PENNY_MESSAGE_INPUT_TOKENS),
	VALUE("output_tokens", PENNY_MESSAGE_OUTPUT_TOKENS),
};

static const PennyMember position_members[] = {
	EPOCH("epoch"),
	VALUE("version", PENNY_ROW_VERSION),
};

static const PennyMember tool_execution_members[] = {
	VALUE("id", PENNY_ID),
	VALUE("version", PENNY_ROW_VERSION),
	VALUE("message_id", PENNY_TOOL_MESSAGE),
	VALUE("user_id", PENNY_USER_ID),
	VALUE("tool_id", PENNY_TOOL_TOOL),
	VALUE("tool_call_id", PENNY_TOOL_CALL),
	VALUE("status", PENNY_TOOL_STATUS),
	VALUE("input", PENNY_TOOL_INPUT),
	VALUE("output", PENNY_TOOL_OUTPUT),
	OPTIONAL("error", PENNY_TOOL_ERROR),
	VALUE("created_at", PENNY_CREATED_AT),
	VALUE("started_at", PENNY_TOOL_STARTED_AT),
	VALUE("finished_at", PENNY_TOOL_FINISHED_AT),
};

#define ARTIFACT_MEMBERS                                                                    \
	VALUE("id", PENNY_ID), VALUE("version", PENNY_ROW_VERSION),                             \
		VALUE("message_id", PENNY_ARTIFACT_MESSAGE), VALUE("user_id", PENNY_USER_ID),       \
		VALUE("kind", PENNY_ARTIFACT_KIND), VALUE("title", PENNY_ARTIFACT_TITLE),           \
		VALUE("metadata", PENNY_ARTIFACT_METADATA), VALUE("number", PENNY_ARTIFACT_NUMBER), \
		VALUE("created_at", PENNY_CREATED_AT), VALUE("updated_at", PENNY_UPDATED_AT)

static const PennyMember artifact_members[] = {ARTIFACT_MEMBERS};

static const PennyMember artifact_body_members[] = {
	ARTIFACT_MEMBERS,
	VALUE("content", PENNY_ARTIFACT_CONTENT),
	VALUE("data", PENNY_ARTIFACT_DATA),
	VALUE("file_id", PENNY_ARTIFACT_FILE),
};

static const PennyMember model_members[] = {
	VALUE("id", PENNY_MODEL_ID),
	VALUE("provider", PENNY_MODEL_PROVIDER),
	VALUE("name", PENNY_MODEL_NAME),
	VALUE("context_tokens", PENNY_MODEL_TOKENS),
	VALUE("metadata", PENNY_MODEL_METADATA),
	VALUE("created_at", PENNY_CREATED_AT),
};

static const PennyMember session_members[] = {
	VALUE("id", PENNY_SESSION_ID),
	VALUE("role", PENNY_SESSION_ROLE),
	VALUE("created_at", PENNY_CREATED_AT),
	VALUE("expires_at", PENNY_SESSION_EXPIRES_AT),
};

static PennyShape usage = SHAPE(usage_members);
static PennyShape position = SHAPE(position_members);
PennyShape penny_shape_user = SHAPE(user_members);
PennyShape penny_shape_tool_execution = SHAPE(tool_execution_members);
PennyShape penny_shape_artifact = SHAPE(artifact_members);
static PennyShape artifact_body = SHAPE(artifact_body_members);
static PennyShape model = SHAPE(model_members);
static PennyShape session = SHAPE(session_members);

static const PennyMember message_members[] = {
	VALUE("id", PENNY_ID),
	VALUE("seq", PENNY_MESSAGE_SEQ),
	VALUE("version", PENNY_ROW_VERSION),
	VALUE("parent_id", PENNY_MESSAGE_PARENT),
	VALUE("role", PENNY_MESSAGE_ROLE),
	VALUE("status", PENNY_MESSAGE_STATUS),
	VALUE("content", PENNY_MESSAGE_CONTENT),
	OPTIONAL("parts", PENNY_MESSAGE_PARTS),
	OPTIONAL("model", PENNY_MESSAGE_MODEL),
	OPTIONAL("client_id", PENNY_MESSAGE_CLIENT_ID),
	OPTIONAL_OBJECT("usage", usage),
	OPTIONAL("metadata", PENNY_MESSAGE_METADATA),
	VALUE("created_at", PENNY_CREATED_AT),
	OPTIONAL("updated_at", PENNY_UPDATED_AT),
	OBJECT("user", penny_shape_user),
	LIST("tool_executions", 0, penny_shape_tool_execution),
};

PennyShape penny_shape_message = SHAPE(message_members);

#define CONVERSATION_MEMBERS                                                                      \
	VALUE("id", PENNY_ID), VALUE("owner_id", PENNY_CONVERSATION_OWNER),                           \
		VALUE("title", PENNY_CONVERSATION_TITLE), VALUE("metadata", PENNY_CONVERSATION_METADATA), \
		VALUE("version", PENNY_ROW_VERSION), VALUE("last_seq", PENNY_CONVERSATION_LAST_SEQ),      \
		VALUE("message_count", PENNY_CONVERSATION_COUNT),                                         \
		VALUE("head_message_id", PENNY_CONVERSATION_HEAD),                                        \
		VALUE("archived_at", PENNY_CONVERSATION_ARCHIVED_AT),                                     \
		VALUE("pinned_at", PENNY_CONVERSATION_PINNED_AT), VALUE("created_at", PENNY_CREATED_AT),  \
		VALUE("updated_at", PENNY_UPDATED_AT),                                                    \
		VALUE("last_message_at", PENNY_CONVERSATION_LAST_MESSAGE_AT)

static const PennyMember conversation_members[] = {CONVERSATION_MEMBERS};

static const PennyMember whole_members[] = {
	CONVERSATION_MEMBERS,
	LIST("messages", 0, penny_shape_message),
	LIST("artifacts", 1, penny_shape_artifact),
	OBJECT("position", position),
};

static const PennyMember listed_members[] = {
	CONVERSATION_MEMBERS,
	FIRST("last_message", 0, penny_shape_message),
};

static PennyShape listed = SHAPE(listed_members);
PennyShape penny_shape_conversation = SHAPE(conversation_members);
PennyShape penny_shape_whole_conversation = SHAPE(whole_members);

static const PennyMember message_page_members[] = {
	LIST("data", 0, penny_shape_message),
	BOOLEAN("has_more", PENNY_PAGE_MORE),
};

static const PennyMember conversation_page_members[] = {
	LIST("data", 0, listed),
	BOOLEAN("has_more", PENNY_PAGE_MORE),
	VALUE("next_cursor", PENNY_PAGE_CURSOR),
};

static const PennyMember artifact_list_members[] = {LIST("data", 0, artifact_body)};
static const PennyMember model_list_members[] = {LIST("data", 0, model)};
static const PennyMember session_list_members[] = {LIST("data", 0, session)};

PennyShape penny_shape_artifact_list = SHAPE(artifact_list_members);
PennyShape penny_shape_model_list = SHAPE(model_list_members);
PennyShape penny_shape_session_list = SHAPE(session_list_members);
PennyShape penny_shape_message_page = SHAPE(message_page_members);
PennyShape penny_shape_conversation_page = SHAPE(conversation_page_members);

bool
penny_shape_is_null(const PennyShape *shape, const PennyRow *row)
{
	int i;

	for (i = 0; i < shape->n; i++)
		if (shape->members[i].kind != PENNY_MEMBER_VALUE || !row->isnull[shape->members[i].from])
			return false;
	return true;
}

/* By length, then by bytes, as jsonb has its keys. */
static int
by_key(const void *a, const void *b)
{
	const PennyMember *ma = *(const PennyMember *const *) a;
	const PennyMember *mb = *(const PennyMember *const *) b;

	return ma->len != mb->len ? ma->len - mb->len : memcmp(ma->text, mb->text, ma->len + 1);
}

void
penny_shape_sort(PennyShape *shape)
{
	int i;

	StaticAssertStmt(lengthof(whole_members) <= PENNY_SHAPE_MEMBERS, "the greatest shape fits");
	for (i = 0; i < shape->n; i++)
		shape->sorted[i] = &shape->members[i];
	qsort(shape->sorted, shape->n, sizeof(shape->sorted[0]), by_key);
}
