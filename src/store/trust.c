/*-------------------------------------------------------------------------
 *
 * trust.c
 *		May a read of the store be cached?  Only if the cache hears of every
 *		change that the result could show.
 *
 * It hears of a changed row by the triggers penny_invalidate, which the tables'
 * owner could drop, switch off or replace.  So each must be there as
 * penny.create_store() laid it, and fire ALWAYS.  A table with children by
 * inheritance shows rows that no trigger of its own fires for.
 *
 * What a policy goes by may change without a row of the store changing
 * (trust_policy.c says what it goes by).  Callers under row-level security are
 * not served from the cache when that is something nobody tells the cache of.
 * Another table that a policy asks is told of when it has penny.invalidate()
 * without arguments, ALWAYS, for each row and for TRUNCATE; a read then depends
 * on the table as a whole.  The policies of that table count as well.
 *
 * A list depends on its user's participations and on the conversations that it
 * shows.  So for it the policies of conversations may go only by the keys of a
 * row, whose changes are told to all lists that they concern (triggers.c).
 *
 * What was found is remembered in this process, and forgotten with the relation
 * cache entry of any table that was looked at, with any function and any
 * schema.  Every change of these ends all entries of the cache at its commit
 * (PENNY_STAMP_ALL), so an entry that is valid was made under what holds now:
 * nothing need be checked before a hit.  Only who fills must know: a read takes
 * locks and hears of changes meanwhile, so it is asked after the read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "cache/cache.h"
#include "store/tables.h"
#include "store/trust.h"
#include "store/trust_policy.h"

#define MAX_ASKED 16   /* tables of others that policies ask */
#define MAX_ATTEMPTS 8 /* to look while catalogs change */

#define BIT(table) (1U << (table))
#define ROW_TRIGGER \
	(TRIGGER_TYPE_ROW | TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE)

#define OF_MESSAGES                                                                                \
	(BIT(PENNY_USERS) | BIT(PENNY_CONVERSATIONS) | BIT(PENNY_PARTICIPANTS) | BIT(PENNY_MESSAGES) | \
	 BIT(PENNY_TOOL_EXECUTIONS))
#define OF_ARTIFACTS                                                             \
	(BIT(PENNY_CONVERSATIONS) | BIT(PENNY_PARTICIPANTS) | BIT(PENNY_ARTIFACTS) | \
	 BIT(PENNY_ARTIFACT_VERSIONS))

/* The tables that a read of a kind goes to. */
static const uint32 tables_of[PENNY_CACHE_KINDS] = {
	[PENNY_CACHE_CONVERSATION] = OF_MESSAGES | OF_ARTIFACTS,
	[PENNY_CACHE_LIST] = OF_MESSAGES,
	[PENNY_CACHE_MESSAGES] = OF_MESSAGES,
	[PENNY_CACHE_ARTIFACTS] = OF_ARTIFACTS,
	[PENNY_CACHE_SESSION] = BIT(PENNY_SESSIONS),
	[PENNY_CACHE_MODELS] = BIT(PENNY_MODELS),
};

/* The triggers that must be there; those of sql/store/25_invalidate.sql and one more. */
static const struct
{
	PennyTable table;
	const char *name;
	int16 type;
	const char *schema;
	const char *function;
	int nargs;
	const char *args[4];
} triggers[] = {
#define TELLS(table, name, type, nargs, ...)             \
	{                                                    \
		table, name, type, "penny", "invalidate", nargs, \
		{                                                \
			__VA_ARGS__                                  \
		}                                                \
	}
#define EMPTIED(table) TELLS(table, "penny_invalidate_all", TRIGGER_TYPE_TRUNCATE, 0, NULL)
#define OF_CONVERSATION(table)                                                           \
	TELLS(table, "penny_invalidate", ROW_TRIGGER, 2, "conversation", "conversation_id"), \
		EMPTIED(table)
	TELLS(PENNY_USERS, "penny_invalidate", ROW_TRIGGER, 2, "name", "id"),
	EMPTIED(PENNY_USERS),
	TELLS(PENNY_MODELS, "penny_invalidate", ROW_TRIGGER, 0, NULL),
	EMPTIED(PENNY_MODELS),
	TELLS(PENNY_CONVERSATIONS, "penny_invalidate", ROW_TRIGGER, 2, "conversation", "id"),
	EMPTIED(PENNY_CONVERSATIONS),
	{PENNY_CONVERSATIONS, "penny_publish", ROW_TRIGGER, "_penny", "publish_change", 0, {NULL}},
	TELLS(PENNY_PARTICIPANTS, "penny_invalidate", ROW_TRIGGER, 4, "conversation", "conversation_id",
		  "list", "user_id"),
	TELLS(PENNY_PARTICIPANTS, "penny_invalidate_member",
		  TRIGGER_TYPE_ROW | TRIGGER_TYPE_INSERT | TRIGGER_TYPE_DELETE, 2, "member", "user_id"),
	TELLS(PENNY_PARTICIPANTS, "penny_invalidate_moved", TRIGGER_TYPE_ROW | TRIGGER_TYPE_UPDATE, 2,
		  "member", "user_id"),
	EMPTIED(PENNY_PARTICIPANTS),
	OF_CONVERSATION(PENNY_MESSAGES),
	OF_CONVERSATION(PENNY_TOOL_EXECUTIONS),
	OF_CONVERSATION(PENNY_ARTIFACTS),
	OF_CONVERSATION(PENNY_ARTIFACT_VERSIONS),
	TELLS(PENNY_SESSIONS, "penny_invalidate", ROW_TRIGGER, 4, "session", "token_hash", "sessions",
		  "user_id"),
	EMPTIED(PENNY_SESSIONS),
};

typedef struct Asked
{
	Oid relid;
	bool told;                     /* the cache is told of its changes */
	char tag[2 * NAMEDATALEN + 2]; /* "schema.table" */
} Asked;

/* What is known, and of which tables. */
static bool known;
static bool incomplete; /* a table is missing: any new one may be it */
static uint32 untold;   /* tables whose triggers are not those above */
static uint32 opaque;   /* tables whose policies nobody can follow */
static bool unlistable; /* policies of conversations go by more than keys */
static Oid relids[PENNY_TABLES];
static Asked asked[MAX_ASKED];
static int nasked;
static uint32 changes; /* counts what could have changed it */

static void
forget(void)
{
	known = false;
	changes++;
}

static void
relcache_changed(Datum arg, Oid relid)
{
	int i;

	(void) arg;
	if (!OidIsValid(relid) || incomplete)
	{
		forget();
		return;
	}
	for (i = 0; i < PENNY_TABLES; i++)
		if (relids[i] == relid)
			forget();
	for (i = 0; i < nasked; i++)
		if (asked[i].relid == relid)
			forget();
}

static void
catalog_changed(Datum arg, int cacheid, uint32 hash)
{
	(void) arg;
	(void) cacheid;
	(void) hash;
	forget();
}

/* Does a trigger call a function with these arguments, always, for all rows? */
static bool
is_trigger(const Trigger *trigger, int16 type, const char *schema, const char *function, int nargs,
		   const char *const *args)
{
	char *name;
	int i;

	if (trigger->tgtype != type || trigger->tgenabled != TRIGGER_FIRES_ALWAYS ||
		trigger->tgnargs != nargs || trigger->tgnattr != 0)
		return false;
	for (i = 0; i < nargs; i++)
		if (strcmp(trigger->tgargs[i], args[i]) != 0)
			return false;
	name = get_func_name(trigger->tgfoid);
	if (name == NULL || strcmp(name, function) != 0)
		return false;
	name = get_namespace_name(get_func_namespace(trigger->tgfoid));
	return name != NULL && strcmp(name, schema) == 0;
}

/* Is the trigger number i of the table above there? */
static bool
has_trigger(Relation relation, int i)
{
	TriggerDesc *desc = relation->trigdesc;
	int n;

	for (n = 0; desc != NULL && n < desc->numtriggers; n++)
	{
		const Trigger *trigger = &desc->triggers[n];

		if (strcmp(trigger->tgname, triggers[i].name) == 0)
			return is_trigger(trigger, triggers[i].type, triggers[i].schema, triggers[i].function,
							  triggers[i].nargs, triggers[i].args) &&
				   (trigger->tgqual == NULL ||
					strcmp(triggers[i].name, "penny_invalidate_moved") == 0);
	}
	return false;
}

/* Has a table penny.invalidate() without arguments for all that may happen to it? */
static bool
is_told_as_a_whole(Relation relation)
{
	TriggerDesc *desc = relation->trigdesc;
	int16 missing = ROW_TRIGGER | TRIGGER_TYPE_TRUNCATE;
	int n;

	for (n = 0; desc != NULL && n < desc->numtriggers; n++)
	{
		const Trigger *trigger = &desc->triggers[n];

		if (trigger->tgqual == NULL && (trigger->tgtype & TRIGGER_TYPE_TIMING_MASK) == 0 &&
			(TRIGGER_FOR_ROW(trigger->tgtype) || TRIGGER_FOR_TRUNCATE(trigger->tgtype)) &&
			is_trigger(trigger, trigger->tgtype, "penny", "invalidate", 0, NULL))
			missing &= ~trigger->tgtype;
	}
	return missing == 0;
}

/* An ordinary table whose rows are all its own. */
static bool
is_plain(Relation relation)
{
	return relation->rd_rel->relkind == RELKIND_RELATION &&
		   (!relation->rd_rel->relhassubclass ||
			find_inheritance_children(RelationGetRelid(relation), NoLock) == NIL);
}

/* A table that policies ask; gives whether the cache is told of it and of its policies. */
static bool
look_at_asked(Oid relid)
{
	PennyPolicyView view;
	Relation relation;
	ListCell *cell;
	Asked *found;
	bool told;
	int i;

	for (i = 0; i < nasked; i++)
		if (asked[i].relid == relid)
			return asked[i].told;
	if (nasked == MAX_ASKED)
		return false;
	found = &asked[nasked++];
	found->relid = relid;
	found->told = true; /* for policies that ask each other's tables */
	relation = try_relation_open(relid, AccessShareLock);
	if (relation == NULL)
		return found->told = false;
	snprintf(found->tag, sizeof(found->tag), "%s.%s",
			 get_namespace_name(RelationGetNamespace(relation)), RelationGetRelationName(relation));
	memset(&view, 0, sizeof(view));
	told = is_plain(relation) && is_told_as_a_whole(relation);
	if (told)
		penny_policy_look(&view, relation);
	relation_close(relation, NoLock);
	told = told && !view.opaque;
	foreach (cell, view.relations)
		told = told && look_at_asked(lfirst_oid(cell));
	return found->told = told;
}

static void
look_at_policies(PennyTable table, Relation relation)
{
	PennyPolicyView view;
	ListCell *cell;

	memset(&view, 0, sizeof(view));
	view.key[0] = get_attnum(RelationGetRelid(relation), "id");
	view.key[1] = get_attnum(RelationGetRelid(relation), "owner_id");
	penny_policy_look(&view, relation);
	foreach (cell, view.relations)
		if (!look_at_asked(lfirst_oid(cell)))
			view.opaque = true;
	if (view.opaque)
		opaque |= BIT(table);
	if (view.columns && table == PENNY_CONVERSATIONS)
		unlistable = true;
}

static void
look_at_table(PennyTable table, Oid schema)
{
	Relation relation = NULL;
	int i;

	relids[table] =
		OidIsValid(schema) ? get_relname_relid(penny_table_name(table), schema) : InvalidOid;
	if (OidIsValid(relids[table]))
		relation = try_relation_open(relids[table], AccessShareLock);
	if (relation == NULL)
	{
		incomplete = true;
		untold |= BIT(table);
		return;
	}
	if (!is_plain(relation))
		untold |= BIT(table);
	for (i = 0; i < lengthof(triggers); i++)
		if (triggers[i].table == table && !has_trigger(relation, i))
			untold |= BIT(table);
	look_at_policies(table, relation);
	relation_close(relation, NoLock);
}

/* Look at everything, again if it changes meanwhile. */
static pg_noinline void
learn(void)
{
	static bool registered = false;
	uint32 before;
	int attempts = 0;
	int i;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(relcache_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(PROCOID, catalog_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, catalog_changed, (Datum) 0);
		registered = true;
	}
	do
	{
		Oid schema;

		before = changes;
		incomplete = false;
		untold = opaque = 0;
		unlistable = false;
		nasked = 0;
		schema = get_namespace_oid("chat", true);
		for (i = 0; i < PENNY_TABLES; i++)
			look_at_table(i, schema);
		known = changes == before;
	} while (!known && ++attempts < MAX_ATTEMPTS);
}

/* Is the caller under the policies of any of these tables? */
static bool
is_under(uint32 tables)
{
	int i;

	for (i = 0; i < PENNY_TABLES; i++)
		if ((tables & BIT(i)) != 0 && check_enable_rls(relids[i], InvalidOid, true) == RLS_ENABLED)
			return true;
	return false;
}

/*
 * May a read of this kind be cached?
 */
bool
penny_trust_read(PennyCacheKind kind)
{
	uint32 bad;

	if (unlikely(!known))
		learn();
	if (!known || (untold & tables_of[kind]) != 0)
		return false;
	bad = opaque & tables_of[kind];
	if (kind == PENNY_CACHE_SESSION)
		bad = 0; /* read past policies */
	else if (kind == PENNY_CACHE_LIST && unlistable)
		bad |= BIT(PENNY_CONVERSATIONS);
	return bad == 0 || !is_under(bad);
}

/*
 * What is being built depends on the tables that policies ask.
 */
void
penny_trust_depend(void)
{
	int i;

	for (i = 0; i < nasked; i++)
		penny_cache_depend(asked[i].tag, NULL);
}
