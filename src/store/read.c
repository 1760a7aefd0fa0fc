/*-------------------------------------------------------------------------
 *
 * read.c
 *		Reading a conversation, a page of its messages, or one message, as
 *		JSON, under the caller's policies.
 *
 * One statement each (read_statements.c); its rows are put together here and
 * written by the caller's writer, as text or as jsonb.  Measured with fifty
 * messages, that costs a third of what jsonb_build_object() and jsonb_agg()
 * cost for the same.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"

#include "store/read.h"
#include "store/read_rows.h"

/*
 * The eager fetch: {conversation's members, "messages", "artifacts",
 * "position"}, messages newest first.
 */
bool
penny_read_conversation(StringInfo out, PennyWriter write, const pg_uuid_t *id, int messages)
{
	Datum values[3];
	PennyResult result;
	bool found;

	values[0] = UUIDPGetDatum(id);
	values[1] = Int64GetDatum(messages);
	values[2] = Int64GetDatum(0);
	SPI_connect();
	penny_result_run(&result, &penny_read_eager_fetch, values);
	found = result.n[PENNY_ROW_CONVERSATION] > 0;
	if (found)
	{
		PennyRow *conversation = penny_result_rows(&result, PENNY_ROW_CONVERSATION);

		penny_result_sort(&result, PENNY_ROW_MESSAGE, penny_row_by_seq_descending);
		penny_result_sort(&result, PENNY_ROW_ARTIFACT, penny_row_by_version);
		penny_result_give_tools(&result);
		conversation->list[0] = penny_result_list(&result, PENNY_ROW_MESSAGE);
		conversation->list[1] = penny_result_list(&result, PENNY_ROW_ARTIFACT);
		write(out, &penny_shape_whole_conversation, conversation);
	}
	SPI_finish();
	return found;
}

/*
 * A page of history: {"data", "has_more"}, ascending.  The newest messages
 * before `before`, or, when only `after` is given (not negative), the oldest
 * after it.
 */
bool
penny_read_messages(StringInfo out, PennyWriter write, const pg_uuid_t *id, int64 before,
					int64 after, int limit)
{
	bool newer = before == PG_INT64_MAX && after >= 0;
	Datum values[4];
	PennyResult result;
	bool found;

	values[0] = UUIDPGetDatum(id);
	values[1] = Int64GetDatum(after);
	values[2] = Int64GetDatum(before);
	values[3] = Int64GetDatum(limit + 1);
	SPI_connect();
	penny_result_run(&result, newer ? &penny_read_newer_page : &penny_read_older_page, values);
	found = result.n[PENNY_ROW_CONVERSATION] > 0;
	if (found)
	{
		PennyRow page;

		penny_result_sort(&result, PENNY_ROW_MESSAGE, penny_row_by_seq);
		penny_result_give_tools(&result);
		penny_result_page(&page, &result, PENNY_ROW_MESSAGE, limit, newer);
		write(out, &penny_shape_message_page, &page);
	}
	SPI_finish();
	return found;
}

/*
 * One message.
 */
bool
penny_read_message(StringInfo out, PennyWriter write, const pg_uuid_t *id)
{
	Datum value = UUIDPGetDatum(id);
	PennyResult result;
	bool found;

	SPI_connect();
	penny_result_run(&result, &penny_read_one_message, &value);
	found = result.n[PENNY_ROW_MESSAGE] > 0;
	penny_result_give_tools(&result);
	if (found)
		write(out, &penny_shape_message, penny_result_rows(&result, PENNY_ROW_MESSAGE));
	SPI_finish();
	return found;
}
