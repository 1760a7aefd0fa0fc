/*-------------------------------------------------------------------------
 *
 * enqueuer.c
 *		Enqueues numbered jobs by SQL, in every way, and notes what became of it.
 *
 *	enqueuer -d file -o log -c number -C clients -n jobs -i ms
 *
 * One transaction after another, one every `ms`, until its input ends or `jobs`
 * numbers are used: in bulk, one by one with priorities, delays and keys, with
 * savepoints, prepared, and rolled back.  A job's number is in its payload,
 * {"n":…}, and no two clients use the same.  The log has a line for each:
 *
 *	A <kind> <number>	acknowledged: it must run
 *	M <kind> <number>	the connection was lost: it may run
 *	R <kind> <number>	rolled back: it must not
 *
 * The file holds the connection string and is read again when the connection is
 * lost.  What was prepared then is committed by the next connection, if it is
 * still there.
 *
 *-------------------------------------------------------------------------
 */
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "client.h"

#define MOST 50 /* jobs of a transaction */

typedef struct Job
{
	const char *kind;
	unsigned long number;
	bool rolled_back;
} Job;

static struct
{
	const char *conninfo;
	FILE *log;
	unsigned number;
	unsigned clients;
	unsigned long jobs;
	int interval;
} opt;

/* What the fault checker's handlers and workers are called. */
static const char *const kinds[] = {"ledger", "ledger", "fails_once", "outside", "inside"};

static PGconn *conn;
static unsigned long serial;
static Job job[MOST];
static int jobs;          /* of this transaction */
static char prepared[64]; /* name of a transaction in doubt, or empty */

static void parse_options(int argc, char **argv);
static bool reach(void);
static bool run(const char *format, ...) __attribute__((format(printf, 1, 2)));
static const char *some_kind(void);
static unsigned long add(const char *kind, bool rolled_back);
static void note(char fate);
static bool bulk(void);
static bool single(void);
static bool savepoint(void);
static bool two_phases(void);
static bool rollback(void);
static bool pause_or_end(void);

int
main(int argc, char **argv)
{
	parse_options(argc, argv);
	srandom(opt.number + 1);
	while (serial < opt.jobs && pause_or_end())
	{
		long what = random() % 100;
		bool known;

		if (conn == NULL && !reach())
			continue;
		jobs = 0;
		known = what < 55   ? bulk()
				: what < 75 ? single()
				: what < 83 ? savepoint()
				: what < 90 ? two_phases()
							: rollback();
		if (!known)
		{
			PQfinish(conn);
			conn = NULL;
		}
		if (known || prepared[0] == '\0')
			note(known ? 'A' : 'M');
	}
	/* a transaction in doubt keeps everything after it waiting */
	while (prepared[0] != '\0' && !reach())
		(void) pause_or_end();
	printf("%lu\n", serial);
	return fclose(opt.log) == 0 ? 0 : 1;
}

static void
parse_options(int argc, char **argv)
{
	int c;

	opt.clients = 1;
	opt.interval = 10;
	opt.jobs = 1000000;
	while ((c = getopt(argc, argv, "d:o:c:C:n:i:")) != -1)
	{
		if (c == 'd')
			opt.conninfo = optarg;
		else if (c == 'o')
			opt.log = fopen(optarg, "w");
		else if (c == 'c')
			opt.number = (unsigned) strtoul(optarg, NULL, 10);
		else if (c == 'C')
			opt.clients = (unsigned) strtoul(optarg, NULL, 10);
		else if (c == 'n')
			opt.jobs = strtoul(optarg, NULL, 10);
		else if (c == 'i')
			opt.interval = (int) strtol(optarg, NULL, 10);
		else
			exit(2);
	}
	if (opt.conninfo == NULL || opt.log == NULL || opt.number >= opt.clients)
		fail("usage: enqueuer -d file -o log -c number -C clients [-n jobs] [-i ms]");
}

/* A connection, and the end of what was in doubt; false while there is none to be had. */
static bool
reach(void)
{
	char *text = read_file(opt.conninfo);
	char sql[128];
	PGresult *result;
	const char *state;
	bool known;

	conn = PQconnectdb(text);
	free(text);
	if (PQstatus(conn) == CONNECTION_OK && prepared[0] == '\0')
		return true;
	if (PQstatus(conn) == CONNECTION_OK)
	{
		snprintf(sql, sizeof(sql), "COMMIT PREPARED '%s'", prepared);
		result = PQexec(conn, sql);
		state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
		/* 42704: it was never prepared, or it was committed and nobody said so */
		known = PQresultStatus(result) == PGRES_COMMAND_OK ||
				(state != NULL && strcmp(state, "42704") == 0);
		if (known)
		{
			note(PQresultStatus(result) == PGRES_COMMAND_OK ? 'A' : 'M');
			prepared[0] = '\0';
		}
		PQclear(result);
		if (known)
			return true;
	}
	PQfinish(conn);
	conn = NULL;
	return false;
}

/* False: the connection is lost.  Whatever else the server refuses is a fault here. */
static bool
run(const char *format, ...)
{
	char sql[4096];
	PGresult *result;
	ExecStatusType status;
	const char *state;
	va_list args;

	va_start(args, format);
	if (vsnprintf(sql, sizeof(sql), format, args) >= (int) sizeof(sql))
		fail("a statement is too long");
	va_end(args);
	result = PQexec(conn, sql);
	status = PQresultStatus(result);
	state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK &&
		PQstatus(conn) == CONNECTION_OK && state != NULL && strncmp(state, "57P", 3) != 0)
		fail("%s: %s", sql, PQerrorMessage(conn));
	PQclear(result);
	return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

static const char *
some_kind(void)
{
	return kinds[(size_t) random() % (sizeof(kinds) / sizeof(kinds[0]))];
}

/* One more job of this transaction; its number. */
static unsigned long
add(const char *kind, bool rolled_back)
{
	unsigned long number = serial++ * opt.clients + opt.number;

	job[jobs++] = (Job){.kind = kind, .number = number, .rolled_back = rolled_back};
	return number;
}

/* What became of the jobs of this transaction. */
static void
note(char fate)
{
	for (int i = 0; i < jobs; i++)
		fprintf(opt.log, "%c %s %lu\n", job[i].rolled_back ? 'R' : fate, job[i].kind,
				job[i].number);
	fflush(opt.log);
}

static bool
bulk(void)
{
	const char *kind = some_kind();
	int n = 2 + (int) (random() % (MOST - 1));
	char payloads[MOST * 32] = "";
	size_t len = 0;

	for (int i = 0; i < n; i++)
		len += (size_t) snprintf(payloads + len, sizeof(payloads) - len, "%s{\\\"n\\\":%lu}",
								 i > 0 ? "\",\"" : "", add(kind, false));
	return run("SELECT penny.enqueue_many('%s', '{\"%s\"}'::jsonb[])", kind, payloads);
}

static bool
single(void)
{
	const char *kind = some_kind();
	unsigned long number = add(kind, false);

	switch (random() % 4)
	{
		case 0:
			return run("SELECT penny.enqueue('%s', '{\"n\":%lu}', priority => %ld)", kind, number,
					   random() % 5);
		case 1:
			return run("SELECT penny.enqueue('%s', '{\"n\":%lu}', delay => '%ld ms')", kind, number,
					   random() % 500);
		case 2:
			return run("SELECT penny.enqueue('%s', '{\"n\":%lu}', key => '%lu')", kind, number,
					   number);
		default:
			return run("SELECT penny.enqueue('%s', '{\"n\":%lu}', group_key => 'g%ld')", kind,
					   number, random() % 10);
	}
}

static bool
enqueue(bool rolled_back)
{
	const char *kind = some_kind();
	unsigned long number = add(kind, rolled_back);

	return run("SELECT penny.enqueue('%s', '{\"n\":%lu}')", kind, number);
}

static bool
savepoint(void)
{
	return run("BEGIN") && enqueue(false) && run("SAVEPOINT s") && enqueue(true) &&
		   run("ROLLBACK TO s") && enqueue(false) && run("COMMIT");
}

static bool
two_phases(void)
{
	char name[sizeof(prepared)];

	snprintf(name, sizeof(name), "enqueuer-%u-%lu", opt.number, serial);
	if (!run("BEGIN") || !enqueue(false) || !enqueue(false))
		return false;
	strcpy(prepared, name);
	if (!run("PREPARE TRANSACTION '%s'", name) || !run("COMMIT PREPARED '%s'", name))
		return false;
	prepared[0] = '\0';
	return true;
}

static bool
rollback(void)
{
	return run("BEGIN") && enqueue(true) && enqueue(true) && run("ROLLBACK");
}

/* Wait; false: the input has ended. */
static bool
pause_or_end(void)
{
	struct pollfd fd = {.fd = STDIN_FILENO, .events = POLLIN};

	return poll(&fd, 1, opt.interval) <= 0;
}
