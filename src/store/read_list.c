/*-------------------------------------------------------------------------
 *
 * read_list.c
 *		Reading a user's list of conversations as JSON, page by page.
 *
 * The order is that of the participants' active_at, newest first.  A cursor
 * names the place of the last conversation of a page in that order, so that a
 * page begins right after it whatever has come or gone meanwhile.
 *
 * A page depends on "list:<user>" and on each conversation that it shows.  Those
 * that it does not show, since they are archived or not, or somebody else's,
 * are no dependency, since there may be very many: a conversation that changes
 * in this is told to the lists of all who take part (triggers.c), and a page
 * under policies that ask for more is not cached (trust.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "cache/cache.h"
#include "store/access.h"
#include "store/read.h"
#include "store/read_rows.h"
#include "store/uuid.h"

static void give_message(PennyResult *result, PennyRow *conversation);
static Datum make_cursor(const PennyRow *row);

/*
 * A page of a user's conversations: {"data", "has_more", "next_cursor"}, each
 * conversation with its newest message.
 */
void
penny_read_list(StringInfo out, PennyWriter write, const pg_uuid_t *user, int limit,
				const PennyListCursor *cursor, bool archived)
{
	pg_uuid_t last;
	Datum values[5];
	PennyResult result;
	PennyRow page;
	int i;

	values[0] = UUIDPGetDatum(user);
	values[1] = Int64GetDatum(limit + 1);
	values[2] = BoolGetDatum(archived);
	memset(&last, 0xff, sizeof(last));
	values[3] = TimestampTzGetDatum(cursor->valid ? cursor->active_at : DT_NOEND);
	values[4] = UUIDPGetDatum(cursor->valid ? &cursor->id : &last);
	SPI_connect();
	if (penny_cache_collecting())
	{
		penny_cache_depend_uuid("list", user);
		penny_access_depends_on_list(true);
		penny_result_run(&result, &penny_read_list_page, values);
		penny_access_depends_on_list(false);
		penny_result_depend(&result, PENNY_ROW_CONVERSATION, "conversation", PENNY_ID);
	}
	else
		penny_result_run(&result, &penny_read_list_page, values);
	penny_result_give_tools(&result);
	penny_result_page(&page, &result, PENNY_ROW_CONVERSATION, limit, true);
	for (i = 0; i < page.list[0].n; i++)
		give_message(&result, &page.list[0].rows[i]);
	if (DatumGetInt64(page.value[PENNY_PAGE_MORE]) > 0)
	{
		page.value[PENNY_PAGE_CURSOR] =
			make_cursor(penny_result_rows(&result, PENNY_ROW_PARTICIPANT) + limit - 1);
		page.isnull[PENNY_PAGE_CURSOR] = false;
	}
	write(out, &penny_shape_conversation_page, &page);
	SPI_finish();
}

/* Give a conversation its newest message. */
static void
give_message(PennyResult *result, PennyRow *conversation)
{
	PennyRow *messages = penny_result_rows(result, PENNY_ROW_MESSAGE);
	int i;

	for (i = 0; i < result->n[PENNY_ROW_MESSAGE]; i++)
		if (penny_uuid_equal(PENNY_UUID(&messages[i], PENNY_CONVERSATION_ID),
							 PENNY_UUID(conversation, PENNY_ID)))
		{
			conversation->list[0].rows = &messages[i];
			conversation->list[0].n = 1;
		}
}

/* A cursor: microseconds and UUID, opaque to the client. */
static Datum
make_cursor(const PennyRow *row)
{
	char id[PENNY_UUID_TEXT];

	penny_uuid_write(id, PENNY_UUID(row, PENNY_ID));
	return CStringGetTextDatum(
		psprintf(INT64_FORMAT "_%.*s", DatumGetTimestampTz(row->value[PENNY_PARTICIPANT_ACTIVE_AT]),
				 PENNY_UUID_TEXT, id));
}

/*
 * Read a cursor that make_cursor() wrote.
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
