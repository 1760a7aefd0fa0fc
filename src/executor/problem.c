/*-------------------------------------------------------------------------
 *
 * problem.c
 *		From an error to a problem document (RFC 9457): one table, one writer.
 *
 * What a client is told depends on the status alone: below 500 the message,
 * detail and hint of the error, since they say what is wrong with the
 * request; from 500 on the title, because the text of an unexpected error may
 * show what is inside.  Errors of class PY are meant for clients, whatever
 * their status.
 *
 * A document is made outside a transaction, where no encoding is converted and
 * no error may happen.  Of a database that is not in UTF-8 only ASCII is told,
 * with "?" for the rest.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/json.h"

#include "base/error.h"
#include "executor/problem.h"
#include "plane/route.h"

/* The table: the first row that fits wins; zeros in mask fit anything. */
typedef struct StatusRow
{
	const char *sqlstate; /* a whole code, or the two characters of a class */
	uint32 status;
} StatusRow;

static const StatusRow status_table[] = {
	{"22", 400},    /* data exception */
	{"23502", 400}, /* not null */
	{"23514", 400}, /* check */
	{"23503", 409}, /* foreign key */
	{"23505", 409}, /* unique */
	{"23P01", 409}, /* exclusion */
	{"25006", 405}, /* write in a read-only transaction: GET */
	{"28", 403},    /* authorization */
	{"40001", 503}, /* serialization failure, after the retries */
	{"40P01", 503}, /* deadlock, likewise */
	{"42501", 403}, /* privilege */
	{"53", 503},    /* resources */
	{"55P03", 503}, /* lock not available */
	{"57014", 503}, /* cancelled; 504 when by the timeout */
	{"57P", 503},   /* shutting down */
	{"P0001", 400}, /* RAISE EXCEPTION without a code */
	{"P0002", 404}, /* no data found */
};

typedef struct Title
{
	uint32 status;
	const char *title;
} Title;

static const Title titles[] = {
	{200, "OK"},
	{400, "Bad Request"},
	{401, "Unauthorized"},
	{403, "Forbidden"},
	{404, "Not Found"},
	{405, "Method Not Allowed"},
	{406, "Not Acceptable"},
	{408, "Request Timeout"},
	{409, "Conflict"},
	{410, "Gone"},
	{412, "Precondition Failed"},
	{413, "Content Too Large"},
	{415, "Unsupported Media Type"},
	{422, "Unprocessable Content"},
	{428, "Precondition Required"},
	{429, "Too Many Requests"},
	{500, "Internal Server Error"},
	{501, "Not Implemented"},
	{503, "Service Unavailable"},
	{504, "Gateway Timeout"},
};

static void to_utf8(StringInfo out);
static void append_member(StringInfo out, const char *name, const char *value);
static void append_detail(StringInfo out, const ErrorData *error);
static void add_headers(PennyAnswer *answer, const PennyProblemContext *context);

const char *
penny_problem_title(uint32 status)
{
	for (int i = 0; i < lengthof(titles); i++)
		if (titles[i].status == status)
			return titles[i].title;
	return status >= 500 ? "Server Error" : "Request Failed";
}

uint32
penny_problem_status(int sqlerrcode, bool timed_out)
{
	const char *state = unpack_sql_state(sqlerrcode);

	if (strncmp(state, "PY", 2) == 0)
	{
		uint32 status = (uint32) strtoul(state + 2, NULL, 10);

		return status >= 400 && status <= 599 ? status : 500;
	}
	if (sqlerrcode == ERRCODE_QUERY_CANCELED && timed_out)
		return 504;
	for (int i = 0; i < lengthof(status_table); i++)
		if (strncmp(state, status_table[i].sqlstate, strlen(status_table[i].sqlstate)) == 0)
			return status_table[i].status;
	return 500;
}

/* May the client read the text of this error? */
static bool
is_for_client(const ErrorData *error, uint32 status)
{
	return status < 500 || strncmp(unpack_sql_state(error->sqlerrcode), "PY", 2) == 0;
}

void
penny_problem_answer(PennyAnswer *answer, const ErrorData *error,
					 const PennyProblemContext *context)
{
	MemoryContext old = MemoryContextSwitchTo(answer->context);
	uint32 status = penny_problem_status(error->sqlerrcode, context->timed_out);
	StringInfoData out;

	penny_answer_reset(answer);
	answer->status = status;
	initStringInfo(&out);
	appendStringInfo(&out, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%u",
					 penny_problem_title(status), status);
	if (is_for_client(error, status))
	{
		append_detail(&out, error);
		if (error->hint != NULL)
			append_member(&out, "hint", error->hint);
	}
	else if (status == 504)
		appendStringInfo(&out, ",\"detail\":\"the request took longer than %d ms\"",
						 context->timeout);
	append_member(&out, "code",
				  is_for_client(error, status) || status != 500
					  ? unpack_sql_state(error->sqlerrcode)
					  : "XX000");
	append_member(&out, "request_id", context->request_id);
	appendStringInfoChar(&out, '}');
	to_utf8(&out);
	answer->body = out.data;
	answer->body_len = (Size) out.len;
	add_headers(answer, context);
	MemoryContextSwitchTo(old);
}

/* Make the text one that is UTF-8 for sure; server encodings hold ASCII as it is. */
static void
to_utf8(StringInfo out)
{
	if (GetDatabaseEncoding() == PG_UTF8)
		return;
	for (int i = 0; i < out->len; i++)
	{
		if (IS_HIGHBIT_SET(out->data[i]))
			out->data[i] = '?';
	}
}

/* Append a member with a text; escape_json() escapes control characters too. */
static void
append_member(StringInfo out, const char *name, const char *value)
{
	appendStringInfo(out, ",\"%s\":", name);
	escape_json(out, value);
}

/* detail: the message of the error, then its own detail. */
static void
append_detail(StringInfo out, const ErrorData *error)
{
	const char *message = error->message != NULL ? error->message : "";

	if (error->detail != NULL)
		append_member(out, "detail", psprintf("%s: %s", message, error->detail));
	else
		append_member(out, "detail", message);
}

/* Headers that the status asks for. */
static void
add_headers(PennyAnswer *answer, const PennyProblemContext *context)
{
	char allow[128];

	penny_answer_header(answer, "content-type", "application/problem+json");
	switch (answer->status)
	{
		case 401:
			penny_answer_header(answer, "www-authenticate",
								context->token_given
									? "Bearer realm=\"penny\", error=\"invalid_token\""
									: "Bearer realm=\"penny\"");
			break;
		case 405:
			allow[penny_route_allow(context->allowed, allow, sizeof(allow) - 1)] = '\0';
			penny_answer_header(answer, "allow", allow);
			break;
		case 429:
		case 503:
			penny_answer_header(answer, "retry-after", "1");
			break;
		default:
			break;
	}
}

int
penny_problem_print(char *out, size_t size, uint32 status, const char *request_id)
{
	return snprintf(out, size,
					"{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%u,"
					"\"code\":\"%s\",\"request_id\":\"%s\"}",
					penny_problem_title(status), status, status == 503 ? "57P01" : "XX000",
					request_id);
}
