/*-------------------------------------------------------------------------
 *
 * result.c
 *		From what a handler returned to an answer.  See result.h.
 *
 * A handler is code of the database's owner, but what it puts into a header
 * may be a stranger's: names must be tokens and values must not have control
 * characters, so that no header can be smuggled in.  Headers that belong to
 * the connection, that the edge writes, or that tell the edge what to do
 * (plane/call.h; those a built-in route may set) are refused, and so are HEAD_MAX
 * bytes and more: the head of an answer must be in its first piece.
 *
 * The entity tag of a compressed answer has the coding behind the hash,
 * "<hash>-gzip"; the comparison of If-None-Match is weak and takes it off.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/typcache.h"

#include "base/error.h"
#include "executor/params.h"
#include "executor/result.h"

#define HEAD_MAX (64 * 1024) /* bytes of all headers of a handler */

/* penny.response, taken apart. */
typedef struct Response
{
	int status;
	Jsonb *headers; /* NULL: none */
	Jsonb *body;    /* NULL: none */
	text *json;     /* the body as json; NULL: none */
} Response;

static void read_response(Datum value, Response *response);
static void put_headers(PennyAnswer *answer, Jsonb *headers);
static void put_body(PennyAnswer *answer, const Response *response);
static void put_etag(PennyAnswer *answer);

void
penny_result_answer(PennyAnswer *answer, const PennyRequest *request, Datum value, bool isnull,
					Oid type)
{
	Response response = {.status = 200};
	MemoryContext old;

	if (isnull)
		ereport(ERROR, (errcode(ERRCODE_PENNY_NOT_FOUND), errmsg("not found")));
	if (type == JSONBOID)
		response.body = DatumGetJsonbP(value);
	else if (type == JSONOID)
		response.json = DatumGetTextPP(value);
	else
		read_response(value, &response);

	old = MemoryContextSwitchTo(answer->context);
	penny_answer_reset(answer);
	answer->status = (uint32) response.status;
	if (response.headers != NULL)
		put_headers(answer, response.headers);
	if (response.status != 204 && response.status != 304)
		put_body(answer, &response);
	if (request->method == PENNY_GET || request->method == PENNY_HEAD)
		put_etag(answer);
	MemoryContextSwitchTo(old);
}

/* Take a penny.response apart, columns by their names. */
static void
read_response(Datum value, Response *response)
{
	HeapTupleHeader row = DatumGetHeapTupleHeader(value);
	bool isnull;
	Datum column;

	column = GetAttributeByName(row, "status", &isnull);
	if (!isnull)
		response->status = DatumGetInt32(column);
	if (response->status < 200 || response->status > 599)
		ereport(ERROR, (errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
						errmsg("handler answered with status %d", response->status),
						errdetail("A status is from 200 to 599.")));
	column = GetAttributeByName(row, "headers", &isnull);
	if (!isnull)
		response->headers = DatumGetJsonbP(column);
	column = GetAttributeByName(row, "body", &isnull);
	if (!isnull)
		response->body = DatumGetJsonbP(column);
}

/* A token of RFC 9110 5.6.2. */
static bool
is_token(const char *text)
{
	static const char extra[] = "!#$%&'*+-.^_`|~";

	if (*text == '\0')
		return false;
	for (; *text != '\0'; text++)
	{
		char c = *text;

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			  strchr(extra, c) != NULL))
			return false;
	}
	return true;
}

/* Headers that a handler may not set; those for the edge only penny's own may. */
static bool
is_reserved(const PennyAnswer *answer, const char *name)
{
	static const char *const reserved[] = {
		"connection", "content-length",    "date",    "keep-alive",   "server",          "te",
		"trailer",    "transfer-encoding", "upgrade", "x-request-id", "www-authenticate"};

	for (int i = 0; i < lengthof(reserved); i++)
		if (strcmp(name, reserved[i]) == 0)
			return true;
	return !answer->own && strncmp(name, "penny-", 6) == 0;
}

/* Add one header line after checking both halves. */
static void
put_header(PennyAnswer *answer, const char *name, const char *value)
{
	char *lower = pstrdup(name);

	for (char *c = lower; *c != '\0'; c++)
		*c = (char) pg_ascii_tolower((unsigned char) *c);
	if (!is_token(lower) || is_reserved(answer, lower))
		ereport(ERROR, (errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
						errmsg("handler set a header that is not allowed"),
						errdetail("Name of the header: \"%s\".", name)));
	for (const unsigned char *c = (const unsigned char *) value; *c != '\0'; c++)
		if ((*c < 0x20 && *c != '\t') || *c == 0x7f)
			ereport(ERROR, (errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
							errmsg("handler set header \"%s\" to a value with a control character",
								   lower)));
	if (answer->head.len + strlen(lower) + strlen(value) >= HEAD_MAX)
		ereport(ERROR, (errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
						errmsg("handler set headers of more than %d bytes", HEAD_MAX)));
	penny_answer_header(answer, lower, value);
}

/* Text of a scalar; NULL for null and for containers. */
static char *
scalar_text(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(
				DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		default:
			return NULL;
	}
}

/* Headers: an object of strings, numbers, or arrays of them (several lines). */
static void
put_headers(PennyAnswer *answer, Jsonb *headers)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue value;
	char *name = NULL;
	int depth = 0;

	if (!JB_ROOT_IS_OBJECT(headers))
		ereport(ERROR, (errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
						errmsg("headers of a handler's response are not an object")));
	it = JsonbIteratorInit(&headers->root);
	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		if (token == WJB_BEGIN_OBJECT || token == WJB_BEGIN_ARRAY)
		{
			if (++depth > 2 || (depth == 2 && token == WJB_BEGIN_OBJECT))
				ereport(ERROR,
						(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
						 errmsg("header \"%s\" of a handler's response is not a text", name)));
		}
		else if (token == WJB_END_OBJECT || token == WJB_END_ARRAY)
			depth--;
		else if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (value.type != jbvNull)
			put_header(answer, name, scalar_text(&value));
	}
}

/* Does the head have a line of this (lower-case) name?  Its value, or NULL. */
static char *
header_of(const PennyAnswer *answer, const char *name)
{
	PennySpan head = {answer->head.data, (size_t) answer->head.len};
	PennySpan value = penny_params_header(head, name);

	return value.data != NULL ? pnstrdup(value.data, value.len) : NULL;
}

static void
put_body(PennyAnswer *answer, const Response *response)
{
	StringInfoData out;

	if (response->body == NULL && response->json == NULL)
		return;
	initStringInfo(&out);
	if (response->json != NULL)
		appendBinaryStringInfo(&out, VARDATA_ANY(response->json),
							   VARSIZE_ANY_EXHDR(response->json));
	else
		JsonbToCString(&out, &response->body->root, VARSIZE(response->body));
	penny_answer_json(answer, out.data, out.len);
	if (header_of(answer, "content-type") == NULL)
		penny_answer_header(answer, "content-type", "application/json");
}

/* Length of an opaque tag without the coding that is behind it. */
static size_t
bare_length(const char *tag, size_t len)
{
	static const char *const codings[] = {"-gzip", "-br", "-deflate"};

	for (int i = 0; i < lengthof(codings); i++)
	{
		size_t n = strlen(codings[i]);

		if (len > n && memcmp(tag + len - n, codings[i], n) == 0)
			return len - n;
	}
	return len;
}

/*
 * Is the tag in a list like `"a", W/"b"`, or is the list "*"?  Weak comparison;
 * a strong one leaves weak tags out (RFC 9110 8.8.3.2).
 */
static bool
etag_listed(PennySpan list, const char *tag, bool strong)
{
	const char *at = list.data;
	const char *end = list.data + list.len;
	bool weak = strncmp(tag, "W/", 2) == 0;
	size_t len;

	if (list.len == 1 && *at == '*')
		return true;
	if (weak)
		tag += 2;
	len = strlen(tag);
	if (len < 2 || *tag != '"' || (weak && strong))
		return false;
	tag++;
	len = bare_length(tag, len - 2);
	while (at < end)
	{
		const char *quote = memchr(at, '"', (size_t) (end - at));
		const char *close;

		if (quote == NULL)
			return false;
		weak = quote - at >= 2 && memcmp(quote - 2, "W/", 2) == 0;
		quote++;
		close = memchr(quote, '"', (size_t) (end - quote));
		if (close == NULL)
			return false;
		if (!(weak && strong) && bare_length(quote, (size_t) (close - quote)) == len &&
			memcmp(quote, tag, len) == 0)
			return true;
		at = close + 1;
	}
	return false;
}

/* The entity tag of a GET. */
static void
put_etag(PennyAnswer *answer)
{
	char made[PENNY_ETAG_LEN + 1];

	if (answer->status != 200 || header_of(answer, "etag") != NULL)
		return;
	penny_etag_of(answer->body, answer->body_len, made);
	penny_answer_header(answer, "etag", made);
}

void
penny_result_condition(PennyAnswer *answer, const PennyRequest *request)
{
	PennySpan headers = request->field[PENNY_FIELD_HEADERS];
	PennySpan wanted = penny_params_header(headers, "if-match");
	PennySpan known = penny_params_header(headers, "if-none-match");
	char *tag;

	if (answer->status != 200 || (known.data == NULL && wanted.data == NULL))
		return;
	tag = header_of(answer, "etag");
	if (tag == NULL)
		return;
	/* for reads alone: what a write needs, its handler decides */
	if (wanted.data != NULL && !etag_listed(wanted, tag, true) &&
		(request->method == PENNY_GET || request->method == PENNY_HEAD))
		ereport(ERROR, (errcode(ERRCODE_PENNY_PRECONDITION_FAILED),
						errmsg("the entity tag is none of those in If-Match")));
	if (known.data == NULL || !etag_listed(known, tag, false))
		return;
	answer->status = 304;
	answer->body = "";
	answer->body_len = 0;
}
