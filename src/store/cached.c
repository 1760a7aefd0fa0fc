/*-------------------------------------------------------------------------
 *
 * cached.c
 *		Reads of the store through the cache (cache/cache.h).
 *
 * What is kept is the value as PostgreSQL has it, a jsonb or a text with its
 * header, so that a hit is one copy out of shared memory and nothing is parsed.
 * Each caller has entries of their own, made by their own reads under their own
 * policies; callers who see the same share the bytes.
 *
 * That there is nothing to be seen is not kept: identifiers that are tried out
 * would push out what is used.
 *
 * A read that is a part of something cached tells that what it depends on,
 * whether it comes from the cache or not.  The text of a conversation is made
 * for HTTP: while an answer is being built that will be kept itself, it is not
 * kept a second time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/rls.h"
#include "utils/uuid.h"

#include "cache/cache.h"
#include "store/cached.h"
#include "store/render.h"
#include "store/trust.h"
#include "store/uuid.h"

#define TTL_MS (3600 * INT64CONST(1000))

typedef struct ReadKind
{
	PennyCacheKind kind;
	const char *name; /* in the key, and in the label */
	bool is_text;
	bool has_id; /* the label says of whom or what */
} ReadKind;

static const ReadKind kinds[] = {
	[PENNY_READ_CONVERSATION] = {PENNY_CACHE_CONVERSATION, "conversation", false, true},
	[PENNY_READ_CONVERSATION_TEXT] = {PENNY_CACHE_CONVERSATION, "conversation text", true, true},
	[PENNY_READ_MESSAGES] = {PENNY_CACHE_MESSAGES, "messages", false, true},
	[PENNY_READ_LIST] = {PENNY_CACHE_LIST, "list", false, true},
	[PENNY_READ_ARTIFACTS] = {PENNY_CACHE_ARTIFACTS, "artifacts", false, true},
	[PENNY_READ_MODELS] = {PENNY_CACHE_MODELS, "models", false, false},
	[PENNY_READ_SESSIONS] = {PENNY_CACHE_SESSION, "sessions", false, true},
};

/* Write it; false where there is nothing to be seen. */
static bool
build(StringInfo out, PennyStoreRead what, const PennyReadArgs *args)
{
	switch (what)
	{
		case PENNY_READ_CONVERSATION:
			return penny_read_conversation(out, penny_render_jsonb, &args->id, (int) args->limit);
		case PENNY_READ_CONVERSATION_TEXT:
			return penny_read_conversation(out, penny_render_text, &args->id, (int) args->limit);
		case PENNY_READ_MESSAGES:
			return penny_read_messages(out, penny_render_jsonb, &args->id, args->before,
									   args->after, (int) args->limit);
		case PENNY_READ_LIST:
			penny_read_list(out, penny_render_jsonb, &args->id, (int) args->limit, &args->cursor,
							args->archived != 0);
			return true;
		case PENNY_READ_ARTIFACTS:
			return penny_read_artifacts(out, penny_render_jsonb, &args->id);
		case PENNY_READ_MODELS:
			penny_read_models(out, penny_render_jsonb);
			return true;
		case PENNY_READ_SESSIONS:
			penny_read_sessions(out, penny_render_jsonb, &args->id);
			return true;
	}
	pg_unreachable();
}

/* Build the value as PostgreSQL has it; NULL where there is nothing to be seen. */
static struct varlena *
build_value(PennyStoreRead what, const PennyReadArgs *args)
{
	StringInfoData out;

	initStringInfo(&out);
	if (kinds[what].is_text)
		appendStringInfoSpaces(&out, VARHDRSZ);
	if (!build(&out, what, args))
	{
		pfree(out.data);
		return NULL;
	}
	SET_VARSIZE(out.data, out.len);
	return (struct varlena *) out.data;
}

/* Look it up, or open a collector for it. */
static PennyCacheResult
open_read(PennyCacheRead *read, PennyStoreRead what, const PennyReadArgs *args)
{
	const ReadKind *kind = &kinds[what];
	char label[PENNY_CACHE_LABEL];
	size_t len = strlen(kind->name);
	PennySpan part[2];

	memcpy(label, kind->name, len);
	part[0].data = kind->name;
	part[0].len = len;
	part[1].data = (const char *) args;
	part[1].len = sizeof(*args);
	if (kind->has_id)
	{
		label[len++] = ' ';
		penny_uuid_write(label + len, &args->id);
		len += PENNY_UUID_TEXT;
	}
	label[len] = '\0';
	return penny_cache_open(read, kind->kind, PENNY_CACHE_FOR_VIEWER, label, part, lengthof(part));
}

/*
 * Read through the cache.
 */
struct varlena *
penny_cached_read(PennyStoreRead what, const PennyReadArgs *args)
{
	PennyCacheKind kind = kinds[what].kind;
	struct varlena *value;
	PennyCacheRead read;
	PennySpan head = {NULL, 0};
	PennySpan body;
	bool trusted;

	if (!penny_cache_is_on())
		return build_value(what, args);
	if (!row_security || !penny_trust_read(kind))
	{
		penny_cache_pass_by(kind, PENNY_CACHE_REFUSED_POLICY);
		return build_value(what, args);
	}
	if (penny_cache_collecting())
	{
		penny_cache_note_kind(kind);
		if (kinds[what].is_text)
		{
			penny_trust_depend();
			value = build_value(what, args);
			if (!penny_trust_read(kind))
				penny_cache_refuse(PENNY_CACHE_REFUSED_POLICY);
			return value;
		}
	}
	if (open_read(&read, what, args) == PENNY_CACHE_HIT)
		return (struct varlena *) read.body;
	penny_trust_depend();
	value = build_value(what, args);
	trusted = penny_trust_read(kind);
	if (value == NULL || !trusted)
	{
		penny_cache_abandon(&read);
		if (!trusted)
			penny_cache_refuse(PENNY_CACHE_REFUSED_POLICY);
		return value;
	}
	body.data = (const char *) value;
	body.len = VARSIZE(value);
	(void) penny_cache_fill(&read, 0, head, body, NULL, TTL_MS);
	return value;
}

/* The changes, and keep the version that they end at. */
static bool
keep_version(PennyCacheRead *read, StringInfo out, const pg_uuid_t *id, int64 since, int64 *version,
			 bool *more)
{
	PennySpan none = {NULL, 0};
	PennySpan body = {(const char *) version, sizeof(*version)};
	bool found;

	penny_trust_depend();
	found = penny_read_changes(out, id, since, version, more);
	if (!penny_trust_read(PENNY_CACHE_CONVERSATION))
		penny_cache_refuse(PENNY_CACHE_REFUSED_POLICY);
	if (!found || *more)
		penny_cache_abandon(read);
	else
		(void) penny_cache_fill(read, 0, none, body, NULL, TTL_MS);
	return found;
}

/*
 * As penny_read_changes().  That the caller may watch a conversation, and its
 * version, is kept: who comes back having missed nothing is answered from
 * memory, however many come at once.  A conversation in which a message grows
 * is not kept, since its watchers are told its state.
 */
bool
penny_cached_changes(StringInfo out, const pg_uuid_t *id, int64 since, int64 *version, bool *more)
{
	static const char name[] = "watch ";
	char label[sizeof(name) + PENNY_UUID_TEXT];
	PennySpan part[2];
	PennyCacheRead read;

	if (!penny_cache_is_on() || penny_cache_collecting())
		return penny_read_changes(out, id, since, version, more);
	if (!row_security || !penny_trust_read(PENNY_CACHE_CONVERSATION))
	{
		penny_cache_pass_by(PENNY_CACHE_CONVERSATION, PENNY_CACHE_REFUSED_POLICY);
		return penny_read_changes(out, id, since, version, more);
	}
	memcpy(label, name, sizeof(name) - 1);
	penny_uuid_write(label + sizeof(name) - 1, id);
	label[sizeof(name) - 1 + PENNY_UUID_TEXT] = '\0';
	part[0] = (PennySpan){name, sizeof(name) - 1};
	part[1] = (PennySpan){(const char *) id, sizeof(*id)};
	if (penny_cache_open(&read, PENNY_CACHE_CONVERSATION, PENNY_CACHE_FOR_VIEWER, label, part,
						 lengthof(part)) != PENNY_CACHE_HIT)
		return keep_version(&read, out, id, since, version, more);
	memcpy(version, read.body, sizeof(*version));
	*more = false;
	if (since >= 0 && since < *version)
		return penny_read_changes(out, id, since, version, more);
	return true;
}
