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
 * Each read tells the cache what it depends on, be it cached itself (cached.c)
 * or part of something else that is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"

#include "cache/cache.h"
#include "store/read.h"
#include "store/read_rows.h"

/* What is being built for the cache depends on a conversation. */
static inline void
depend_on(const pg_uuid_t *conversation)
{
	if (penny_cache_collecting())
		penny_cache_depend_uuid("conversation", conversation);
}

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
	depend_on(id);
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
	depend_on(id);
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
 * The artifacts of a conversation with the bodies of their newest versions:
 * {"data"}.
 */
bool
penny_read_artifacts(StringInfo out, PennyWriter write, const pg_uuid_t *id)
{
	Datum value = UUIDPGetDatum(id);
	PennyResult result;
	bool found;

	depend_on(id);
	SPI_connect();
	penny_result_run(&result, &penny_read_artifact_bodies, &value);
	found = result.n[PENNY_ROW_CONVERSATION] > 0;
	if (found)
	{
		PennyRow all;

		penny_result_sort(&result, PENNY_ROW_ARTIFACT, penny_row_by_version);
		penny_result_page(&all, &result, PENNY_ROW_ARTIFACT, INT_MAX, true);
		write(out, &penny_shape_artifact_list, &all);
	}
	SPI_finish();
	return found;
}

/* Models: by the bytes of their identifiers, whatever the collation. */
static int
by_identifier(const void *a, const void *b)
{
	text *ta = DatumGetTextPP(((const PennyRow *) a)->value[PENNY_MODEL_ID]);
	text *tb = DatumGetTextPP(((const PennyRow *) b)->value[PENNY_MODEL_ID]);
	int la = VARSIZE_ANY_EXHDR(ta);
	int lb = VARSIZE_ANY_EXHDR(tb);
	int order = memcmp(VARDATA_ANY(ta), VARDATA_ANY(tb), Min(la, lb));

	return order != 0 ? order : la - lb;
}

/*
 * The language models: {"data"}, by identifier.
 */
void
penny_read_models(StringInfo out, PennyWriter write)
{
	PennyResult result;
	PennyRow all;

	if (penny_cache_collecting())
		penny_cache_depend("chat.models", NULL);
	(void) penny_table_oid(PENNY_MODELS); /* its columns are what they were */
	SPI_connect();
	penny_result_run(&result, &penny_read_all_models, NULL);
	penny_result_sort(&result, PENNY_ROW_MODEL, by_identifier);
	penny_result_page(&all, &result, PENNY_ROW_MODEL, INT_MAX, true);
	write(out, &penny_shape_model_list, &all);
	SPI_finish();
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
	{
		PennyRow *message = penny_result_rows(&result, PENNY_ROW_MESSAGE);

		depend_on(PENNY_UUID(message, PENNY_CONVERSATION_ID));
		write(out, &penny_shape_message, message);
	}
	else if (penny_cache_collecting())
		penny_cache_refuse(PENNY_CACHE_REFUSED_OTHER); /* it may come in any conversation */
	SPI_finish();
	return found;
}
