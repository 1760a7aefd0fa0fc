/*-------------------------------------------------------------------------
 *
 * read_changes.c
 *		What the watcher of a conversation has missed, as lines of version and
 *		frame.
 *
 * The rows that changed are read as they are now, one statement for all kinds,
 * so of a row that changed twice only the newest change is told.  The frames
 * are those that the triggers publish (publish_rows.c).  Where there is too
 * much to tell, nothing is told: fetching the conversation anew is less.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"

#include "cache/cache.h"
#include "store/publish_rows.h"
#include "store/read.h"
#include "store/read_rows.h"

#define MAX_CHANGES 5000            /* told to one who was away */
#define MAX_CHANGES_BYTES (6 << 20) /* of their frames: an edge queues 8 MB for one client */

/* One change among those to be told, by version. */
typedef struct ChangeLine
{
	int64 version;
	PennyRowKind kind;
	PennyRow *row;
} ChangeLine;

static bool render_changes(StringInfo out, PennyResult *result, int64 since);

/*
 * What a watcher has missed.  Where that is too much to be told, `told` is
 * false: fetching the conversation anew is less.
 */
bool
penny_read_changes(StringInfo out, const pg_uuid_t *id, int64 since, int64 *version, bool *told)
{
	Datum values[3];
	PennyResult result;

	values[0] = UUIDPGetDatum(id);
	values[1] = Int64GetDatum(since < 0 ? PG_INT64_MAX : since);
	values[2] = Int64GetDatum(MAX_CHANGES);
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
	*version =
		DatumGetInt64(penny_result_rows(&result, PENNY_ROW_CONVERSATION)->value[PENNY_ROW_VERSION]);
	*told = since < 0 || *version - since <= MAX_CHANGES;
	if (since >= 0 && *told)
		*told = render_changes(out, &result, since);
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

/* Lines of version and frame, ascending; false: too many bytes. */
static bool
render_changes(StringInfo out, PennyResult *result, int64 since)
{
	PennyRow *row = result->rows;
	PennyRow *end = penny_result_rows(result, PENNY_ROW_TOMBSTONE) + result->n[PENNY_ROW_TOMBSTONE];
	ChangeLine *lines;
	int kind;
	int n = 0;
	int i;

	penny_result_give_tools(result);
	for (kind = 1; kind <= PENNY_ROW_KINDS; kind++)
		end = Max(end, penny_result_rows(result, kind) + result->n[kind]);
	lines = palloc((end - row) * sizeof(ChangeLine));
	for (kind = 1; kind < PENNY_ROW_KINDS; kind++)
		for (i = 0; kind != PENNY_ROW_USER && i < result->n[kind]; i++)
		{
			row = penny_result_rows(result, kind) + i;
			lines[n].version = DatumGetInt64(
				row->value[kind == PENNY_ROW_CONVERSATION ? PENNY_CONVERSATION_STATE_VERSION
														  : PENNY_ROW_VERSION]);
			lines[n].kind = kind;
			lines[n].row = row;
			n += lines[n].version > since;
		}
	qsort(lines, n, sizeof(ChangeLine), by_line);
	for (i = 0; i < n && out->len <= MAX_CHANGES_BYTES; i++)
		if (i == 0 || lines[i].version != lines[i - 1].version)
			render_line(out, &lines[i], since);
	pfree(lines);
	return out->len <= MAX_CHANGES_BYTES;
}
