/*-------------------------------------------------------------------------
 *
 * pairs.c
 *		Two statements of SQL in turn, a block of each: what they take.
 *
 *	pairs -d conninfo -a statement -b statement [-s setup] [-A setup] [-B setup]
 *		  [-x before] [-y before] [-n statements] [-p pairs] [-w]
 *
 * Each statement is prepared on a connection of its own, after the setups (-A
 * is for a, -B for b, -s for both); -x runs on a third one before each block
 * of a, -y before each of b.  A tenth of a block comes first and does not
 * count, nor does the first pair.  For each block: processor time of the
 * backend (/proc/<pid>/schedstat, so the backend must belong to the same user)
 * and time by the clock, for one statement; and with -w the bytes by which the
 * WAL of the server has grown.
 *
 * Blocks are short, some ten milliseconds, so that what else the machine does
 * meets both sides alike.  Prints one line of JSON.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "client.h"

#define MAX_PAIRS 10000

typedef struct Side
{
	const char *statement;
	const char *setup;
	const char *before;
	PGconn *conn;
	size_t bytes; /* of its result */
	double cpu_us[MAX_PAIRS];
	double time_us[MAX_PAIRS];
	double wal[MAX_PAIRS];
} Side;

static struct
{
	const char *conninfo;
	const char *setup;
	int statements;
	int pairs;
	bool wal;
} opt;

static Side side[2];
static PGconn *beside;

static void parse_options(int argc, char **argv);
static PGconn *connect_to(const char *setup, const char *more);
static void block(Side *one, int pair);
static void report(const char *name, const double *value);

int
main(int argc, char **argv)
{
	parse_options(argc, argv);
	beside = connect_to(NULL, NULL);
	for (int i = 0; i < 2; i++)
	{
		PGresult *result;

		side[i].conn = connect_to(opt.setup, side[i].setup);
		result = PQprepare(side[i].conn, "it", side[i].statement, 0, NULL);
		if (PQresultStatus(result) != PGRES_COMMAND_OK)
			fail("%s", PQerrorMessage(side[i].conn));
		PQclear(result);
	}
	for (int pair = -1; pair < opt.pairs; pair++)
		for (int i = 0; i < 2; i++)
			block(&side[(i + pair) & 1], pair);
	printf("{\"pairs\":%d", opt.pairs);
	report("a_cpu", side[0].cpu_us);
	report("b_cpu", side[1].cpu_us);
	report("a_time", side[0].time_us);
	report("b_time", side[1].time_us);
	if (opt.wal)
	{
		report("a_wal", side[0].wal);
		report("b_wal", side[1].wal);
	}
	printf(",\"a_bytes\":%zu,\"b_bytes\":%zu}\n", side[0].bytes, side[1].bytes);
	return 0;
}

static void
parse_options(int argc, char **argv)
{
	int c;

	opt.statements = 1000;
	opt.pairs = 100;
	while ((c = getopt(argc, argv, "d:a:b:s:A:B:x:y:n:p:w")) != -1)
	{
		if (c == 'd')
			opt.conninfo = optarg;
		else if (c == 'a')
			side[0].statement = optarg;
		else if (c == 'b')
			side[1].statement = optarg;
		else if (c == 's')
			opt.setup = optarg;
		else if (c == 'A')
			side[0].setup = optarg;
		else if (c == 'B')
			side[1].setup = optarg;
		else if (c == 'x')
			side[0].before = optarg;
		else if (c == 'y')
			side[1].before = optarg;
		else if (c == 'n')
			opt.statements = (int) strtol(optarg, NULL, 10);
		else if (c == 'p')
			opt.pairs = (int) strtol(optarg, NULL, 10);
		else if (c == 'w')
			opt.wal = true;
		else
			exit(2);
	}
	if (opt.conninfo == NULL || side[0].statement == NULL || side[1].statement == NULL ||
		opt.pairs < 1 || opt.pairs > MAX_PAIRS || opt.statements < 1)
		fail("usage: pairs -d conninfo -a statement -b statement [-s setup] [-A setup] "
			 "[-B setup] [-x before] [-y before] [-n statements] [-p pairs] [-w]");
}

/* Run SQL; the first value of its result as a number. */
static double
run(PGconn *conn, const char *sql)
{
	PGresult *result = PQexec(conn, sql);
	double value = 0;

	if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
		fail("%s: %s", sql, PQerrorMessage(conn));
	if (PQntuples(result) > 0)
		value = strtod(PQgetvalue(result, 0, 0), NULL);
	PQclear(result);
	return value;
}

static PGconn *
connect_to(const char *setup, const char *more)
{
	PGconn *conn = PQconnectdb(opt.conninfo);

	if (PQstatus(conn) != CONNECTION_OK)
		fail("%s", PQerrorMessage(conn));
	if (setup != NULL)
		run(conn, setup);
	if (more != NULL)
		run(conn, more);
	return conn;
}

/* Processor time of a backend in ns. */
static double
backend_ns(PGconn *conn)
{
	char path[64];
	double ns = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", PQbackendPID(conn));
	file = fopen(path, "r");
	if (file == NULL || fscanf(file, "%lf", &ns) != 1)
		fail("could not read \"%s\"", path);
	fclose(file);
	return ns;
}

static double
wal_bytes(void)
{
	return opt.wal ? run(beside, "SELECT pg_current_wal_insert_lsn() - '0/0'") : 0;
}

static void
execute(Side *one, int times)
{
	for (int i = 0; i < times; i++)
	{
		PGresult *result = PQexecPrepared(one->conn, "it", 0, NULL, NULL, NULL, 0);

		if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
			fail("%s", PQerrorMessage(one->conn));
		if (PQntuples(result) > 0)
			one->bytes = (size_t) PQgetlength(result, 0, 0);
		PQclear(result);
	}
}

/* One block; pair -1 does not count. */
static void
block(Side *one, int pair)
{
	double wal;
	double cpu;
	uint64_t start;

	if (one->before != NULL)
		run(beside, one->before);
	execute(one, 1 + opt.statements / 10);
	wal = wal_bytes();
	cpu = backend_ns(one->conn);
	start = now_ns();
	execute(one, opt.statements);
	if (pair < 0)
		return;
	one->time_us[pair] = (double) (now_ns() - start) / 1e3 / opt.statements;
	one->cpu_us[pair] = (backend_ns(one->conn) - cpu) / 1e3 / opt.statements;
	one->wal[pair] = (wal_bytes() - wal) / opt.statements;
}

static void
report(const char *name, const double *value)
{
	printf(",\"%s\":[", name);
	for (int i = 0; i < opt.pairs; i++)
		printf("%s%.4f", i == 0 ? "" : ",", value[i]);
	printf("]");
}
