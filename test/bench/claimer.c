/*-------------------------------------------------------------------------
 *
 * claimer.c
 *		An external worker: claims jobs over SQL, and completes them.
 *
 *	claimer -d conninfo -q queue [-n jobs]
 *	claimer -d @file -q queue -m inside|outside -o log [-n jobs] [-l lease] [-c number]
 *
 * In the first form it measures: after a line of input, claims of `n` one after
 * the other, all completed by one call, until there is nothing to claim; prints
 * how many jobs that were, and from when to when (ms since 1970).
 *
 * In the second it works through faults until its input ends, waiting when there is
 * nothing to do, and connects again as often as it takes; the file holds the
 * connection string.  "inside": the effect is a row of public.ledger, written
 * in the transaction that completes the job.  "outside": the effect is a line
 * of the log, before the job is completed in a transaction of its own.
 *
 *	S <number>	started, which is the effect
 *	C <number>	completed, and acknowledged
 *	L <number>	lost hold of: the connection was lost or the claim was stale, so it may
 *				start again (here or elsewhere)
 *	G <number>	given back or failed before any effect
 *
 *-------------------------------------------------------------------------
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "client.h"

#define MOST 1000
#define WIDTH 24 /* of an id, a token or a number, with a comma */

static struct
{
	const char *conninfo;
	const char *queue;
	const char *batch;
	const char *lease;
	const char *mode;
	FILE *log;
	unsigned number;
} opt;

static PGconn *conn;

/* What is held, as texts of the last claim. */
static PGresult *held;
static int n;

static void parse_options(int argc, char **argv);
static void measure(void);
static bool reach(void);
static PGresult *execute(const char *sql, int nparams, const char *const *params);
static bool claim(bool wait);
static bool work(void);
static const char *column_array(char *text, int column, int from, int to);
static bool complete_all(void);
static void complete_each(void);
static void note(char what, int from, int to);
static bool ended_input(int ms);

int
main(int argc, char **argv)
{
	parse_options(argc, argv);
	if (opt.mode == NULL)
	{
		measure();
		return 0;
	}
	srandom(opt.number + 1);
	while (!ended_input(0))
	{
		if (conn == NULL && !reach())
		{
			(void) ended_input(20); /* the server is starting */
			continue;
		}
		if (!claim(true) || !work())
		{
			PQfinish(conn);
			conn = NULL;
		}
		PQclear(held);
		held = NULL;
		n = 0;
	}
	return fclose(opt.log) == 0 ? 0 : 1;
}

static void
parse_options(int argc, char **argv)
{
	int c;

	opt.batch = "50";
	opt.lease = "60 s";
	while ((c = getopt(argc, argv, "d:q:n:m:o:l:c:")) != -1)
	{
		if (c == 'd')
			opt.conninfo = optarg;
		else if (c == 'q')
			opt.queue = optarg;
		else if (c == 'n')
			opt.batch = optarg;
		else if (c == 'm')
			opt.mode = optarg;
		else if (c == 'o')
			opt.log = fopen(optarg, "w");
		else if (c == 'l')
			opt.lease = optarg;
		else if (c == 'c')
			opt.number = (unsigned) strtoul(optarg, NULL, 10);
		else
			exit(2);
	}
	if (opt.conninfo == NULL || opt.queue == NULL || (opt.mode != NULL && opt.log == NULL) ||
		strtol(opt.batch, NULL, 10) > MOST)
		fail("usage: claimer -d conninfo|@file -q queue [-n jobs]"
			 " [-m inside|outside -o log] [-l lease] [-c number]");
}

/* ---- measuring ------------------------------------------------------------- */

static double
wall_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (double) now.tv_sec * 1e3 + (double) now.tv_nsec / 1e6;
}

static void
measure(void)
{
	double begin;
	double end;
	uint64_t jobs = 0;
	char line[16];

	if (!reach())
		fail("%s", PQerrorMessage(conn));
	printf("ready\n");
	fflush(stdout);
	if (fgets(line, sizeof(line), stdin) == NULL)
		return;
	begin = end = wall_ms();
	for (;;)
	{
		if (!claim(false))
			fail("%s", PQerrorMessage(conn));
		if (n == 0)
			break;
		if (!complete_all())
			fail("%s", PQerrorMessage(conn));
		jobs += (uint64_t) n;
		end = wall_ms();
		PQclear(held);
	}
	printf("{\"jobs\":%llu,\"begin\":%.3f,\"end\":%.3f}\n", (unsigned long long) jobs, begin, end);
	PQfinish(conn);
}

/* ---- the connection ---------------------------------------------------------- */

static bool
reach(void)
{
	char *text = opt.conninfo[0] == '@' ? read_file(opt.conninfo + 1) : strdup(opt.conninfo);

	conn = PQconnectdb(text);
	free(text);
	if (PQstatus(conn) == CONNECTION_OK)
		return true;
	if (opt.mode != NULL)
	{
		PQfinish(conn);
		conn = NULL;
	}
	return false;
}

/*
 * A result, or NULL: the connection is lost, or the claim is stale (PY409).
 * Whatever else the server refuses is a fault here.
 */
static PGresult *
execute(const char *sql, int nparams, const char *const *params)
{
	PGresult *result = PQexecParams(conn, sql, nparams, NULL, params, NULL, NULL, 0);
	ExecStatusType status = PQresultStatus(result);
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK)
		return result;
	/* 57P0x: the server ends; PY503: it has only just begun */
	if (PQstatus(conn) == CONNECTION_OK && state != NULL && strcmp(state, "PY409") != 0 &&
		strcmp(state, "PY503") != 0 && strncmp(state, "57P", 3) != 0)
		fail("%s: %s", sql, PQerrorMessage(conn));
	PQclear(result);
	return NULL;
}

static bool
run(const char *sql, int nparams, const char *const *params)
{
	PGresult *result = execute(sql, nparams, params);

	PQclear(result);
	return result != NULL;
}

/* ---- jobs ---------------------------------------------------------------------- */

/* Claim into `held`: id, token, number.  False: the connection is lost. */
static bool
claim(bool wait)
{
	const char *params[] = {opt.queue, opt.batch, opt.lease};
	PGresult *jobs;
	const char *json;

	if (!wait)
	{
		held = execute("SELECT id, token, payload FROM penny.claim($1, $2::int, $3::interval)", 3,
					   params);
		n = held == NULL ? 0 : PQntuples(held);
		return held != NULL;
	}
	jobs =
		execute("CALL penny.claim_wait($1, $2::int, '0.2 s', $3::interval, NULL, NULL)", 3, params);
	if (jobs == NULL)
		return false;
	json = PQntuples(jobs) == 0 || PQgetisnull(jobs, 0, 0) ? "[]" : PQgetvalue(jobs, 0, 0);
	held = execute("SELECT j ->> 'id', j ->> 'token', j -> 'payload' ->> 'n'"
				   " FROM jsonb_array_elements($1::jsonb) j",
				   1, &json);
	PQclear(jobs);
	n = held == NULL ? 0 : PQntuples(held);
	return held != NULL;
}

/* Do what is held.  False: the connection is lost. */
static bool
work(void)
{
	long what = random() % 20;

	if (n == 0)
		return true;
	if (what < 2)
	{
		/* the last one is not done by us */
		const char *one[] = {PQgetvalue(held, n - 1, 0), PQgetvalue(held, n - 1, 1)};
		const char *sql = what == 0
							  ? "SELECT penny.release(ARRAY[$1::bigint], ARRAY[$2::bigint])"
							  : "SELECT penny.fail($1::bigint, $2::bigint, 'not now', '20 ms')";

		n--;
		note('G', n, n + 1);
		if (!run(sql, 2, one) && PQstatus(conn) != CONNECTION_OK)
			return false;
	}
	if (n == 0)
		return true;
	if (strcmp(opt.mode, "outside") == 0)
		note('S', 0, n);
	/* the work takes a while */
	(void) poll(NULL, 0, (int) (random() % 20));
	if (complete_all())
	{
		note('C', 0, n);
		return true;
	}
	note('L', 0, n);
	if (PQstatus(conn) != CONNECTION_OK)
		return false;
	/* one of them was stale: the others are ours, and to be completed */
	complete_each();
	return PQstatus(conn) == CONNECTION_OK;
}

/* A column of what is held, as an array; `text` has room for it. */
static const char *
column_array(char *text, int column, int from, int to)
{
	size_t len = 0;

	for (int i = from; i < to; i++)
		len += (size_t) snprintf(text + len, MOST * WIDTH - len, "%c%s", i == from ? '{' : ',',
								 PQgetvalue(held, i, column));
	strcpy(text + len, "}");
	return text;
}

/* Complete these in one transaction, with their effects when they are inside. */
static bool
complete_some(int from, int to)
{
	static char ids[MOST * WIDTH];
	static char tokens[MOST * WIDTH];
	static char numbers[MOST * WIDTH];
	const char *params[] = {column_array(ids, 0, from, to), column_array(tokens, 1, from, to)};
	const char *effects[1];

	if (opt.mode == NULL || strcmp(opt.mode, "outside") == 0)
		return run("SELECT penny.complete($1::bigint[], $2::bigint[])", 2, params);
	effects[0] = column_array(numbers, 2, from, to);
	if (run("BEGIN", 0, NULL) &&
		run("INSERT INTO public.ledger (number, kind, attempt) SELECT n, 'inside', 0"
			" FROM unnest($1::bigint[]) n",
			1, effects) &&
		run("SELECT penny.complete($1::bigint[], $2::bigint[])", 2, params) &&
		run("COMMIT", 0, NULL))
		return true;
	if (PQstatus(conn) == CONNECTION_OK)
		(void) run("ROLLBACK", 0, NULL);
	return false;
}

static bool
complete_all(void)
{
	return complete_some(0, n);
}

static void
complete_each(void)
{
	for (int i = 0; i < n && PQstatus(conn) == CONNECTION_OK; i++)
		if (complete_some(i, i + 1))
			note('C', i, i + 1);
}

/* Lines of the log, with the system before anything else happens. */
static void
note(char what, int from, int to)
{
	for (int i = from; i < to; i++)
		fprintf(opt.log, "%c %s\n", what, PQgetvalue(held, i, 2));
	fflush(opt.log);
}

/* Has the input ended?  Waits that long for it. */
static bool
ended_input(int ms)
{
	struct pollfd fd = {.fd = STDIN_FILENO, .events = POLLIN};

	return poll(&fd, 1, ms) > 0;
}
