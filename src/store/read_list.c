/*-------------------------------------------------------------------------
 *
 * read_list.c
 *		Reading a user's list of conversations as JSON text, page by page.
 *
 * The order is that of the participants' active_at, newest first.  A cursor
 * names the place of the last conversation of a page in that order, so that a
 * page begins right after it whatever has come or gone meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "executor/spi.h"
#include "utils/timestamp.h"

#include "store/read.h"
#include "store/read_rows.h"
#include "store/render.h"
#include "store/uuid.h"

static void render_cursor(StringInfo out, const PennyRow *row);

/* The row with an identifier among sorted or unsorted few. */
static PennyRow *
find_row(PennyRow *rows, int n, PennyColumn column, const pg_uuid_t *id)
{
	int i;

	for (i = 0; i < n; i++)
		if (!rows[i].isnull[column] && penny_uuid_equal(PENNY_UUID(&rows[i], column), id))
			return &rows[i];
	return NULL;
}

/* A conversation of a list, with its newest message. */
static void
render_listed(StringInfo out, PennyResult *result, PennyRow *conversation)
{
	PennyRow *tools = penny_result_rows(result, PENNY_ROW_TOOL_EXECUTION);
	int ntools = result->n[PENNY_ROW_TOOL_EXECUTION];
	PennyRow *message =
		find_row(penny_result_rows(result, PENNY_ROW_MESSAGE), result->n[PENNY_ROW_MESSAGE],
				 PENNY_CONVERSATION_ID, PENNY_UUID(conversation, PENNY_ID));

	appendStringInfoChar(out, '{');
	penny_render_conversation(out, conversation);
	appendStringInfoString(out, ",\"last_message\":");
	if (message == NULL)
		appendStringInfoString(out, "null");
	else
	{
		PennyRow *first =
			find_row(tools, ntools, PENNY_TOOL_MESSAGE, PENNY_UUID(message, PENNY_ID));
		int n = 0;

		while (first != NULL && first + n < tools + ntools &&
			   penny_uuid_equal(PENNY_UUID(first + n, PENNY_TOOL_MESSAGE),
								PENNY_UUID(message, PENNY_ID)))
			n++;
		penny_render_message(out, message, first, n);
	}
	appendStringInfoChar(out, '}');
}

/*
 * A page of a user's conversations: {"data", "has_more", "next_cursor"}.
 */
void
penny_read_list(StringInfo out, const pg_uuid_t *user, int limit, const PennyListCursor *cursor,
				bool archived)
{
	pg_uuid_t last;
	Datum values[5];
	PennyResult result;
	int n;
	int i;

	values[0] = UUIDPGetDatum(user);
	values[1] = Int64GetDatum(limit + 1);
	values[2] = BoolGetDatum(archived);
	memset(&last, 0xff, sizeof(last));
	values[3] = TimestampTzGetDatum(cursor->valid ? cursor->active_at : DT_NOEND);
	values[4] = UUIDPGetDatum(cursor->valid ? &cursor->id : &last);
	SPI_connect();
	penny_result_run(&result, &penny_read_list_page, values);
	penny_result_sort(&result, PENNY_ROW_TOOL_EXECUTION, penny_row_by_message);
	n = Min(result.n[PENNY_ROW_CONVERSATION], limit);
	appendStringInfoString(out, "{\"data\":[");
	for (i = 0; i < n; i++)
	{
		if (i > 0)
			appendStringInfoChar(out, ',');
		render_listed(out, &result, penny_result_rows(&result, PENNY_ROW_CONVERSATION) + i);
	}
	if (result.n[PENNY_ROW_CONVERSATION] > limit)
	{
		appendStringInfoString(out, "],\"has_more\":true,\"next_cursor\":");
		render_cursor(out, penny_result_rows(&result, PENNY_ROW_PARTICIPANT) + n - 1);
		appendStringInfoChar(out, '}');
	}
	else
		appendStringInfoString(out, "],\"has_more\":false,\"next_cursor\":null}");
	SPI_finish();
}

/* A cursor: microseconds and UUID, opaque to the client. */
static void
render_cursor(StringInfo out, const PennyRow *row)
{
	char id[PENNY_UUID_TEXT];

	penny_uuid_write(id, PENNY_UUID(row, PENNY_ID));
	appendStringInfo(out, "\"" INT64_FORMAT "_%.*s\"",
					 DatumGetTimestampTz(row->value[PENNY_PARTICIPANT_ACTIVE_AT]), PENNY_UUID_TEXT,
					 id);
}

/*
 * Read a cursor that render_cursor() wrote.
 */
bool
penny_read_cursor(PennyListCursor *cursor, const char *text)
{
	const char *separator = strchr(text, '_');
	char *end;

	cursor->valid = false;
	if (separator == NULL || strlen(separator + 1) != PENNY_UUID_TEXT ||
		(!isdigit((unsigned char) text[0]) && text[0] != '-'))
		return false;
	errno = 0;
	cursor->active_at = strtoll(text, &end, 10);
	cursor->valid =
		errno == 0 && end == separator && penny_uuid_read_exact(&cursor->id, separator + 1);
	return cursor->valid;
}
