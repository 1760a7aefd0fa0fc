/*-------------------------------------------------------------------------
 *
 * read.c
 *		Reading a conversation, a page of its messages, or one message, as
 *		JSON text, under the caller's policies.
 *
 * One statement each (read_statements.c); the JSON is put together here.
 * Measured with fifty messages, that costs a third of what
 * jsonb_build_object() and jsonb_agg() cost for the same text.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"

#include "base/epoch.h"
#include "store/read.h"
#include "store/read_rows.h"
#include "store/render.h"

static void render_messages(StringInfo out, PennyResult *result, int first, int n);
static void render_position(StringInfo out, const PennyRow *conversation);

/*
 * The eager fetch: {conversation's members, "messages", "artifacts",
 * "position"}, messages newest first.
 */
bool
penny_read_conversation(StringInfo out, const pg_uuid_t *id, int messages)
{
	Datum values[3];
	PennyResult result;
	int i;

	values[0] = UUIDPGetDatum(id);
	values[1] = Int64GetDatum(messages);
	values[2] = Int64GetDatum(0);
	SPI_connect();
	penny_result_run(&result, &penny_read_eager_fetch, values);
	if (result.n[PENNY_ROW_CONVERSATION] == 0)
	{
		SPI_finish();
		return false;
	}
	penny_result_sort(&result, PENNY_ROW_MESSAGE, penny_row_by_seq_descending);
	penny_result_sort(&result, PENNY_ROW_TOOL_EXECUTION, penny_row_by_message);
	penny_result_sort(&result, PENNY_ROW_ARTIFACT, penny_row_by_version);
	appendStringInfoChar(out, '{');
	penny_render_conversation(out, penny_result_rows(&result, PENNY_ROW_CONVERSATION));
	appendStringInfoString(out, ",\"messages\":");
	render_messages(out, &result, 0, result.n[PENNY_ROW_MESSAGE]);
	appendStringInfoString(out, ",\"artifacts\":[");
	for (i = 0; i < result.n[PENNY_ROW_ARTIFACT]; i++)
	{
		if (i > 0)
			appendStringInfoChar(out, ',');
		penny_render_artifact(out, penny_result_rows(&result, PENNY_ROW_ARTIFACT) + i);
	}
	appendStringInfoString(out, "],\"position\":");
	render_position(out, penny_result_rows(&result, PENNY_ROW_CONVERSATION));
	appendStringInfoChar(out, '}');
	SPI_finish();
	return true;
}

/*
 * A page of history: {"data", "has_more"}, ascending.  The newest messages
 * before `before`, or, when only `after` is given (not negative), the oldest
 * after it.
 */
bool
penny_read_messages(StringInfo out, const pg_uuid_t *id, int64 before, int64 after, int limit)
{
	bool newer = before == PG_INT64_MAX && after >= 0;
	Datum values[4];
	PennyResult result;
	int n;

	values[0] = UUIDPGetDatum(id);
	values[1] = Int64GetDatum(after);
	values[2] = Int64GetDatum(before);
	values[3] = Int64GetDatum(limit + 1);
	SPI_connect();
	penny_result_run(&result, newer ? &penny_read_newer_page : &penny_read_older_page, values);
	if (result.n[PENNY_ROW_CONVERSATION] == 0)
	{
		SPI_finish();
		return false;
	}
	n = result.n[PENNY_ROW_MESSAGE];
	penny_result_sort(&result, PENNY_ROW_MESSAGE, penny_row_by_seq);
	penny_result_sort(&result, PENNY_ROW_TOOL_EXECUTION, penny_row_by_message);
	appendStringInfoString(out, "{\"data\":");
	render_messages(out, &result, !newer && n > limit ? n - limit : 0, Min(n, limit));
	appendStringInfo(out, ",\"has_more\":%s}", n > limit ? "true" : "false");
	SPI_finish();
	return true;
}

/*
 * One message.
 */
bool
penny_read_message(StringInfo out, const pg_uuid_t *id)
{
	Datum value = UUIDPGetDatum(id);
	PennyResult result;
	bool found;

	SPI_connect();
	penny_result_run(&result, &penny_read_one_message, &value);
	found = result.n[PENNY_ROW_MESSAGE] > 0;
	penny_result_sort(&result, PENNY_ROW_TOOL_EXECUTION, penny_row_by_version);
	if (found)
		penny_render_message(out, penny_result_rows(&result, PENNY_ROW_MESSAGE),
							 penny_result_rows(&result, PENNY_ROW_TOOL_EXECUTION),
							 result.n[PENNY_ROW_TOOL_EXECUTION]);
	SPI_finish();
	return found;
}

/* The array of n messages of a result from the first on. */
static void
render_messages(StringInfo out, PennyResult *result, int first, int n)
{
	PennyRow *messages = penny_result_rows(result, PENNY_ROW_MESSAGE) + first;
	int i;

	appendStringInfoChar(out, '[');
	for (i = 0; i < n; i++)
	{
		int ntools;
		PennyRow *tools = penny_result_tools(result, &messages[i], &ntools);

		if (i > 0)
			appendStringInfoChar(out, ',');
		penny_render_message(out, &messages[i], tools, ntools);
	}
	appendStringInfoChar(out, ']');
}

static void
render_position(StringInfo out, const PennyRow *conversation)
{
	const char *epoch = penny_epoch_text();

	appendStringInfoString(out, "{\"epoch\":");
	penny_render_string(out, epoch, strlen(epoch));
	appendStringInfoString(out, ",\"version\":");
	penny_render_int(out, DatumGetInt64(conversation->value[PENNY_ROW_VERSION]));
	appendStringInfoChar(out, '}');
}
