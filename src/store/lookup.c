/*-------------------------------------------------------------------------
 *
 * lookup.c
 *		Rows of schema chat by index, past privileges and policies.
 *
 * Look-ups go straight to an index, without running any code that the owner of
 * the tables could have put there: they are what definer-style questions (may
 * this user see that?) are made of.  The caller decides what may come of a row.
 *
 * An index is found by its leading columns, since the owner may rename it or
 * make another, and remembered until an invalidation (tables.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_index.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "store/lookup.h"
#include "store/tables.h"

static const struct
{
	PennyTable table;
	int ncolumns;
	PennyColumn columns[2];
	RegProcedure equal;
} key_columns[PENNY_KEYS] = {
	[PENNY_KEY_USER_ID] = {PENNY_USERS, 1, {PENNY_ID}, F_UUID_EQ},
	[PENNY_KEY_CONVERSATION] = {PENNY_CONVERSATIONS, 1, {PENNY_ID}, F_UUID_EQ},
	[PENNY_KEY_PARTICIPANT] = {PENNY_PARTICIPANTS,
							   2,
							   {PENNY_CONVERSATION_ID, PENNY_USER_ID},
							   F_UUID_EQ},
	[PENNY_KEY_PARTICIPATIONS] = {PENNY_PARTICIPANTS, 1, {PENNY_USER_ID}, F_UUID_EQ},
	[PENNY_KEY_MESSAGE] = {PENNY_MESSAGES, 1, {PENNY_ID}, F_UUID_EQ},
	[PENNY_KEY_MESSAGE_TOOLS] = {PENNY_TOOL_EXECUTIONS, 1, {PENNY_TOOL_MESSAGE}, F_UUID_EQ},
	[PENNY_KEY_ARTIFACT] = {PENNY_ARTIFACTS, 1, {PENNY_ID}, F_UUID_EQ},
	[PENNY_KEY_ARTIFACT_NUMBER] = {PENNY_ARTIFACT_VERSIONS,
								   2,
								   {PENNY_ID, PENNY_ARTIFACT_VERSION_NUMBER},
								   F_UUID_EQ},
	[PENNY_KEY_TOMBSTONES] = {PENNY_TOMBSTONES,
							  2,
							  {PENNY_CONVERSATION_ID, PENNY_ROW_VERSION},
							  F_UUID_EQ},
	[PENNY_KEY_SESSION] = {PENNY_SESSIONS, 1, {PENNY_SESSION_HASH}, F_BYTEAEQ},
	[PENNY_KEY_USER_SESSIONS] = {PENNY_SESSIONS, 1, {PENNY_USER_ID}, F_UUID_EQ},
};

static Oid key_index[PENNY_KEYS]; /* InvalidOid: not looked up */

static Oid find_index(Relation relation, PennyKey key);
static bool index_fits(Oid index, PennyKey key);

void
penny_lookup_forget(void)
{
	int i;

	for (i = 0; i < PENNY_KEYS; i++)
		key_index[i] = InvalidOid;
}

/*
 * Begin a scan for equal leading columns.
 */
void
penny_lookup_begin(PennyLookup *lookup, PennyKey key, Snapshot snapshot, LOCKMODE lockmode,
				   int nvalues, const Datum *values)
{
	ScanKeyData scankey[2];
	int i;

	lookup->table = table_open(penny_table_oid(key_columns[key].table), lockmode);
	if (!OidIsValid(key_index[key]))
		key_index[key] = find_index(lookup->table, key);
	lookup->index = index_open(key_index[key], lockmode);
	for (i = 0; i < nvalues; i++)
		ScanKeyInit(&scankey[i], i + 1, BTEqualStrategyNumber, key_columns[key].equal, values[i]);
	lookup->slot = table_slot_create(lookup->table, NULL);
	lookup->scan = penny_index_beginscan(lookup->table, lookup->index, snapshot, nvalues);
	index_rescan(lookup->scan, scankey, nvalues, NULL, 0);
}

bool
penny_lookup_next(PennyLookup *lookup, ScanDirection direction)
{
	return index_getnext_slot(lookup->scan, direction, lookup->slot);
}

/*
 * End a scan; the locks stay until the end of the transaction.
 */
void
penny_lookup_end(PennyLookup *lookup)
{
	index_endscan(lookup->scan);
	ExecDropSingleTupleTableSlot(lookup->slot);
	index_close(lookup->index, NoLock);
	table_close(lookup->table, NoLock);
}

bool
penny_lookup_exists(PennyKey key, Snapshot snapshot, int nvalues, const Datum *values)
{
	PennyLookup lookup;
	bool found;

	penny_lookup_begin(&lookup, key, snapshot, AccessShareLock, nvalues, values);
	found = penny_lookup_next(&lookup, ForwardScanDirection);
	penny_lookup_end(&lookup);
	return found;
}

/* Find an index whose leading columns are the key's; a unique one first. */
static Oid
find_index(Relation relation, PennyKey key)
{
	List *indexes = RelationGetIndexList(relation);
	Oid found = InvalidOid;
	ListCell *cell;

	if (OidIsValid(relation->rd_pkindex) && index_fits(relation->rd_pkindex, key))
		found = relation->rd_pkindex;
	foreach (cell, indexes)
	{
		if (OidIsValid(found))
			break;
		if (index_fits(lfirst_oid(cell), key))
			found = lfirst_oid(cell);
	}
	list_free(indexes);
	if (!OidIsValid(found))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("table \"chat.%s\" lacks an index that penny needs",
							   RelationGetRelationName(relation)),
						errhint("Lay what is missing with SELECT penny.create_store().")));
	return found;
}

/* Is it a plain B-tree whose leading columns are the key's? */
static bool
index_fits(Oid index, PennyKey key)
{
	Relation relation = index_open(index, AccessShareLock);
	Form_pg_index form = relation->rd_index;
	bool fits = form->indisvalid && relation->rd_rel->relam == BTREE_AM_OID &&
				form->indnkeyatts >= key_columns[key].ncolumns &&
				heap_attisnull(relation->rd_indextuple, Anum_pg_index_indpred, NULL);
	int i;

	for (i = 0; fits && i < key_columns[key].ncolumns; i++)
		fits = form->indkey.values[i] ==
			   penny_table_attribute(key_columns[key].table, key_columns[key].columns[i]);
	index_close(relation, AccessShareLock);
	return fits;
}
