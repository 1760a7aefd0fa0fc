/*-------------------------------------------------------------------------
 *
 * import_json.c
 *		Members of a chat document, checked as they are taken.
 *
 * What cannot be taken is refused with the place where it stands.  JSON in a
 * string is parsed where jsonb can keep it: jsonb keeps every digit of a
 * number, so a number of a few bytes can be one of a hundred thousand digits,
 * and such a string stays a string.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "common/jsonapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/error.h"
#include "store/import_private.h"

#define MAX_DIGITS 1000 /* of a number, and its greatest exponent */

/* Raise PY400 about a place in the document. */
void
penny_import_refuse(const PennyImport *import, const char *what, const char *where)
{
	if (import->message < 0)
		ereport(ERROR, (errcode(ERRCODE_PENNY_BAD_REQUEST), errmsg("%s", what),
						errdetail("It is at $%s.", where)));
	ereport(ERROR, (errcode(ERRCODE_PENNY_BAD_REQUEST), errmsg("%s", what),
					errdetail("It is at $.messages[%d]%s.", import->message, where)));
}

Datum
penny_import_text(const JsonbValue *string)
{
	return PointerGetDatum(
		cstring_to_text_with_len(string->val.string.val, string->val.string.len));
}

bool
penny_import_is_word(const JsonbValue *string, const char *word)
{
	return string->val.string.len == strlen(word) &&
		   memcmp(string->val.string.val, word, string->val.string.len) == 0;
}

bool
penny_import_is_container(const JsonbValue *value, bool array)
{
	return value != NULL && value->type == jbvBinary &&
		   (array ? JsonContainerIsArray(value->val.binary.data) &&
						!JsonContainerIsScalar(value->val.binary.data)
				  : JsonContainerIsObject(value->val.binary.data));
}

/* A member; NULL where it is missing or null. */
JsonbValue *
penny_import_member(JsonbContainer *object, const char *name, JsonbValue *buffer)
{
	JsonbValue *found = getKeyJsonValueFromContainer(object, name, strlen(name), buffer);

	return found == NULL || found->type == jbvNull ? NULL : found;
}

/* A member that must be a string if it is there. */
JsonbValue *
penny_import_string(const PennyImport *import, JsonbContainer *object, const char *name,
					JsonbValue *buffer)
{
	JsonbValue *found = penny_import_member(object, name, buffer);

	if (found != NULL && found->type != jbvString)
		penny_import_refuse(import, psprintf("\"%s\" must be a string", name),
							psprintf(".%s", name));
	return found;
}

/* When it was written: seconds since 1970, or a timestamp as text. */
bool
penny_import_time(const PennyImport *import, JsonbContainer *object, TimestampTz *at)
{
	JsonbValue buffer;
	JsonbValue *found = penny_import_member(object, "created_at", &buffer);

	if (found == NULL)
		found = penny_import_member(object, "create_time", &buffer);
	if (found == NULL)
		return false;
	if (found->type == jbvNumeric)
		*at = DatumGetTimestampTz(DirectFunctionCall1(
			float8_timestamptz,
			DirectFunctionCall1(numeric_float8, NumericGetDatum(found->val.numeric))));
	else if (found->type == jbvString)
		*at = DatumGetTimestampTz(DirectFunctionCall3(
			timestamptz_in, CStringGetDatum(pnstrdup(found->val.string.val, found->val.string.len)),
			ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	else
		penny_import_refuse(import, "\"created_at\" must be a number or a string", ".created_at");
	if (TIMESTAMP_NOT_FINITE(*at))
		penny_import_refuse(import, "\"created_at\" must be finite", ".created_at");
	return true;
}

/* Is a number one that jsonb, which keeps every digit, can keep? */
static PENNY_JSON_ACTION
check_number(void *state, char *token, JsonTokenType type)
{
	bool *fits = state;
	const char *exponent = strpbrk(token, "eE");

	if (type == JSON_TOKEN_NUMBER &&
		(strlen(token) > MAX_DIGITS ||
		 (exponent != NULL && labs(strtol(exponent + 1, NULL, 10)) > MAX_DIGITS)))
		*fits = false;
	PENNY_JSON_ACTION_DONE;
}

/* JSON if the text is an object or an array that jsonb can keep, else a JSON string. */
static Datum
json_or_string(const JsonbValue *string)
{
	const char *text = string->val.string.val;
	int len = string->val.string.len;
	int at = 0;
	JsonbValue copy = *string;

	while (at < len && strchr(" \t\r\n", text[at]) != NULL)
		at++;
	if (at < len && (text[at] == '{' || text[at] == '['))
	{
		char *json = pnstrdup(text, len);
		JsonLexContext *lexer = penny_json_lexer(json, len, GetDatabaseEncoding());
		bool fits = true;
		JsonSemAction action = {.semstate = &fits, .scalar = check_number};

		if (pg_parse_json(lexer, &action) == JSON_SUCCESS && fits)
			return DirectFunctionCall1(jsonb_in, CStringGetDatum(json));
	}
	return JsonbPGetDatum(JsonbValueToJsonb(&copy));
}

/* A member as JSON: strings as json_or_string() does, others as they are. */
bool
penny_import_json(JsonbContainer *object, const char *name, Datum *json)
{
	JsonbValue buffer;
	JsonbValue *found = penny_import_member(object, name, &buffer);

	if (found == NULL)
		return false;
	*json =
		found->type == jbvString ? json_or_string(found) : JsonbPGetDatum(JsonbValueToJsonb(found));
	return true;
}
