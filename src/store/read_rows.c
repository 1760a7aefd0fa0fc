/*-------------------------------------------------------------------------
 *
 * read_rows.c
 *		What a read gave: rows of each kind, sorted, with their users' names.
 *
 * A result lives in the SPI connection that ran its statement: rows are taken
 * apart where they lie, and texts copied only where they come from elsewhere.
 * Rows that belong to others (users to messages and participants, tool
 * executions to messages) are found by binary search.
 *
 * What is being built for the cache depends on each user whose name is shown.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/spi.h"
#include "utils/datum.h"
#include "utils/snapmgr.h"

#include "cache/cache.h"
#include "store/lookup.h"
#include "store/read_rows.h"
#include "store/shape.h"
#include "store/stream.h"
#include "store/uuid.h"

static void complete_streams(PennyResult *result);
static void name_users(PennyResult *result, PennyRowKind kind);
static void find_user(PennyRow *row, const PennyRow *before);
static int by_id(const void *a, const void *b);

/*
 * Run a statement and take its result apart.
 */
void
penny_result_run(PennyResult *result, PennyStatement *statement, const Datum *values)
{
	uint64 n = penny_statement_run(statement, values, NULL, true);
	TupleDesc desc = SPI_tuptable->tupdesc;
	Datum columns[PENNY_COLUMNS + 1];
	bool isnull[PENNY_COLUMNS + 1];
	uint64 i;

	memset(result, 0, sizeof(*result));
	if (desc->natts != PENNY_COLUMNS + 1)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("a statement gave %d columns instead of %d", desc->natts,
							   PENNY_COLUMNS + 1)));
	result->rows = MemoryContextAllocHuge(CurrentMemoryContext, Max(n, 1) * sizeof(PennyRow));
	for (i = 0; i < n; i++)
	{
		PennyRow *row = &result->rows[i];
		PennyRowKind kind;

		heap_deform_tuple(SPI_tuptable->vals[i], desc, columns, isnull);
		memcpy(row->value, &columns[1], sizeof(row->value));
		memcpy(row->isnull, &isnull[1], sizeof(row->isnull));
		memset(row->list, 0, sizeof(row->list));
		kind = DatumGetInt32(columns[0]);
		if (result->n[kind]++ == 0)
			result->first[kind] = i;
	}
	complete_streams(result);
	penny_result_sort(result, PENNY_ROW_USER, by_id);
	if (penny_cache_collecting())
		penny_result_depend(result, PENNY_ROW_USER, "name", PENNY_ID);
	name_users(result, PENNY_ROW_MESSAGE);
	name_users(result, PENNY_ROW_PARTICIPANT);
}

/* Messages that grow, with the pieces that the same snapshot sees. */
static void
complete_streams(PennyResult *result)
{
	for (int i = 0; i < result->n[PENNY_ROW_MESSAGE]; i++)
	{
		PennyRow *row = penny_result_rows(result, PENNY_ROW_MESSAGE) + i;

		if (!penny_stream_is_open(row))
			continue;
		(void) penny_stream_complete(row, GetActiveSnapshot());
		penny_cache_refuse(PENNY_CACHE_REFUSED_OTHER); /* pieces raise no tag */
	}
}

/*
 * What is being built for the cache depends on each row's "name:<uuid>".
 */
void
penny_result_depend(PennyResult *result, PennyRowKind kind, const char *name, PennyColumn column)
{
	PennyRow *row = penny_result_rows(result, kind);
	int i;

	for (i = 0; i < result->n[kind]; i++)
		penny_cache_depend_uuid(name, PENNY_UUID(&row[i], column));
}

/* Put the names of users into the rows of theirs. */
static void
name_users(PennyResult *result, PennyRowKind kind)
{
	PennyRow *users = penny_result_rows(result, PENNY_ROW_USER);
	int i;

	for (i = 0; i < result->n[kind]; i++)
	{
		PennyRow *row = penny_result_rows(result, kind) + i;
		PennyRow *user = NULL;
		PennyRow key;

		if (row->isnull[PENNY_USER_ID])
			continue;
		key.value[PENNY_ID] = row->value[PENNY_USER_ID];
		if (result->n[PENNY_ROW_USER] > 0)
			user = bsearch(&key, users, result->n[PENNY_ROW_USER], sizeof(PennyRow), by_id);
		if (user == NULL)
		{
			find_user(row, i > 0 ? row - 1 : NULL);
			continue;
		}
		penny_row_take_user(row, user);
	}
}

static void
copy_text(PennyRow *row, PennyColumn column, const PennyRow *from)
{
	row->isnull[column] = from->isnull[column];
	if (!row->isnull[column])
		row->value[column] = datumCopy(from->value[column], false, -1);
}

/*
 * The name of a user who left the conversation, and whom the policy of users
 * hides therefore.  Who may see a message may see whose it is, as its frame
 * showed it.  The row before may be of the same user.
 */
static void
find_user(PennyRow *row, const PennyRow *before)
{
	PennyLookup lookup;

	if (before != NULL && !before->isnull[PENNY_USER_ID] &&
		penny_uuid_equal(PENNY_UUID(before, PENNY_USER_ID), PENNY_UUID(row, PENNY_USER_ID)))
	{
		copy_text(row, PENNY_USER_NAME, before);
		copy_text(row, PENNY_USER_AVATAR, before);
		return;
	}
	if (penny_cache_collecting())
		penny_cache_depend_uuid("name", PENNY_UUID(row, PENNY_USER_ID));
	penny_lookup_begin(&lookup, PENNY_KEY_USER_ID, GetActiveSnapshot(), AccessShareLock, 1,
					   &row->value[PENNY_USER_ID]);
	if (penny_lookup_next(&lookup, ForwardScanDirection))
	{
		PennyRow user;

		penny_row_from_slot(&user, PENNY_USERS, lookup.slot);
		copy_text(row, PENNY_USER_NAME, &user);
		copy_text(row, PENNY_USER_AVATAR, &user);
	}
	penny_lookup_end(&lookup);
}

/*
 * Sort the rows of a kind, unless they are in order.
 */
void
penny_result_sort(PennyResult *result, PennyRowKind kind, PennyRowOrder order)
{
	PennyRow *rows = penny_result_rows(result, kind);
	int i;

	for (i = 1; i < result->n[kind]; i++)
		if (order(&rows[i - 1], &rows[i]) > 0)
		{
			qsort(rows, result->n[kind], sizeof(PennyRow), order);
			return;
		}
}

static int
by_id(const void *a, const void *b)
{
	return memcmp(PENNY_UUID((const PennyRow *) a, PENNY_ID),
				  PENNY_UUID((const PennyRow *) b, PENNY_ID), UUID_LEN);
}

/* Tool executions: by message, then in the order of their change. */
static int
by_message(const void *a, const void *b)
{
	const PennyRow *ra = a;
	const PennyRow *rb = b;
	int messages;

	if (ra->isnull[PENNY_TOOL_MESSAGE] || rb->isnull[PENNY_TOOL_MESSAGE])
		return (int) rb->isnull[PENNY_TOOL_MESSAGE] - (int) ra->isnull[PENNY_TOOL_MESSAGE];
	messages =
		memcmp(PENNY_UUID(ra, PENNY_TOOL_MESSAGE), PENNY_UUID(rb, PENNY_TOOL_MESSAGE), UUID_LEN);
	return messages != 0 ? messages : penny_row_by_version(a, b);
}

/* The executions of a message among those sorted by message. */
static PennyRowList
tools_of_message(PennyResult *result, const PennyRow *message)
{
	PennyRow *tools = penny_result_rows(result, PENNY_ROW_TOOL_EXECUTION);
	int low = 0;
	int high = result->n[PENNY_ROW_TOOL_EXECUTION];
	PennyRowList found;

	while (low < high)
	{
		int middle = (low + high) / 2;

		if (tools[middle].isnull[PENNY_TOOL_MESSAGE] ||
			memcmp(PENNY_UUID(&tools[middle], PENNY_TOOL_MESSAGE), PENNY_UUID(message, PENNY_ID),
				   UUID_LEN) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	found.rows = &tools[low];
	found.n = 0;
	while (low + found.n < result->n[PENNY_ROW_TOOL_EXECUTION] &&
		   penny_uuid_equal(PENNY_UUID(&found.rows[found.n], PENNY_TOOL_MESSAGE),
							PENNY_UUID(message, PENNY_ID)))
		found.n++;
	return found;
}

/*
 * Give each message the executions of its calls, in the order of their change.
 */
void
penny_result_give_tools(PennyResult *result)
{
	PennyRow *messages = penny_result_rows(result, PENNY_ROW_MESSAGE);
	int i;

	penny_result_sort(result, PENNY_ROW_TOOL_EXECUTION, by_message);
	for (i = 0; i < result->n[PENNY_ROW_MESSAGE]; i++)
		messages[i].list[0] = tools_of_message(result, &messages[i]);
}

/*
 * Make the row that a page is.  One row more was asked for than the page holds:
 * it is the last, or the first where the page ends at a place (not `forward`).
 */
void
penny_result_page(PennyRow *page, PennyResult *result, PennyRowKind kind, int limit, bool forward)
{
	int more = Max(result->n[kind] - limit, 0);

	memset(page->isnull, true, sizeof(page->isnull));
	page->isnull[PENNY_PAGE_MORE] = false;
	page->value[PENNY_PAGE_MORE] = Int64GetDatum(more);
	page->list[0].rows = penny_result_rows(result, kind) + (forward ? 0 : more);
	page->list[0].n = result->n[kind] - more;
}
