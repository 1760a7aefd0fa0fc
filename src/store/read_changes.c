/*-------------------------------------------------------------------------
 *
 * read_changes.c
 *		What the watcher of a conversation has missed, as lines of version and
 *		frame.
 *
 * The rows that changed are read as they are now, one statement for all kinds,
 * so of a row that changed twice only the newest change is told.  The frames
 * are those that the triggers publish (publish_rows.c).
 *
 * What is much is told in pages: in the order of versions, up to a version
 * below which nothing is left out.  The watcher asks on from there, in another
 * snapshot; what changed meanwhile has got a higher version and comes then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/snapmgr.h"

#include "cache/cache.h"
#include "store/publish_rows.h"
#include "store/read.h"
#include "store/read_rows.h"
#include "store/stream.h"
#include "store/uuid.h"

#define PAGE_CHANGES 1000       /* told at once */
#define PAGE_BYTES (512 * 1024) /* of their frames; the last one may exceed it */

/* One change among those to be told, by version. */
typedef struct ChangeLine
{
	int64 version;
	PennyRowKind kind;
	PennyRow *row;
} ChangeLine;

static void render_states(StringInfo out, PennyResult *result);
static int64 render_changes(StringInfo out, PennyResult *result, int64 since, int64 version);

/*
 * What a watcher has missed, up to a version that is given; `more` when the
 * conversation is further.
 */
bool
penny_read_changes(StringInfo out, const pg_uuid_t *id, int64 since, int64 *version, bool *more)
{
	Datum values[3];
	PennyResult result;
	int64 newest;

	values[0] = UUIDPGetDatum(id);
	values[1] = Int64GetDatum(since < 0 ? PG_INT64_MAX : since);
	values[2] = Int64GetDatum(PAGE_CHANGES);
	(void) penny_table_oid(PENNY_TOMBSTONES); /* its columns are what they were */
	if (penny_cache_collecting())
		penny_cache_depend_uuid("conversation", id);
	SPI_connect();
	penny_result_run(&result, &penny_read_changes_since, values);
	if (result.n[PENNY_ROW_CONVERSATION] == 0)
	{
		SPI_finish();
		return false;
	}
	newest =
		DatumGetInt64(penny_result_rows(&result, PENNY_ROW_CONVERSATION)->value[PENNY_ROW_VERSION]);
	*version = newest;
	if (since >= 0 && since < newest)
		*version = render_changes(out, &result, since, newest);
	*more = *version < newest;
	if (!*more)
		render_states(out, &result);
	SPI_finish();
	return true;
}

static int
by_line(const void *a, const void *b)
{
	int64 va = ((const ChangeLine *) a)->version;
	int64 vb = ((const ChangeLine *) b)->version;

	return va < vb ? -1 : va > vb;
}

static void
render_line(StringInfo out, const ChangeLine *line, int64 since)
{
	appendStringInfo(out, INT64_FORMAT " ", line->version);
	switch (line->kind)
	{
		case PENNY_ROW_CONVERSATION:
			penny_frame_conversation(out, line->row);
			break;
		case PENNY_ROW_MESSAGE:
			penny_frame_message(out, line->row,
								DatumGetInt64(line->row->value[PENNY_MESSAGE_CREATED_VERSION]) >
									since);
			break;
		case PENNY_ROW_TOOL_EXECUTION:
			penny_frame_tool_execution(out, line->row);
			break;
		case PENNY_ROW_ARTIFACT:
			penny_frame_artifact(out, line->row);
			break;
		case PENNY_ROW_ARTIFACT_VERSION:
			penny_frame_artifact_version(out, line->row);
			break;
		case PENNY_ROW_PARTICIPANT:
			penny_frame_participant(out, line->row);
			break;
		default:
			penny_frame_tombstone(out, line->row);
			break;
	}
	appendStringInfoChar(out, '\n');
}

/* The rows that changed since a version, by version; gives their number. */
static int
sort_changes(ChangeLine **lines, PennyResult *result, int64 since)
{
	int total = 0;
	int n = 0;

	for (int kind = 1; kind < PENNY_ROW_KINDS; kind++)
		total += result->n[kind];
	*lines = palloc(Max(total, 1) * sizeof(ChangeLine));
	for (int kind = 1; kind < PENNY_ROW_KINDS; kind++)
		for (int i = 0; kind != PENNY_ROW_USER && i < result->n[kind]; i++)
		{
			PennyRow *row = penny_result_rows(result, kind) + i;
			ChangeLine *line = &(*lines)[n];

			line->version = DatumGetInt64(
				row->value[kind == PENNY_ROW_CONVERSATION ? PENNY_CONVERSATION_STATE_VERSION
														  : PENNY_ROW_VERSION]);
			line->kind = kind;
			line->row = row;
			n += line->version > since;
		}
	qsort(*lines, n, sizeof(ChangeLine), by_line);
	return n;
}

/*
 * Lines of version and frame, ascending.  Gives the version up to which they
 * are whole: the conversation's, or that of the last line of a full page.
 */
static int64
render_changes(StringInfo out, PennyResult *result, int64 since, int64 version)
{
	bool bounded = version - since > PAGE_CHANGES;
	int64 told = version;
	ChangeLine *lines;
	int n;

	penny_result_give_tools(result);
	n = sort_changes(&lines, result, since);
	/* rows beyond the page came along: the conversation's, tools of its messages */
	if (bounded && n >= PAGE_CHANGES)
	{
		told = lines[PAGE_CHANGES - 1].version;
		n = PAGE_CHANGES;
	}
	for (int i = 0; i < n; i++)
	{
		if (i > 0 && lines[i].version == lines[i - 1].version)
			continue;
		if (out->len > PAGE_BYTES)
		{
			told = lines[i - 1].version;
			break;
		}
		render_line(out, &lines[i], since);
	}
	pfree(lines);
	return told;
}

/*
 * The state of each message that grows.  One that changed stands among the
 * rows twice, the second time at the end.
 */
static void
render_states(StringInfo out, PennyResult *result)
{
	PennyRow *rows = penny_result_rows(result, PENNY_ROW_MESSAGE);
	int n = result->n[PENNY_ROW_MESSAGE];

	for (int i = 0; i < n; i++)
	{
		int later = i + 1;

		if (!penny_stream_is_open(&rows[i]))
			continue;
		while (later < n && !penny_uuid_equal(PENNY_UUID(&rows[later], PENNY_ID),
											  PENNY_UUID(&rows[i], PENNY_ID)))
			later++;
		if (later == n)
			penny_stream_state(out, &rows[i], GetActiveSnapshot());
	}
}
