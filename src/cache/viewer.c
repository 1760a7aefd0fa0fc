/*-------------------------------------------------------------------------
 *
 * viewer.c
 *		Keys: what is read, where, by whom, and in which form.
 *
 * Who reads is the role in force, the user, and the claims of his token
 * without those that differ from one token to the next (exp, iat, nbf, jti).
 * Policies and functions may ask for more: for settings that a session made
 * up (`SET app.tenant`), for the search path, for the login.  Those are part
 * of the key too, and so are the settings that the form of values depends on.
 *
 * The claims are put into their canonical form once for each text that comes,
 * since one session reads many times.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "tsearch/ts_cache.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/pg_locale.h"
#include "utils/rls.h"
#include "utils/xml.h"

#include "auth/identity.h"
#include "base/compat.h"
#include "cache/cache_private.h"

#define MAX_PARTS 24
#define CLAIMS_SETTING "request.jwt.claims"

static const char *const passing[] = {"exp", "iat", "nbf", "jti"};

static PennySpan span(const char *text);
static PennySpan canonical_claims(const char *claims);
static void made_up_settings(const PennyIdentity *identity, StringInfo out);

static PennySpan
span(const char *text)
{
	PennySpan made = {text != NULL ? text : "", text != NULL ? strlen(text) : 0};

	return made;
}

/* ---- claims -------------------------------------------------------------- */

/* The claims as sorted JSON without those that pass; what is not an object stays as it is. */
static char *
strip_claims(const char *claims)
{
	Datum json = DirectFunctionCall1(jsonb_in, CStringGetDatum(claims));

	if (!JB_ROOT_IS_OBJECT(DatumGetJsonbP(json)))
		return pstrdup(claims);
	for (int i = 0; i < lengthof(passing); i++)
		json = DirectFunctionCall2(jsonb_delete, json,
								   PointerGetDatum(cstring_to_text(passing[i])));
	return JsonbToCString(NULL, &DatumGetJsonbP(json)->root, -1);
}

static PennySpan
canonical_claims(const char *claims)
{
	static char *last = NULL;
	static char *stripped = NULL;
	char *mine;
	char *fresh;

	if (claims == NULL)
		return span(NULL);
	if (last != NULL && stripped != NULL && strcmp(last, claims) == 0)
		return span(stripped);
	fresh = strip_claims(claims);
	mine = MemoryContextStrdup(TopMemoryContext, claims);
	if (last != NULL)
		pfree(last);
	last = mine;
	if (stripped != NULL)
		pfree(stripped);
	stripped = NULL;
	stripped = MemoryContextStrdup(TopMemoryContext, fresh);
	pfree(fresh);
	return span(stripped);
}

/* ---- settings ------------------------------------------------------------ */

/*
 * Settings that somebody made up for a session, a role or a database.  What the
 * server's configuration says is the same for all; claims that are a copy of
 * the identity's are in the key already.
 */
static void
made_up_settings(const PennyIdentity *identity, StringInfo out)
{
	int n;
	struct config_generic **all = penny_guc_variables(&n);

	for (int i = 0; i < n; i++)
	{
		const char *value;

		if (all[i]->group != CUSTOM_OPTIONS || all[i]->source <= PGC_S_ARGV ||
			all[i]->vartype != PGC_STRING)
			continue;
		value = *((struct config_string *) all[i])->variable;
		if (value == NULL || *value == '\0')
			continue;
		if (strcmp(all[i]->name, CLAIMS_SETTING) == 0 && identity->valid &&
			identity->claims != NULL && strcmp(value, identity->claims) == 0)
			continue;
		appendStringInfo(out, "%s=%zu:%s;", all[i]->name, strlen(value), value);
	}
}

/* Settings that the form of values depends on. */
static void
write_form(StringInfo out)
{
	appendStringInfo(out, "%d %d %d %d %d %d %d ", DateStyle, DateOrder, IntervalStyle,
					 extra_float_digits, bytea_output, xmlbinary, row_security);
	appendStringInfo(out, "%s|%s|%s|%s|%s|%s", pg_get_timezone_name(session_timezone),
					 locale_monetary, locale_numeric, locale_time,
					 TSCurrentConfig != NULL ? TSCurrentConfig : "", namespace_search_path);
}

/* ---- keys ---------------------------------------------------------------- */

/* Who `identity` is, in the role that it names or that is in force. */
void
penny_cache_viewer(const PennyIdentity *identity, PennyCacheViewer *viewer)
{
	Oid role = OidIsValid(identity->role) ? identity->role : GetUserId();
	StringInfoData form;
	PennyCacheKey key;
	PennySpan part[5];

	initStringInfo(&form);
	write_form(&form);
	part[0] = (PennySpan){(const char *) &role, sizeof(role)};
	part[1] = (PennySpan){form.data, form.len};
	penny_cache_key(penny_plane(), part, 2, &key);
	memcpy(viewer->role, &key, sizeof(viewer->role));

	part[2] = (PennySpan){(const char *) identity->user_id.data, identity->has_user ? UUID_LEN : 0};
	part[3] = canonical_claims(identity->claims);
	penny_cache_key(penny_plane(), part, 4, &key);
	memcpy(viewer->user, &key, sizeof(viewer->user));
	pfree(form.data);
}

/* Key of a read by SQL. */
void
penny_cache_make_key(PennyCacheKind kind, int whose, const PennySpan *part, int parts,
					 PennyCacheKey *key)
{
	PennyIdentity reader = *penny_identity_get();
	PennySpan all[MAX_PARTS];
	PennyCacheViewer viewer;
	StringInfoData settings;
	Oid login = GetSessionUserId();
	int n = 0;

	initStringInfo(&settings);
	all[n++] = (PennySpan){(const char *) &MyDatabaseId, sizeof(MyDatabaseId)};
	all[n++] = (PennySpan){(const char *) &kind, sizeof(kind)};
	if (whose == PENNY_CACHE_FOR_VIEWER)
	{
		reader.role = GetUserId();
		penny_cache_viewer(&reader, &viewer);
		all[n++] = (PennySpan){(const char *) viewer.user, sizeof(viewer.user)};
		if (kind == PENNY_CACHE_FUNCTION || kind == PENNY_CACHE_ROUTE)
		{
			made_up_settings(&reader, &settings);
			all[n++] = (PennySpan){settings.data, settings.len};
			all[n++] = (PennySpan){(const char *) &login, sizeof(login)};
		}
	}
	for (int i = 0; i < parts && n < MAX_PARTS; i++)
		all[n++] = part[i];
	penny_cache_key(penny_plane(), all, n, key);
	pfree(settings.data);
}
