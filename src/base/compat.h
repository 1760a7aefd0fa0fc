/*-------------------------------------------------------------------------
 *
 * compat.h
 *		Differences between the major versions of PostgreSQL, 15 to 18.
 *
 * The only file that tests PG_VERSION_NUM.  Code is written against the names
 * below; each says which release changed what.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_COMPAT_H
#define PENNY_COMPAT_H

#include "postgres.h"

#include "catalog/pg_database.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "penny is written for PostgreSQL 15 to 18"
#endif

/* 17: wait event sets belong to a resource owner (NULL: to the process). */
#if PG_VERSION_NUM >= 170000
#define penny_wait_event_set_create(n) CreateWaitEventSet(NULL, (n))
#else
#define penny_wait_event_set_create(n) CreateWaitEventSet(TopMemoryContext, (n))
#endif

/* 17: an extension names its wait events; before they are all "Extension". */
#if PG_VERSION_NUM >= 170000
#define penny_wait_event_new(name) WaitEventExtensionNew(name)
#else
#define penny_wait_event_new(name) ((uint32) PG_WAIT_EXTENSION)
#endif

/* 17: a process's number is MyProcNumber and no field of its PGPROC. */
#if PG_VERSION_NUM >= 170000
#define PENNY_MY_PROC_NUMBER MyProcNumber
#else
#define PENNY_MY_PROC_NUMBER (MyProc->pgprocno)
#endif

/* 16: one function for the owners of all kinds of objects. */
#if PG_VERSION_NUM >= 160000
#define penny_owns_database(oid, role) object_ownercheck(DatabaseRelationId, (oid), (role))
#else
#define penny_owns_database(oid, role) pg_database_ownercheck((oid), (role))
#endif

/* 16: one function for the rights on all kinds of objects. */
#if PG_VERSION_NUM >= 160000
#define penny_may_execute(oid, role) \
	(object_aclcheck(ProcedureRelationId, (oid), (role), ACL_EXECUTE) == ACLCHECK_OK)
#define penny_may_use_schema(oid, role) \
	(object_aclcheck(NamespaceRelationId, (oid), (role), ACL_USAGE) == ACLCHECK_OK)
#else
#define penny_may_execute(oid, role) (pg_proc_aclcheck((oid), (role), ACL_EXECUTE) == ACLCHECK_OK)
#define penny_may_use_schema(oid, role) \
	(pg_namespace_aclcheck((oid), (role), ACL_USAGE) == ACLCHECK_OK)
#endif

/* 16: lists of a process's locks are dlists.  18: more than one word of fast-path slots. */
static inline bool
penny_no_locks_held(void)
{
	for (int i = 0; i < NUM_LOCK_PARTITIONS; i++)
	{
#if PG_VERSION_NUM >= 160000
		if (!dlist_is_empty(&MyProc->myProcLocks[i]))
			return false;
#else
		if (!SHMQueueEmpty(&MyProc->myProcLocks[i]))
			return false;
#endif
	}
#if PG_VERSION_NUM >= 180000
	for (int i = 0; i < FastPathLockGroupsPerBackend; i++)
		if (MyProc->fpLockBits[i] != 0)
			return false;
	return true;
#else
	return MyProc->fpLockBits == 0;
#endif
}

/* 16: the array of all settings is made anew for each caller, who is told how many there are. */
#if PG_VERSION_NUM >= 160000
#define penny_guc_variables(n) get_guc_variables(n)
#else
#define penny_guc_variables(n) (*(n) = GetNumConfigOptions(), get_guc_variables())
#endif

/* 18: index scans count their searches, if given where to. */
#if PG_VERSION_NUM >= 180000
#define penny_index_beginscan(table, index, snapshot, nkeys) \
	index_beginscan((table), (index), (snapshot), NULL, (nkeys), 0)
#else
#define penny_index_beginscan(table, index, snapshot, nkeys) \
	index_beginscan((table), (index), (snapshot), (nkeys), 0)
#endif

/* 16: an update says which indexes need the new row, not only whether any does. */
#if PG_VERSION_NUM >= 160000
typedef TU_UpdateIndexes PennyUpdatedIndexes;
#define penny_indexes_updated(indexes) ((indexes) != TU_None)
#define penny_insert_index_entries(result, slot, estate, indexes)                       \
	list_free(ExecInsertIndexTuples((result), (slot), (estate), true, false, NULL, NIL, \
									(indexes) == TU_Summarizing))
#else
typedef bool PennyUpdatedIndexes;
#define penny_indexes_updated(indexes) (indexes)
#define penny_insert_index_entries(result, slot, estate, indexes) \
	list_free(ExecInsertIndexTuples((result), (slot), (estate), true, false, NULL, NIL))
#endif

/* 16: actions of the JSON parser say whether to go on. */
#if PG_VERSION_NUM >= 160000
#define PENNY_JSON_ACTION JsonParseErrorType
#define PENNY_JSON_ACTION_DONE return JSON_SUCCESS
#else
#define PENNY_JSON_ACTION void
#define PENNY_JSON_ACTION_DONE return
#endif

/* 17: the lexer's memory may be the caller's. */
#if PG_VERSION_NUM >= 170000
#define penny_json_lexer(json, len, encoding) \
	makeJsonLexContextCstringLen(NULL, (json), (len), (encoding), true)
#else
#define penny_json_lexer(json, len, encoding) \
	makeJsonLexContextCstringLen((json), (len), (encoding), true)
#endif

/* libpq/libpq.h has it, and wants headers of GSSAPI. */
extern bool pq_check_connection(void);

/* Oldest minor release of this major version without known holes in the server. */
#if PG_VERSION_NUM >= 180000
#define PENNY_WANTED_SERVER 180006
#elif PG_VERSION_NUM >= 170000
#define PENNY_WANTED_SERVER 170012
#elif PG_VERSION_NUM >= 160000
#define PENNY_WANTED_SERVER 160016
#else
#define PENNY_WANTED_SERVER 150020
#endif

#endif /* PENNY_COMPAT_H */
