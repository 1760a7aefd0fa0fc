/*-------------------------------------------------------------------------
 *
 * guc_queue.c
 *		Settings of the job queue.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "base/crash.h"
#include "config/config.h"

#define SECOND 1000
#define HOUR (3600 * SECOND)

int penny_execution_timeout = HOUR;
bool penny_job_synchronous_commit = false;
int penny_job_worker_idle_timeout = 30 * SECOND;
int penny_job_worker_memory = 1024 * 1024;
int penny_job_workers = 10;
int penny_jobs_in_memory = 128 * 1024;

/* Define them, sorted by name. */
void
penny_config_queue(void)
{
	DefineCustomIntVariable(
		"penny.execution_timeout", "Sets the time after which a tool that still runs has failed.",
		"Rows of \"chat.tool_executions\" that are older are closed with an error; it is looked "
		"for them every five minutes, and more often when this time is short.",
		&penny_execution_timeout, penny_execution_timeout, 1 * SECOND, INT_MAX, PGC_SIGHUP,
		GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomBoolVariable(
		"penny.job_synchronous_commit", "Makes jobs of SQL functions wait for the disk.",
		"While it is off a crash of the machine takes the last jobs' effects back together with "
		"their ends, and they run again. Who waits for a job or is told of it learns of its end "
		"when that is on disk, in any case.",
		&penny_job_synchronous_commit, penny_job_synchronous_commit, PGC_SIGHUP, 0, NULL, NULL,
		NULL);
	DefineCustomIntVariable(
		"penny.job_worker_idle_timeout", "Sets the time after which an idle job worker ends.",
		"One always stays.", &penny_job_worker_idle_timeout, penny_job_worker_idle_timeout, 100,
		HOUR, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("penny.job_worker_memory",
							"Sets the memory that one job worker may take for itself.",
							"A job that wants more fails. Shared memory is not counted; 0 sets no "
							"limit.",
							&penny_job_worker_memory, penny_job_worker_memory, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_KB, penny_config_check_memory, NULL, NULL);
	DefineCustomIntVariable(
		"penny.job_workers", "Sets the maximum number of job workers.",
		"They run jobs of SQL functions, and come and go by load. Each one "
		"takes a slot of \"max_worker_processes\" while it runs, and so does one "
		"that keeps the tables in order while all are busy; 0 runs no jobs.",
		&penny_job_workers, penny_job_workers, 0, PENNY_MAX_WORKERS, PGC_SIGHUP, 0, NULL, NULL,
		NULL);
	DefineCustomIntVariable(
		"penny.jobs_in_memory", "Sets how many jobs that wait or run are kept in memory.",
		"Further ones wait in their tables and are read when there is room.", &penny_jobs_in_memory,
		penny_jobs_in_memory, 64, 16 * 1024 * 1024, PGC_POSTMASTER, 0, NULL, NULL, NULL);
}
