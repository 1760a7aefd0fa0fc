/*-------------------------------------------------------------------------
 *
 * params.c
 *		From the bytes of a request to a penny.request.  See params.h.
 *
 * Choices.  A query parameter is always a string; where a key is repeated,
 * the last one counts, so that a handler meets one type whatever a client
 * sends.  "+" in a query is a space.  A key without "=" is the empty string.
 * Header lines of one name are joined by ", " as RFC 9110 5.3 allows;
 * credentials are left out, of the query (access_token), too: a handler has the
 * identity.
 *
 * The handler of a cached route is told what the key of its answer is made of,
 * and nothing else: no headers, no request id, the method GET (HEAD has the
 * same answer), and the path with as few escapes as it can have, since paths
 * that differ by escapes alone have one key.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tupdesc.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#include "base/error.h"
#include "executor/params.h"

#define REQUEST_ATTRIBUTES 16 /* greatest number of columns looked at */

static char *percent_decode(PennySpan span, bool plus, const char *what);
static Datum params_jsonb(const PennyParams *params);
static Datum query_jsonb(PennySpan query);
static char *plain_path(PennySpan path);
static Datum headers_jsonb(PennySpan headers);
static bool body_jsonb(const PennyRequest *request, Datum *body);
static bool attribute_value(const PennyParams *params, const char *name, Datum *value);

/* ---- text ------------------------------------------------------------------ */

char *
penny_params_text(PennySpan span, const char *what)
{
	size_t valid = (size_t) pg_encoding_verifymbstr(PG_UTF8, span.data, (int) span.len);
	char *utf8;

	if (valid < span.len)
	{
		if (span.data[valid] == '\0')
			ereport(ERROR, (errcode(ERRCODE_PENNY_BAD_REQUEST),
							errmsg("%s contains a NUL character at byte %zu", what, valid + 1)));
		ereport(ERROR, (errcode(ERRCODE_PENNY_BAD_REQUEST),
						errmsg("%s is not valid UTF-8 at byte %zu", what, valid + 1)));
	}
	utf8 = pnstrdup(span.data, span.len);
	return pg_any_to_server(utf8, (int) span.len, PG_UTF8);
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Decode %xx, and "+" to a space if asked; the escapes have been checked. */
static char *
percent_decode(PennySpan span, bool plus, const char *what)
{
	char *out = palloc(span.len + 1);
	PennySpan decoded = {out, 0};

	for (size_t i = 0; i < span.len; i++)
	{
		char c = span.data[i];

		if (c == '%')
		{
			c = (char) (hex_value(span.data[i + 1]) << 4 | hex_value(span.data[i + 2]));
			i += 2;
		}
		else if (c == '+' && plus)
			c = ' ';
		out[decoded.len++] = c;
	}
	return penny_params_text(decoded, what);
}

/* Refuse bytes that a target cannot have, and broken escapes. */
static void
check_target(PennySpan target)
{
	for (size_t i = 0; i < target.len; i++)
	{
		unsigned char c = (unsigned char) target.data[i];

		if (c <= 0x20 || c == 0x7f || c == '#')
			ereport(ERROR, (errcode(ERRCODE_PENNY_BAD_REQUEST),
							errmsg("request target has an invalid character at byte %zu", i + 1)));
		if (c == '%' && (i + 2 >= target.len || hex_value(target.data[i + 1]) < 0 ||
						 hex_value(target.data[i + 2]) < 0))
			ereport(ERROR, (errcode(ERRCODE_PENNY_BAD_REQUEST),
							errmsg("request target has an incomplete escape at byte %zu", i + 1)));
	}
}

void
penny_params_split_target(PennySpan target, PennySpan *path, PennySpan *query)
{
	const char *mark;

	if (target.len == 0 || target.data[0] != '/')
		ereport(ERROR, (errcode(ERRCODE_PENNY_BAD_REQUEST),
						errmsg("request target does not begin with a slash")));
	check_target(target);
	mark = memchr(target.data, '?', target.len);
	*path = target;
	query->data = "";
	query->len = 0;
	if (mark != NULL)
	{
		path->len = (size_t) (mark - target.data);
		query->data = mark + 1;
		query->len = target.len - path->len - 1;
	}
}

/* The path as it is escaped at least: what must be, and nothing else. */
static char *
plain_path(PennySpan path)
{
	StringInfoData out;
	PennySpan whole;

	initStringInfo(&out);
	for (size_t i = 0; i < path.len; i++)
	{
		unsigned char c = (unsigned char) path.data[i];
		bool escaped = c == '%';

		if (escaped)
		{
			c = (unsigned char) (hex_value(path.data[i + 1]) << 4 | hex_value(path.data[i + 2]));
			i += 2;
		}
		/* no character of a path, or a slash that is no separator */
		if (c <= 0x20 || c >= 0x7f || (escaped && strchr("/?#%", c) != NULL))
			appendStringInfo(&out, "%%%02X", c);
		else
			appendStringInfoChar(&out, (char) c);
	}
	whole.data = out.data;
	whole.len = (size_t) out.len;
	return penny_params_text(whole, "path");
}

/* ---- JSON ------------------------------------------------------------------ */

static void
push_string(JsonbParseState **state, JsonbIteratorToken token, const char *text)
{
	JsonbValue value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = (int) strlen(text);
	(void) pushJsonbValue(state, token, &value);
}

/* Tell a JSON error as one of the request. */
static void
rethrow_json_error(MemoryContext context, const char *what)
{
	ErrorData *error;
	const char *where;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED || error->elevel != ERROR ||
		error->sqlerrcode == ERRCODE_OUT_OF_MEMORY)
		PG_RE_THROW();
	FlushErrorState();
	where = error->context != NULL ? pnstrdup(error->context, strcspn(error->context, "\n")) : "";
	ereport(ERROR,
			(errcode(ERRCODE_PENNY_BAD_REQUEST), errmsg("%s is not valid JSON", what),
			 errdetail_internal("%s%s%s", error->detail != NULL ? error->detail : error->message,
								*where != '\0' ? " " : "", where)));
}

Datum
penny_params_json(PennySpan span, const char *what)
{
	MemoryContext context = CurrentMemoryContext;
	char *text = penny_params_text(span, what);
	volatile Datum json = (Datum) 0;

	PG_TRY();
	{
		json = DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
	}
	PG_CATCH();
	{
		rethrow_json_error(context, what);
	}
	PG_END_TRY();
	return json;
}

/* Parameters of the path, by their names in the pattern. */
static Datum
params_jsonb(const PennyParams *params)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < params->match->params; i++)
	{
		PennySpan name = penny_route_param_name(params->routes, params->match->route, i);
		char *key = pnstrdup(name.data, name.len);

		push_string(&state, WJB_KEY, key);
		push_string(
			&state, WJB_VALUE,
			percent_decode(params->match->param[i], false, psprintf("path parameter \"%s\"", key)));
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

static Datum
query_jsonb(PennySpan query)
{
	JsonbParseState *state = NULL;
	const char *at = query.data;
	const char *end = query.data + query.len;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while (at < end)
	{
		const char *stop = memchr(at, '&', (size_t) (end - at));
		PennySpan key = {at, 0};
		PennySpan value = {"", 0};
		const char *equals;

		if (stop == NULL)
			stop = end;
		key.len = (size_t) (stop - at);
		equals = memchr(at, '=', key.len);
		if (equals != NULL)
		{
			key.len = (size_t) (equals - at);
			value.data = equals + 1;
			value.len = (size_t) (stop - equals - 1);
		}
		if (stop > at)
		{
			char *name = percent_decode(key, true, "name of a query parameter");

			if (strcmp(name, "access_token") != 0)
			{
				push_string(&state, WJB_KEY, name);
				push_string(&state, WJB_VALUE,
							percent_decode(value, true, psprintf("query parameter \"%s\"", name)));
			}
		}
		at = stop + 1;
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/* The next header line; false when there is none. */
static bool
next_header(const char **at, const char *end, PennySpan *name, PennySpan *value)
{
	while (*at < end)
	{
		const char *line = *at;
		const char *stop = memchr(line, '\n', (size_t) (end - line));
		const char *colon;

		if (stop == NULL)
			stop = end;
		*at = stop + 1;
		colon = memchr(line, ':', (size_t) (stop - line));
		if (colon == NULL || colon == line)
			continue;
		name->data = line;
		name->len = (size_t) (colon - line);
		colon++;
		while (colon < stop && (*colon == ' ' || *colon == '\t'))
			colon++;
		while (stop > colon && (stop[-1] == ' ' || stop[-1] == '\t' || stop[-1] == '\r'))
			stop--;
		value->data = colon;
		value->len = (size_t) (stop - colon);
		return true;
	}
	return false;
}

static bool
span_is(PennySpan span, const char *text)
{
	return span.len == strlen(text) && memcmp(span.data, text, span.len) == 0;
}

PennySpan
penny_params_header(PennySpan headers, const char *wanted)
{
	const char *at = headers.data;
	PennySpan name;
	PennySpan value;
	PennySpan none = {NULL, 0};

	while (next_header(&at, headers.data + headers.len, &name, &value))
		if (span_is(name, wanted))
			return value;
	return none;
}

bool
penny_params_directive(PennySpan headers, const char *wanted, const char *directive)
{
	const char *at = headers.data;
	size_t len = strlen(directive);
	PennySpan name;
	PennySpan value;

	while (next_header(&at, headers.data + headers.len, &name, &value))
	{
		const char *member = value.data;
		const char *end = value.data + value.len;

		while (span_is(name, wanted) && member < end)
		{
			const char *stop = memchr(member, ',', (size_t) (end - member));

			if (stop == NULL)
				stop = end;
			while (member < stop && (*member == ' ' || *member == '\t'))
				member++;
			if ((size_t) (stop - member) >= len && pg_strncasecmp(member, directive, len) == 0 &&
				(member + len == stop || strchr(" \t=", member[len]) != NULL))
				return true;
			member = stop + 1;
		}
	}
	return false;
}

/* Join the values of all lines that have the name of this one. */
static char *
joined_values(PennySpan headers, PennySpan wanted, const char *what)
{
	const char *at = headers.data;
	PennySpan name;
	PennySpan value;
	StringInfoData all;
	PennySpan whole;

	initStringInfo(&all);
	while (next_header(&at, headers.data + headers.len, &name, &value))
	{
		if (name.len != wanted.len || memcmp(name.data, wanted.data, name.len) != 0)
			continue;
		if (all.len > 0)
			appendStringInfoString(&all, ", ");
		appendBinaryStringInfo(&all, value.data, (int) value.len);
	}
	whole.data = all.data;
	whole.len = (size_t) all.len;
	return penny_params_text(whole, what);
}

static Datum
headers_jsonb(PennySpan headers)
{
	JsonbParseState *state = NULL;
	const char *at = headers.data;
	PennySpan name;
	PennySpan value;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while (next_header(&at, headers.data + headers.len, &name, &value))
	{
		char *key = penny_params_text(name, "name of a header");
		char *what;

		if (span_is(name, "authorization") || span_is(name, "proxy-authorization"))
			continue;
		what = psprintf("header \"%s\"", key);
		push_string(&state, WJB_KEY, key);
		push_string(&state, WJB_VALUE,
					penny_params_header(headers, key).data == value.data
						? penny_params_text(value, what)
						: joined_values(headers, name, what));
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/* Is this media type application/json, whatever its parameters? */
static bool
is_json_type(PennySpan type)
{
	static const char json[] = "application/json";
	size_t len = sizeof(json) - 1;

	if (type.data == NULL || type.len < len || pg_strncasecmp(type.data, json, len) != 0)
		return false;
	return type.len == len || type.data[len] == ';' || type.data[len] == ' ' ||
		   type.data[len] == '\t';
}

/* The body; false when there is none. */
static bool
body_jsonb(const PennyRequest *request, Datum *body)
{
	PennySpan bytes = request->field[PENNY_FIELD_BODY];

	if (bytes.len == 0)
		return false;
	if (!is_json_type(penny_params_header(request->field[PENNY_FIELD_HEADERS], "content-type")))
		ereport(ERROR, (errcode(ERRCODE_PENNY_UNSUPPORTED_MEDIA_TYPE),
						errmsg("request body must be of type application/json")));
	*body = penny_params_json(bytes, "request body");
	return true;
}

/* ---- the composite ----------------------------------------------------------- */

/* Value of a column of penny.request by its name; false for NULL. */
static bool
attribute_value(const PennyParams *params, const char *name, Datum *value)
{
	const PennyRequest *request = params->request;

	if (strcmp(name, "method") == 0)
		*value =
			CStringGetTextDatum(penny_method_name(params->cached ? PENNY_GET : request->method));
	else if (strcmp(name, "path") == 0)
		*value = CStringGetTextDatum(params->cached ? plain_path(params->path)
													: penny_params_text(params->path, "path"));
	else if (strcmp(name, "params") == 0)
		*value = params_jsonb(params);
	else if (strcmp(name, "query") == 0)
		*value = query_jsonb(params->query);
	else if (strcmp(name, "headers") == 0)
		*value = headers_jsonb(params->cached ? (PennySpan){"", 0}
											  : request->field[PENNY_FIELD_HEADERS]);
	else if (strcmp(name, "body") == 0)
		return body_jsonb(request, value);
	else if (strcmp(name, "user_id") == 0 && params->identity->has_user)
		*value = UUIDPGetDatum(&params->identity->user_id);
	else if (strcmp(name, "role") == 0 && params->role != NULL)
		*value = CStringGetTextDatum(params->role);
	else if (strcmp(name, "request_id") == 0 && !params->cached)
		*value = CStringGetTextDatum(params->request_id);
	else
		return false;
	return true;
}

Datum
penny_params_request(const PennyParams *params, Oid type)
{
	TupleDesc desc = lookup_rowtype_tupdesc(type, -1);
	Datum values[REQUEST_ATTRIBUTES];
	bool nulls[REQUEST_ATTRIBUTES];
	Datum result;

	if (desc->natts > REQUEST_ATTRIBUTES)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
						errmsg("type penny.request has more columns than this version knows")));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		values[i] = (Datum) 0;
		nulls[i] = attribute->attisdropped ||
				   !attribute_value(params, NameStr(attribute->attname), &values[i]);
	}
	result = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	ReleaseTupleDesc(desc);
	return result;
}
