/*-------------------------------------------------------------------------
 *
 * guc_executor.c
 *		Settings of the executors.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "config/config.h"

#define SECOND 1000
#define MEMORY_LEAST (64 * 1024) /* kB */
#define HOUR (3600 * SECOND)

int penny_acquire_timeout = 30 * SECOND;
char *penny_database = "postgres";
int penny_executor_idle_timeout = 30 * SECOND;
int penny_executor_memory = 1024 * 1024;
int penny_executors_max = 10;
int penny_executors_min = 2;
int penny_statement_timeout = 30 * SECOND;
int penny_stream_timeout = 30 * SECOND;

static bool check_database(char **value, void **extra, GucSource source);

/* Define them, sorted by name. */
void
penny_config_executor(void)
{
	DefineCustomIntVariable(
		"penny.acquire_timeout", "Sets the time that a call may wait for an executor.",
		"It is then answered with 503.", &penny_acquire_timeout, penny_acquire_timeout, 1, HOUR,
		PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomStringVariable("penny.database", "Sets the database that penny serves.",
							   "Executors wait until it has the extension penny.", &penny_database,
							   penny_database, PGC_POSTMASTER, 0, check_database, NULL, NULL);
	DefineCustomIntVariable(
		"penny.executor_idle_timeout", "Sets the time after which an idle executor ends.",
		"Applies to executors above \"penny.executors_min\".", &penny_executor_idle_timeout,
		penny_executor_idle_timeout, 100, HOUR, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("penny.executor_memory",
							"Sets the memory that one executor may take for itself.",
							"A request that wants more fails with 503. Shared memory is not "
							"counted; 0 sets no limit.",
							&penny_executor_memory, penny_executor_memory, 0, INT_MAX, PGC_SIGHUP,
							GUC_UNIT_KB, penny_config_check_memory, NULL, NULL);
	DefineCustomIntVariable("penny.executors_max", "Sets the maximum number of executors.",
							"Each one takes a slot of \"max_worker_processes\" while it runs; "
							"a value below \"penny.executors_min\" counts as that.",
							&penny_executors_max, penny_executors_max, 1, PENNY_MAX_EXECUTORS,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("penny.executors_min", "Sets the number of executors always there.",
							"Each one takes a slot of \"max_worker_processes\".",
							&penny_executors_min, penny_executors_min, 1, PENNY_MAX_EXECUTORS,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("penny.statement_timeout",
							"Sets the time that one request may run in the database.",
							"It is then cancelled and answered with 504. A route may have its own "
							"time; 0 sets no limit.",
							&penny_statement_timeout, penny_statement_timeout, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("penny.stream_timeout",
							"Sets the time that the producer of a growing message may be silent.",
							"The message is then closed as interrupted, with the text so far.",
							&penny_stream_timeout, penny_stream_timeout, 1 * SECOND, 24 * HOUR,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
}

/* With less a process could not even start. */
bool
penny_config_check_memory(int *value, void **extra, GucSource source)
{
	(void) extra;
	(void) source;
	if (*value != 0 && *value < MEMORY_LEAST)
	{
		GUC_check_errdetail("It is 0 or at least %d MB.", MEMORY_LEAST / 1024);
		return false;
	}
	return true;
}

static bool
check_database(char **value, void **extra, GucSource source)
{
	(void) extra;
	(void) source;
	if (**value == '\0' || strlen(*value) >= NAMEDATALEN)
	{
		GUC_check_errdetail("The name of a database has 1 to %d bytes.", NAMEDATALEN - 1);
		return false;
	}
	return true;
}
