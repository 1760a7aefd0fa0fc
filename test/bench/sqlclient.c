/*-------------------------------------------------------------------------
 *
 * sqlclient.c
 *		SQL client by libpq over a local socket, in three modes.
 *
 *	sqlclient -d conninfo -a statement -f conversations -m eager -t seconds
 *		Fetches conversations by one prepared call of penny.conversation().
 *	sqlclient … -m nplus1 …
 *		Fetches the same as applications do it: the conversation, its newest
 *		messages, what belongs to them, and the user of each message, every
 *		one by its own prepared statement, and builds the same JSON.
 *	sqlclient … -m check
 *		Compares the two results, which must be equal.
 *	sqlclient -d conninfo -m import -f file -q statement
 *		Executes the prepared statement for each line of a file, with the line
 *		as $1, each in a transaction of its own.
 *
 * The statement of -a runs once, after connecting: it takes an identity, so
 * that both ways of fetching stand under the same policies.  Prints one line
 * of JSON.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "client.h"

#define MESSAGES "50"

/* Types of columns that are JSON as they come (pg_type.h is no client header). */
#define TYPE_BOOL 16
#define TYPE_INT8 20
#define TYPE_INT4 23
#define TYPE_JSON 114
#define TYPE_JSONB 3802

typedef struct Text
{
	char *data;
	size_t len;
	size_t size;
} Text;

static struct
{
	const char *conninfo;
	const char *act_as;
	const char *mode;
	const char *file;
	const char *statement;
	double seconds;
} opt;

static PGconn *conn;
static unsigned long statements;

static void parse_options(int argc, char **argv);
static void prepare(const char *name, const char *statement);
static PGresult *execute(const char *name, const char *value);
static void prepare_fetches(void);
static void fetch_loop(void (*fetch)(const char *id));
static void fetch_eager(const char *id);
static void fetch_nplus1(const char *id);
static void check(void);
static void import(void);

static void append(const char *data, size_t len);
static void append_string(const char *string);
static void append_fields(const PGresult *result, int row);
static void append_row(const char *name, const char *id);

/* The last result, as JSON. */
static Text answer;

int
main(int argc, char **argv)
{
	parse_options(argc, argv);
	conn = PQconnectdb(opt.conninfo);
	if (PQstatus(conn) != CONNECTION_OK)
		fail("%s", PQerrorMessage(conn));
	if (opt.act_as != NULL)
	{
		PGresult *result = PQexec(conn, opt.act_as);

		if (PQresultStatus(result) != PGRES_TUPLES_OK)
			fail("%s", PQerrorMessage(conn));
		PQclear(result);
	}
	if (strcmp(opt.mode, "import") == 0)
		import();
	else
	{
		prepare_fetches();
		if (strcmp(opt.mode, "eager") == 0)
			fetch_loop(fetch_eager);
		else if (strcmp(opt.mode, "nplus1") == 0)
			fetch_loop(fetch_nplus1);
		else
			check();
	}
	PQfinish(conn);
	return 0;
}

static void
parse_options(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "d:a:m:f:q:t:")) != -1)
	{
		if (c == 'd')
			opt.conninfo = optarg;
		else if (c == 'a')
			opt.act_as = optarg;
		else if (c == 'm')
			opt.mode = optarg;
		else if (c == 'f')
			opt.file = optarg;
		else if (c == 'q')
			opt.statement = optarg;
		else if (c == 't')
			opt.seconds = strtod(optarg, NULL);
		else
			exit(2);
	}
	if (opt.conninfo == NULL || opt.mode == NULL || opt.file == NULL)
		fail("usage: sqlclient -d conninfo -m eager|nplus1|check|import -f file [-a statement] "
			 "[-q statement] [-t seconds]");
}

static void
prepare(const char *name, const char *statement)
{
	PGresult *result = PQprepare(conn, name, statement, 0, NULL);

	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail("%s", PQerrorMessage(conn));
	PQclear(result);
}

static PGresult *
execute(const char *name, const char *value)
{
	PGresult *result = PQexecPrepared(conn, name, 1, &value, NULL, NULL, 0);

	if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
		fail("%s", PQerrorMessage(conn));
	statements++;
	return result;
}

/* The statements of both ways; column 0 of those for N+1 is no part of the JSON. */
static void
prepare_fetches(void)
{
	prepare("eager", "SELECT penny.conversation($1)");
	prepare("conversation", "SELECT id AS key, * FROM chat.conversations WHERE id = $1");
	prepare("messages", "SELECT user_id AS key, * FROM chat.messages WHERE conversation_id = $1 "
						"ORDER BY seq DESC LIMIT " MESSAGES);
	prepare("user", "SELECT id AS key, * FROM chat.users WHERE id = $1");
}

/* Fetch the conversations in turn until the time is over. */
static void
fetch_loop(void (*fetch)(const char *id))
{
	static Histogram latency;
	int count;
	char **ids = read_lines(opt.file, &count);
	uint64_t start;
	uint64_t now;
	uint64_t n = 0;
	int i;

	for (i = 0; i < count; i++)
		fetch(ids[i]); /* what is planned and cached once */
	statements = 0;
	start = now = now_ns();
	while ((double) (now - start) < opt.seconds * 1e9)
	{
		uint64_t begin = now;

		fetch(ids[n++ % (uint64_t) count]);
		now = now_ns();
		histogram_add(&latency, now - begin);
	}
	printf("{\"fetches\":%llu,\"mean_us\":%.2f,\"p50_us\":%.1f,\"statements\":%.1f,"
		   "\"bytes\":%zu}\n",
		   (unsigned long long) n, (double) (now - start) / 1e3 / (double) n,
		   histogram_us(&latency, 0.5), (double) statements / (double) n, answer.len);
}

static void
fetch_eager(const char *id)
{
	PGresult *result = execute("eager", id);

	if (PQntuples(result) != 1 || PQgetisnull(result, 0, 0))
		fail("conversation %s is not there", id);
	answer.len = 0;
	append(PQgetvalue(result, 0, 0), (size_t) PQgetlength(result, 0, 0));
	PQclear(result);
}

static void
fetch_nplus1(const char *id)
{
	PGresult *conversation = execute("conversation", id);
	PGresult *messages = execute("messages", id);
	int i;

	answer.len = 0;
	append("{", 1);
	append_fields(conversation, 0);
	append(",\"messages\":[", 13);
	for (i = 0; i < PQntuples(messages); i++)
	{
		append(i > 0 ? ",{" : "{", i > 0 ? 2 : 1);
		append_fields(messages, i);
		append(",\"user\":", 8);
		append_row("user", PQgetvalue(messages, i, 0));
		append("}", 1);
	}
	append("]}", 2);
	PQclear(messages);
	PQclear(conversation);
}

static void
check(void)
{
	fail("not yet");
}

/* One transaction for each line of the file. */
static void
import(void)
{
	int count;
	char **lines = read_lines(opt.file, &count);
	uint64_t start = now_ns();
	double seconds;
	int i;

	prepare("import", opt.statement);
	for (i = 0; i < count; i++)
		PQclear(execute("import", lines[i]));
	seconds = (double) (now_ns() - start) / 1e9;
	printf("{\"count\":%d,\"seconds\":%.3f,\"rate\":%.1f}\n", count, seconds, count / seconds);
}

static void
append(const char *data, size_t len)
{
	if (answer.len + len + 1 > answer.size)
	{
		answer.size = (answer.len + len + 1) * 2;
		answer.data = realloc(answer.data, answer.size);
		if (answer.data == NULL)
			fail("out of memory");
	}
	memcpy(answer.data + answer.len, data, len);
	answer.len += len;
	answer.data[answer.len] = '\0';
}

/* A JSON string. */
static void
append_string(const char *string)
{
	append("\"", 1);
	while (*string != '\0')
	{
		size_t plain = 0;

		while ((unsigned char) string[plain] >= ' ' && string[plain] != '"' &&
			   string[plain] != '\\')
			plain++;
		append(string, plain);
		string += plain;
		if (*string != '\0')
		{
			char escape[8];

			snprintf(escape, sizeof(escape), "\\u%04x", (unsigned char) *string++);
			append(escape, 6);
		}
	}
	append("\"", 1);
}

/* The columns of a row but the first, as members of a JSON object. */
static void
append_fields(const PGresult *result, int row)
{
	int i;

	for (i = 1; i < PQnfields(result); i++)
	{
		const char *value = PQgetvalue(result, row, i);

		if (i > 1)
			append(",", 1);
		append_string(PQfname(result, i));
		append(":", 1);
		if (PQgetisnull(result, row, i))
			append("null", 4);
		else
			switch (PQftype(result, i))
			{
				case TYPE_BOOL:
					append(*value == 't' ? "true" : "false", *value == 't' ? 4 : 5);
					break;
				case TYPE_INT4:
				case TYPE_INT8:
				case TYPE_JSON:
				case TYPE_JSONB:
					append(value, (size_t) PQgetlength(result, row, i));
					break;
				default:
					append_string(value);
			}
	}
}

/* What a statement finds, as a JSON object. */
static void
append_row(const char *name, const char *id)
{
	PGresult *result = execute(name, id);

	if (PQntuples(result) == 0)
		append("null", 4);
	else
	{
		append("{", 1);
		append_fields(result, 0);
		append("}", 1);
	}
	PQclear(result);
}
