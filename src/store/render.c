/*-------------------------------------------------------------------------
 *
 * render.c
 *		Rows of schema chat as JSON text: one shape for fetches, history, lists
 *		and frames.
 *
 * Written by hand, since a fetch of fifty messages renders more than a
 * thousand values: strings are copied in runs, timestamps are always UTC with
 * six digits (so that a text does not depend on the session's time zone), and
 * nothing is looked up.
 *
 * Members that a client must be able to rely on are always there, null or not;
 * the optional ones of a message (parts, model, client_id, usage, metadata,
 * updated_at) and of a tool execution (error) are left out when null.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/jsonb.h"

#include "store/render.h"
#include "store/uuid.h"

#define NEEDS_ESCAPE(c) ((unsigned char) (c) < 0x20 || (c) == '"' || (c) == '\\')

static inline void
put(StringInfo out, const char *text, int len)
{
	appendBinaryStringInfoNT(out, text, len);
}

#define PUT(out, literal) put(out, literal, sizeof(literal) - 1)

static void
escape_char(StringInfo out, unsigned char c)
{
	switch (c)
	{
		case '"':
			PUT(out, "\\\"");
			break;
		case '\\':
			PUT(out, "\\\\");
			break;
		case '\n':
			PUT(out, "\\n");
			break;
		case '\r':
			PUT(out, "\\r");
			break;
		case '\t':
			PUT(out, "\\t");
			break;
		default:
			appendStringInfo(out, "\\u%04x", c);
			break;
	}
}

/*
 * Write a JSON string.
 */
void
penny_render_string(StringInfo out, const char *text, int len)
{
	const char *end = text + len;
	const char *run = text;

	enlargeStringInfo(out, len + 2);
	PUT(out, "\"");
	for (; text < end; text++)
		if (unlikely(NEEDS_ESCAPE(*text)))
		{
			put(out, run, text - run);
			escape_char(out, *text);
			run = text + 1;
		}
	put(out, run, text - run);
	PUT(out, "\"");
}

/*
 * Write a UUID in quotes.
 */
void
penny_render_uuid(StringInfo out, const pg_uuid_t *uuid)
{
	char text[PENNY_UUID_TEXT + 2];

	text[0] = text[PENNY_UUID_TEXT + 1] = '"';
	penny_uuid_write(text + 1, uuid);
	put(out, text, sizeof(text));
}

void
penny_render_int(StringInfo out, int64 number)
{
	char text[MAXINT8LEN + 1];

	put(out, text, pg_lltoa(number, text));
}

/* Write a number with leading zeros. */
static inline char *
put_digits(char *to, int number, int width)
{
	int i;

	for (i = width - 1; i >= 0; i--)
	{
		to[i] = '0' + number % 10;
		number /= 10;
	}
	return to + width;
}

/*
 * Write a timestamp as "2026-01-31T12:34:56.123456Z".
 */
void
penny_render_timestamp(StringInfo out, TimestampTz at)
{
	char text[MAXDATELEN + 1];
	char *to = text;
	int64 days;
	int64 usec;
	int year;
	int month;
	int day;

	if (TIMESTAMP_NOT_FINITE(at))
	{
		if (TIMESTAMP_IS_NOBEGIN(at))
			PUT(out, "\"-infinity\"");
		else
			PUT(out, "\"infinity\"");
		return;
	}
	days = at / USECS_PER_DAY;
	usec = at % USECS_PER_DAY;
	if (usec < 0)
	{
		usec += USECS_PER_DAY;
		days--;
	}
	j2date((int) (days + POSTGRES_EPOCH_JDATE), &year, &month, &day);
	if (year < 1 || year > 9999)
	{
		struct pg_tm tm;
		fsec_t fsec;

		if (timestamp2tm(at, NULL, &tm, &fsec, NULL, NULL) != 0)
			ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
							errmsg("timestamp out of range")));
		EncodeDateTime(&tm, fsec, false, 0, NULL, USE_ISO_DATES, text);
		penny_render_string(out, text, strlen(text));
		return;
	}
	*to++ = '"';
	to = put_digits(to, year, 4);
	*to++ = '-';
	to = put_digits(to, month, 2);
	*to++ = '-';
	to = put_digits(to, day, 2);
	*to++ = 'T';
	to = put_digits(to, usec / USECS_PER_HOUR, 2);
	*to++ = ':';
	to = put_digits(to, usec / USECS_PER_MINUTE % 60, 2);
	*to++ = ':';
	to = put_digits(to, usec / USECS_PER_SEC % 60, 2);
	*to++ = '.';
	to = put_digits(to, usec % USECS_PER_SEC, 6);
	*to++ = 'Z';
	*to++ = '"';
	put(out, text, to - text);
}

/* Write the value of a column, whatever it is; null for NULL. */
static void
put_value(StringInfo out, const PennyRow *row, PennyColumn column)
{
	Datum value = row->value[column];

	if (row->isnull[column])
		PUT(out, "null");
	else if (column <= PENNY_U3)
		penny_render_uuid(out, DatumGetUUIDP(value));
	else if (column <= PENNY_N4)
		penny_render_int(out, DatumGetInt64(value));
	else if (column <= PENNY_S6)
	{
		text *string = DatumGetTextPP(value);

		penny_render_string(out, VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
		if ((Pointer) string != DatumGetPointer(value))
			pfree(string);
	}
	else if (column <= PENNY_J1)
	{
		Jsonb *json = DatumGetJsonbP(value);

		(void) JsonbToCString(out, &json->root, VARSIZE(json));
		if ((Pointer) json != DatumGetPointer(value))
			pfree(json);
	}
	else
		penny_render_timestamp(out, DatumGetTimestampTz(value));
}

/* A member with its comma before it; `name` is a literal. */
#define MEMBER(out, name, row, column) \
	do                                 \
	{                                  \
		PUT(out, ",\"" name "\":");    \
		put_value(out, row, column);   \
	} while (0)

#define FIRST_MEMBER(out, name, row, column) \
	do                                       \
	{                                        \
		PUT(out, "\"" name "\":");           \
		put_value(out, row, column);         \
	} while (0)

#define OPTIONAL_MEMBER(out, name, row, column) \
	do                                          \
	{                                           \
		if (!(row)->isnull[column])             \
			MEMBER(out, name, row, column);     \
	} while (0)

/*
 * Write the user that a row carries along.
 */
void
penny_render_user(StringInfo out, const PennyRow *row)
{
	if (row->isnull[PENNY_USER_ID])
	{
		PUT(out, "null");
		return;
	}
	PUT(out, "{");
	FIRST_MEMBER(out, "id", row, PENNY_USER_ID);
	MEMBER(out, "name", row, PENNY_USER_NAME);
	MEMBER(out, "avatar_url", row, PENNY_USER_AVATAR);
	PUT(out, "}");
}

/*
 * Write the members of a conversation.
 */
void
penny_render_conversation(StringInfo out, const PennyRow *row)
{
	FIRST_MEMBER(out, "id", row, PENNY_ID);
	MEMBER(out, "owner_id", row, PENNY_CONVERSATION_OWNER);
	MEMBER(out, "title", row, PENNY_CONVERSATION_TITLE);
	MEMBER(out, "metadata", row, PENNY_CONVERSATION_METADATA);
	MEMBER(out, "version", row, PENNY_ROW_VERSION);
	MEMBER(out, "last_seq", row, PENNY_CONVERSATION_LAST_SEQ);
	MEMBER(out, "message_count", row, PENNY_CONVERSATION_COUNT);
	MEMBER(out, "head_message_id", row, PENNY_CONVERSATION_HEAD);
	MEMBER(out, "archived_at", row, PENNY_CONVERSATION_ARCHIVED_AT);
	MEMBER(out, "pinned_at", row, PENNY_CONVERSATION_PINNED_AT);
	MEMBER(out, "created_at", row, PENNY_CREATED_AT);
	MEMBER(out, "updated_at", row, PENNY_UPDATED_AT);
	MEMBER(out, "last_message_at", row, PENNY_CONVERSATION_LAST_MESSAGE_AT);
}

/*
 * Write a message.
 */
void
penny_render_message(StringInfo out, const PennyRow *row, const PennyRow *tools, int ntools)
{
	int i;

	PUT(out, "{");
	FIRST_MEMBER(out, "id", row, PENNY_ID);
	MEMBER(out, "seq", row, PENNY_MESSAGE_SEQ);
	MEMBER(out, "version", row, PENNY_ROW_VERSION);
	MEMBER(out, "parent_id", row, PENNY_MESSAGE_PARENT);
	MEMBER(out, "role", row, PENNY_MESSAGE_ROLE);
	MEMBER(out, "status", row, PENNY_MESSAGE_STATUS);
	MEMBER(out, "content", row, PENNY_MESSAGE_CONTENT);
	OPTIONAL_MEMBER(out, "parts", row, PENNY_MESSAGE_PARTS);
	OPTIONAL_MEMBER(out, "model", row, PENNY_MESSAGE_MODEL);
	OPTIONAL_MEMBER(out, "client_id", row, PENNY_MESSAGE_CLIENT_ID);
	if (!row->isnull[PENNY_MESSAGE_INPUT_TOKENS] || !row->isnull[PENNY_MESSAGE_OUTPUT_TOKENS])
	{
		PUT(out, ",\"usage\":{");
		FIRST_MEMBER(out, "input_tokens", row, PENNY_MESSAGE_INPUT_TOKENS);
		MEMBER(out, "output_tokens", row, PENNY_MESSAGE_OUTPUT_TOKENS);
		PUT(out, "}");
	}
	OPTIONAL_MEMBER(out, "metadata", row, PENNY_MESSAGE_METADATA);
	MEMBER(out, "created_at", row, PENNY_CREATED_AT);
	OPTIONAL_MEMBER(out, "updated_at", row, PENNY_UPDATED_AT);
	PUT(out, ",\"user\":");
	penny_render_user(out, row);
	PUT(out, ",\"tool_executions\":[");
	for (i = 0; i < ntools; i++)
	{
		if (i > 0)
			PUT(out, ",");
		penny_render_tool_execution(out, &tools[i]);
	}
	PUT(out, "]}");
}

/*
 * Write a tool execution.
 */
void
penny_render_tool_execution(StringInfo out, const PennyRow *row)
{
	PUT(out, "{");
	FIRST_MEMBER(out, "id", row, PENNY_ID);
	MEMBER(out, "version", row, PENNY_ROW_VERSION);
	MEMBER(out, "message_id", row, PENNY_TOOL_MESSAGE);
	MEMBER(out, "user_id", row, PENNY_USER_ID);
	MEMBER(out, "tool_id", row, PENNY_TOOL_TOOL);
	MEMBER(out, "tool_call_id", row, PENNY_TOOL_CALL);
	MEMBER(out, "status", row, PENNY_TOOL_STATUS);
	MEMBER(out, "input", row, PENNY_TOOL_INPUT);
	MEMBER(out, "output", row, PENNY_TOOL_OUTPUT);
	OPTIONAL_MEMBER(out, "error", row, PENNY_TOOL_ERROR);
	MEMBER(out, "created_at", row, PENNY_CREATED_AT);
	MEMBER(out, "started_at", row, PENNY_TOOL_STARTED_AT);
	MEMBER(out, "finished_at", row, PENNY_TOOL_FINISHED_AT);
	PUT(out, "}");
}

/*
 * Write an artifact, with the number of its newest version.
 */
void
penny_render_artifact(StringInfo out, const PennyRow *row)
{
	PUT(out, "{");
	FIRST_MEMBER(out, "id", row, PENNY_ID);
	MEMBER(out, "version", row, PENNY_ROW_VERSION);
	MEMBER(out, "message_id", row, PENNY_ARTIFACT_MESSAGE);
	MEMBER(out, "user_id", row, PENNY_USER_ID);
	MEMBER(out, "kind", row, PENNY_ARTIFACT_KIND);
	MEMBER(out, "title", row, PENNY_ARTIFACT_TITLE);
	MEMBER(out, "metadata", row, PENNY_ARTIFACT_METADATA);
	MEMBER(out, "number", row, PENNY_ARTIFACT_NUMBER);
	MEMBER(out, "created_at", row, PENNY_CREATED_AT);
	MEMBER(out, "updated_at", row, PENNY_UPDATED_AT);
	PUT(out, "}");
}
