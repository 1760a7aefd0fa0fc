/*-------------------------------------------------------------------------
 *
 * sqlclient.c
 *		SQL client by libpq over a local socket, in three modes.
 *
 *	sqlclient -d conninfo -a statement -f conversations -m eager -t seconds
 *		Fetches conversations by one prepared call of penny.conversation().
 *	sqlclient … -m nplus1 …
 *		Fetches the same as applications do it: the conversation, its newest
 *		messages, and the user of each message, every one by its own prepared
 *		statement, and builds the same JSON.
 *	sqlclient … -m eager|nplus1 -u
 *		The same with unnamed statements, parsed, planned and described anew
 *		each time, as drivers and mappers send them unless told otherwise.
 *	sqlclient … -m check
 *		Compares the two results, which must be equal.
 *	sqlclient -d conninfo -m import -f file -q statement [-n lines]
 *		Executes the prepared statement for each line of a file, with the line
 *		as $1, so many lines a transaction (1).
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

/* Types of columns (pg_type.h is no header for clients). */
#define TYPE_INT8 20
#define TYPE_TIMESTAMPTZ 1184
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
	int batch;
	bool unnamed;
	double seconds;
} opt;

static PGconn *conn;
static unsigned long statements;

/*
 * The statements of both ways.  The columns of those for N+1 are named as the
 * members of the JSON; column 0 of the messages is the user to look up.
 */
typedef struct Statement
{
	const char *name;
	const char *text;
} Statement;

static const Statement eager = {"eager", "SELECT penny.conversation($1, " MESSAGES ")"};
static const Statement one_conversation = {
	"conversation", "SELECT id, owner_id, title, metadata, version, last_seq, message_count, "
					"head_message_id, archived_at, pinned_at, created_at, updated_at, "
					"last_message_at FROM chat.conversations WHERE id = $1"};
static const Statement its_messages = {
	"messages", "SELECT user_id, id, seq, version, parent_id, role, status, content, created_at "
				"FROM chat.messages WHERE conversation_id = $1 ORDER BY seq DESC LIMIT " MESSAGES};
static const Statement one_user = {"user",
								   "SELECT id, name, avatar_url FROM chat.users WHERE id = $1"};

static void parse_options(int argc, char **argv);
static void prepare(const char *name, const char *statement);
static PGresult *execute(const Statement *statement, const char *value);
static void fetch_loop(void (*fetch)(const char *id));
static void fetch_eager(const char *id);
static void fetch_nplus1(const char *id);
static void check(void);
static void import(void);

static void append(const char *data, size_t len);
static void append_text(const char *text);
static void append_string(const char *string);
static void append_user(const char *id);
static void append_timestamp(const char *value);
static void append_fields(const PGresult *result, int row, int from);

/* The last result, as JSON. */
static Text answer;

int
main(int argc, char **argv)
{
	parse_options(argc, argv);
	conn = PQconnectdb(opt.conninfo);
	if (PQstatus(conn) != CONNECTION_OK)
		fail("%s", PQerrorMessage(conn));
	PQclear(PQexec(conn, "SET TimeZone = 'UTC'"));
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
		prepare(eager.name, eager.text);
		prepare(one_conversation.name, one_conversation.text);
		prepare(its_messages.name, its_messages.text);
		prepare(one_user.name, one_user.text);
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

	opt.batch = 1;
	while ((c = getopt(argc, argv, "d:a:m:f:q:n:t:u")) != -1)
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
		else if (c == 'n')
			opt.batch = (int) strtol(optarg, NULL, 10);
		else if (c == 't')
			opt.seconds = strtod(optarg, NULL);
		else if (c == 'u')
			opt.unnamed = true;
		else
			exit(2);
	}
	if (opt.conninfo == NULL || opt.mode == NULL || opt.file == NULL)
		fail("usage: sqlclient -d conninfo -m eager|nplus1|check|import -f file [-a statement] "
			 "[-q statement] [-n lines] [-t seconds] [-u]");
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
execute(const Statement *statement, const char *value)
{
	PGresult *result = opt.unnamed
						   ? PQexecParams(conn, statement->text, 1, NULL, &value, NULL, NULL, 0)
						   : PQexecPrepared(conn, statement->name, 1, &value, NULL, NULL, 0);

	if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
		fail("%s", PQerrorMessage(conn));
	statements++;
	return result;
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
	PGresult *result = execute(&eager, id);

	if (PQntuples(result) != 1 || PQgetisnull(result, 0, 0))
		fail("conversation %s is not there", id);
	answer.len = 0;
	append(PQgetvalue(result, 0, 0), (size_t) PQgetlength(result, 0, 0));
	PQclear(result);
}

/*
 * The same by a statement for each thing.  The measured conversations have no
 * tool executions and no artifacts; the two statements that would look for
 * them are left out in favour of this side.
 */
static void
fetch_nplus1(const char *id)
{
	PGresult *conversation = execute(&one_conversation, id);
	PGresult *messages = execute(&its_messages, id);
	int i;

	if (PQntuples(conversation) != 1)
		fail("conversation %s is not there", id);
	answer.len = 0;
	append_text("{");
	append_fields(conversation, 0, 0);
	append_text(",\"artifacts\":[],\"messages\":[");
	for (i = 0; i < PQntuples(messages); i++)
	{
		append_text(i > 0 ? ",{" : "{");
		append_fields(messages, i, 1);
		append_text(",\"tool_executions\":[],\"user\":");
		append_user(PQgetvalue(messages, i, 0));
		append_text("}");
	}
	append_text("]}");
	PQclear(messages);
	PQclear(conversation);
}

/* A user as an object. */
static void
append_user(const char *id)
{
	PGresult *result = execute(&one_user, id);

	if (PQntuples(result) != 1)
		fail("user \"%s\" is not there", id);
	append_text("{");
	append_fields(result, 0, 0);
	append_text("}");
	PQclear(result);
}

/* Both ways must find the same, but for the position, which only one call can tell. */
static void
check(void)
{
	const char *values[2];
	int count;
	char **ids = read_lines(opt.file, &count);
	int i;

	for (i = 0; i < count; i++)
	{
		PGresult *result;

		fetch_eager(ids[i]);
		values[0] = strdup(answer.data);
		fetch_nplus1(ids[i]);
		values[1] = answer.data;
		result = PQexecParams(conn, "SELECT $1::jsonb - 'position' = $2::jsonb", 2, NULL, values,
							  NULL, NULL, 0);
		if (PQresultStatus(result) != PGRES_TUPLES_OK)
			fail("%s", PQerrorMessage(conn));
		if (strcmp(PQgetvalue(result, 0, 0), "t") != 0)
			fail("the results differ:\n%s\n%s", values[0], values[1]);
		PQclear(result);
		free((char *) values[0]);
	}
	printf("{\"equal\":%d}\n", count);
}

/* Execute the statement for each line of the file. */
static void
import(void)
{
	int count;
	char **lines = read_lines(opt.file, &count);
	Statement statement = {"import", opt.statement};
	uint64_t start = now_ns();
	double seconds;
	int i;

	prepare(statement.name, statement.text);
	for (i = 0; i < count; i++)
	{
		if (opt.batch > 1 && i % opt.batch == 0)
			PQclear(PQexec(conn, "BEGIN"));
		PQclear(execute(&statement, lines[i]));
		if (opt.batch > 1 && ((i + 1) % opt.batch == 0 || i + 1 == count))
			PQclear(PQexec(conn, "COMMIT"));
	}
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

static void
append_text(const char *text)
{
	append(text, strlen(text));
}

/* A JSON string. */
static void
append_string(const char *string)
{
	append_text("\"");
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
	append_text("\"");
}

/* A timestamp as the server's JSON has it: UTC, six digits. */
static void
append_timestamp(const char *value)
{
	char text[64];
	char *fraction;
	size_t len;

	len = (size_t) snprintf(text, sizeof(text), "\"%.40s", value);
	text[11] = 'T';
	len -= 3; /* +00 */
	fraction = memchr(text, '.', len);
	if (fraction == NULL)
	{
		fraction = text + len;
		text[len++] = '.';
	}
	while (len < (size_t) (fraction - text) + 7)
		text[len++] = '0';
	append(text, len);
	append_text("Z\"");
}

/* The columns of a row from one on, as members of a JSON object. */
static void
append_fields(const PGresult *result, int row, int from)
{
	int i;

	for (i = from; i < PQnfields(result); i++)
	{
		const char *value = PQgetvalue(result, row, i);

		if (i > from)
			append_text(",");
		append_string(PQfname(result, i));
		append_text(":");
		if (PQgetisnull(result, row, i))
			append_text("null");
		else if (PQftype(result, i) == TYPE_INT8 || PQftype(result, i) == TYPE_JSONB)
			append(value, (size_t) PQgetlength(result, row, i));
		else if (PQftype(result, i) == TYPE_TIMESTAMPTZ)
			append_timestamp(value);
		else
			append_string(value);
	}
}
