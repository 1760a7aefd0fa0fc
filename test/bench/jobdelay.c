/*-------------------------------------------------------------------------
 *
 * jobdelay.c
 *		Jobs enqueued one at a time: how long after their commit do they start?
 *
 *	jobdelay -d conninfo -q statement -f number [-n jobs] [-i ms] [-s setup]
 *
 * The statement enqueues one job whose number is $1, from `number` on; its
 * handler writes number and clock_timestamp() into public.bench_started.  It is
 * executed between BEGIN and COMMIT, one job every `ms` and up to twice that, so
 * that the queue is idle in between.  Both clocks are the same machine's.
 *
 * Prints one line of JSON: from sending COMMIT, and from its answer, until the
 * handler's clock (0 when the handler was first), and from sending COMMIT until
 * its answer.  The first tenth does not count.  Ends with status 1 when a job
 * has not started 30 s after the last was enqueued.
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

#define PATIENCE 30 /* seconds */

typedef struct Delay
{
	const char *name;
	Histogram histogram;
} Delay;

static struct
{
	const char *conninfo;
	const char *statement;
	const char *setup;
	long first;
	int jobs;
	int interval;
} opt;

static PGconn *conn;
static int64_t *sent; /* us since 1970, of each COMMIT */
static int64_t *answered;

static void parse_options(int argc, char **argv);
static PGresult *run(const char *sql);
static int64_t wall_us(void);
static void enqueue(int i);
static PGresult *starts(void);
static void report(Delay *delay, int64_t us);

int
main(int argc, char **argv)
{
	static Delay delay[] = {{.name = "sent"}, {.name = "answered"}, {.name = "commit"}};
	PGresult *result;
	int skip;

	parse_options(argc, argv);
	conn = PQconnectdb(opt.conninfo);
	if (PQstatus(conn) != CONNECTION_OK)
		fail("%s", PQerrorMessage(conn));
	if (opt.setup != NULL)
		PQclear(run(opt.setup));
	result = PQprepare(conn, "enqueue", opt.statement, 0, NULL);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail("%s", PQerrorMessage(conn));
	PQclear(result);
	srandom(1);
	for (int i = 0; i < opt.jobs; i++)
		enqueue(i);
	result = starts();
	skip = opt.jobs / 10;
	for (int i = skip; i < opt.jobs; i++)
	{
		int64_t started = strtoll(PQgetvalue(result, i, 0), NULL, 10);

		report(&delay[0], started - sent[i]);
		report(&delay[1], started - answered[i]);
		report(&delay[2], answered[i] - sent[i]);
	}
	printf("{\"jobs\":%d", opt.jobs - skip);
	for (int i = 0; i < 3; i++)
		printf(",\"%s_p50_us\":%.1f,\"%s_p99_us\":%.1f,\"%s_max_us\":%.1f", delay[i].name,
			   histogram_us(&delay[i].histogram, 0.5), delay[i].name,
			   histogram_us(&delay[i].histogram, 0.99), delay[i].name,
			   (double) delay[i].histogram.max / 1e3);
	printf("}\n");
	PQfinish(conn);
	return 0;
}

static void
parse_options(int argc, char **argv)
{
	int c;

	opt.jobs = 1000;
	opt.interval = 20;
	while ((c = getopt(argc, argv, "d:q:s:f:n:i:")) != -1)
	{
		if (c == 'd')
			opt.conninfo = optarg;
		else if (c == 'q')
			opt.statement = optarg;
		else if (c == 's')
			opt.setup = optarg;
		else if (c == 'f')
			opt.first = strtol(optarg, NULL, 10);
		else if (c == 'n')
			opt.jobs = (int) strtol(optarg, NULL, 10);
		else if (c == 'i')
			opt.interval = (int) strtol(optarg, NULL, 10);
		else
			exit(2);
	}
	if (opt.conninfo == NULL || opt.statement == NULL || opt.jobs < 10 || opt.interval < 1)
		fail("usage: jobdelay -d conninfo -q statement [-f number] [-n jobs] [-i ms] [-s setup]");
	sent = calloc((size_t) opt.jobs, sizeof(int64_t));
	answered = calloc((size_t) opt.jobs, sizeof(int64_t));
	if (sent == NULL || answered == NULL)
		fail("out of memory");
}

static PGresult *
run(const char *sql)
{
	PGresult *result = PQexec(conn, sql);

	if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
		fail("%s: %s", sql, PQerrorMessage(conn));
	return result;
}

/* What clock_timestamp() shows. */
static int64_t
wall_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void
enqueue(int i)
{
	char number[24];
	const char *params[] = {number};
	PGresult *result;

	(void) poll(NULL, 0, opt.interval + (int) (random() % opt.interval));
	snprintf(number, sizeof(number), "%ld", opt.first + i);
	PQclear(run("BEGIN"));
	result = PQexecPrepared(conn, "enqueue", 1, params, NULL, NULL, 0);
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		fail("%s", PQerrorMessage(conn));
	PQclear(result);
	sent[i] = wall_us();
	PQclear(run("COMMIT"));
	answered[i] = wall_us();
}

/* When each has started, in the order of their numbers. */
static PGresult *
starts(void)
{
	uint64_t begin = now_ns();
	char sql[256];

	snprintf(sql, sizeof(sql),
			 "SELECT (extract(epoch FROM min(at)) * 1000000)::bigint FROM public.bench_started"
			 " WHERE number >= %ld AND number < %ld GROUP BY number ORDER BY number",
			 opt.first, opt.first + opt.jobs);
	for (;;)
	{
		PGresult *result = run(sql);

		if (PQntuples(result) == opt.jobs)
			return result;
		PQclear(result);
		if ((double) (now_ns() - begin) > PATIENCE * 1e9)
			fail("not every job has started");
		(void) poll(NULL, 0, 20);
	}
}

static void
report(Delay *delay, int64_t us)
{
	histogram_add(&delay->histogram, us > 0 ? (uint64_t) us * 1000 : 0);
}
