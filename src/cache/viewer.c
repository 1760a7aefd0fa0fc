/*-------------------------------------------------------------------------
 *
 * viewer.c
 *		Keys: what is read, where, by whom, and in which form.
 *
 * Who reads is the role in force, the user, and the claims of his token
 * without those that differ from one token to the next (exp, iat, nbf, jti).
 * Policies and functions may ask for more: for settings that a session made
 * up (`SET app.tenant`), for the search path, for the login, for temporary
 * objects.  Those are part of the key too, and so are the settings that the
 * form of values depends on.
 *
 * A session reads many times with the same identity and settings, so the last
 * viewer that was made is remembered with all that it was made of.
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
		json =
			DirectFunctionCall2(jsonb_delete, json, PointerGetDatum(cstring_to_text(passing[i])));
	return JsonbToCString(NULL, &DatumGetJsonbP(json)->root, -1);
}

static PennySpan
canonical_claims(const char *claims)
{
	return span(*claims == '\0' ? NULL : strip_claims(claims));
}

/* ---- settings ------------------------------------------------------------ */

/*
 * Settings that somebody made up for a session, a role or a database, and those
 * of libraries that somebody has set there.  What the server's configuration
 * says is the same for all; claims that are a copy of the identity's are in the
 * key already.
 *
 * Where they are cannot be remembered: a library that is loaded puts its own
 * settings, of other types, in the places of those that were made up in its
 * name, and takes others away.
 */
static void
added_settings(const PennyIdentity *identity, StringInfo out)
{
	int n;
	struct config_generic **all = penny_guc_variables(&n);

	for (int i = 0; i < n; i++)
	{
		struct config_generic *setting = all[i];
		const char *value;

		if (setting->group != CUSTOM_OPTIONS || setting->source <= PGC_S_ARGV)
			continue;
		value = GetConfigOption(setting->name, true, false);
		if (value == NULL || *value == '\0')
			continue;
		if (strcmp(setting->name, CLAIMS_SETTING) == 0 && identity->valid &&
			identity->claims != NULL && strcmp(value, identity->claims) == 0)
			continue;
		appendStringInfo(out, "%s=%zu:%s;", setting->name, strlen(value), value);
	}
}

/* ---- keys ---------------------------------------------------------------- */

/* All that a viewer is made of: numbers, and texts. */
#define NUMBERS 8
#define TEXTS 7

typedef struct Reader
{
	int number[NUMBERS];
	pg_uuid_t user;
	bool has_user;
	const char *text[TEXTS];
} Reader;

static void
describe_reader(const PennyIdentity *identity, Oid role, Reader *reader)
{
	const int number[NUMBERS] = {(int) role,         DateStyle,    DateOrder, IntervalStyle,
								 extra_float_digits, bytea_output, xmlbinary, row_security};
	const char *text[TEXTS] = {pg_get_timezone_name(session_timezone),
							   locale_monetary,
							   locale_numeric,
							   locale_time,
							   TSCurrentConfig,
							   namespace_search_path,
							   identity->claims};

	memset(reader, 0, sizeof(*reader));
	memcpy(reader->number, number, sizeof(number));
	reader->has_user = identity->has_user;
	if (identity->has_user)
		reader->user = identity->user_id;
	for (int i = 0; i < TEXTS; i++)
		reader->text[i] = text[i] != NULL ? text[i] : "";
}

static bool
same_reader(const Reader *a, const Reader *b)
{
	if (memcmp(a, b, offsetof(Reader, text)) != 0)
		return false;
	for (int i = 0; i < TEXTS; i++)
		if (strcmp(a->text[i], b->text[i]) != 0)
			return false;
	return true;
}

static void
make_viewer(const Reader *reader, PennyCacheViewer *viewer)
{
	PennySpan part[TEXTS + 2];
	PennyCacheKey key;
	int n = 0;

	part[n++] = (PennySpan){(const char *) reader->number, sizeof(reader->number)};
	for (int i = 0; i < TEXTS - 1; i++)
		part[n++] = span(reader->text[i]);
	penny_cache_key(penny_plane(), part, n, &key);
	memcpy(viewer->role, &key, sizeof(viewer->role));

	part[n++] = (PennySpan){(const char *) reader->user.data, reader->has_user ? UUID_LEN : 0};
	part[n++] = canonical_claims(reader->text[TEXTS - 1]);
	penny_cache_key(penny_plane(), part, n, &key);
	memcpy(viewer->user, &key, sizeof(viewer->user));
}

/* Who `identity` is, in the role that it names or that is in force; the last one is remembered. */
void
penny_cache_viewer(const PennyIdentity *identity, PennyCacheViewer *viewer)
{
	static MemoryContext context = NULL;
	static Reader last;
	static PennyCacheViewer made;
	static bool known = false;
	Reader reader;

	describe_reader(identity, OidIsValid(identity->role) ? identity->role : GetUserId(), &reader);
	if (!known || !same_reader(&last, &reader))
	{
		make_viewer(&reader, viewer);
		known = false;
		if (context == NULL)
			context = AllocSetContextCreate(TopMemoryContext, "reader of the cache",
											ALLOCSET_SMALL_SIZES);
		MemoryContextReset(context);
		last = reader;
		for (int i = 0; i < TEXTS; i++)
			last.text[i] = MemoryContextStrdup(context, reader.text[i]);
		made = *viewer;
		known = true;
	}
	*viewer = made;
}

/*
 * Names in a function may mean what the session has made for itself.  Who has
 * temporary objects has entries of his own: not everything that is found by
 * such a name is seen to be temporary (a view in a plan that was made before).
 */
typedef struct TemporaryObjects
{
	int64 started;
	Oid schema;
	int pid;
} TemporaryObjects;

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
	TemporaryObjects temporary = {0};
	Oid toast;
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
			added_settings(&reader, &settings);
			all[n++] = (PennySpan){settings.data, settings.len};
			all[n++] = (PennySpan){(const char *) &login, sizeof(login)};
			GetTempNamespaceState(&temporary.schema, &toast);
			if (OidIsValid(temporary.schema))
			{
				temporary.pid = MyProcPid;
				temporary.started = MyStartTimestamp;
				all[n++] = (PennySpan){(const char *) &temporary, sizeof(temporary)};
			}
		}
	}
	for (int i = 0; i < parts && n < MAX_PARTS; i++)
		all[n++] = part[i];
	penny_cache_key(penny_plane(), all, n, key);
	pfree(settings.data);
}
