/*-------------------------------------------------------------------------
 *
 * scribe.c
 *		Writes into rooms by SQL, and also does not.
 *
 *	scribe -d file -R roomsfile -u user -i ms -n number
 *
 * One transaction after another, one every `ms`: messages, changed and deleted
 * messages, several at once, transactions and parts of them that are rolled
 * back.  Every text says by its first word whether it may ever be seen:
 * "kept-…" or "rolled-back-…".  The file holds the connection string and is
 * read again when the connection is lost, since a standby may have taken over.
 * Ends when its input does, with the number of transactions committed.
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

static struct
{
	const char *conninfo;
	char **rooms;
	int nrooms;
	const char *user;
	int interval;
	unsigned number;
} opt;

static unsigned serial;

static void parse_options(int argc, char **argv);
static PGconn *reach(void);
static bool run(PGconn *conn, const char *sql);
static bool say(PGconn *conn, const char *room, const char *fate);
static bool transaction(PGconn *conn, const char *room, long what);
static bool pause_or_end(int ms);

int
main(int argc, char **argv)
{
	PGconn *conn = NULL;
	unsigned committed = 0;

	parse_options(argc, argv);
	srandom(opt.number + 1);
	while (pause_or_end(opt.interval))
	{
		const char *room = opt.rooms[random() % opt.nrooms];

		if (conn == NULL && (conn = reach()) == NULL)
			continue;
		if (transaction(conn, room, random() % 100))
			committed++;
		else
		{
			PQfinish(conn);
			conn = NULL;
		}
	}
	printf("%u\n", committed);
	return 0;
}

static void
parse_options(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "d:R:u:i:n:")) != -1)
	{
		if (c == 'd')
			opt.conninfo = optarg;
		else if (c == 'R')
			opt.rooms = read_lines(optarg, &opt.nrooms);
		else if (c == 'u')
			opt.user = optarg;
		else if (c == 'i')
			opt.interval = (int) strtol(optarg, NULL, 10);
		else if (c == 'n')
			opt.number = (unsigned) strtoul(optarg, NULL, 10);
		else
			exit(2);
	}
	if (opt.conninfo == NULL || opt.nrooms == 0 || opt.user == NULL)
		fail("usage: scribe -d file -R roomsfile -u user -i ms -n number");
}

/* A connection, or NULL while there is none to be had. */
static PGconn *
reach(void)
{
	char *text = read_file(opt.conninfo);
	PGconn *conn = PQconnectdb(text);

	free(text);
	if (PQstatus(conn) == CONNECTION_OK)
		return conn;
	PQfinish(conn);
	return NULL;
}

/* False: the connection is lost.  A statement that the server refuses is a fault here. */
static bool
run(PGconn *conn, const char *sql)
{
	PGresult *result = PQexec(conn, sql);
	ExecStatusType status = PQresultStatus(result);
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	/* read only: the standby that is to take over, or the end of a server (57P0x, 08xxx) */
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK &&
		PQstatus(conn) == CONNECTION_OK && state != NULL && strcmp(state, "25006") != 0 &&
		strncmp(state, "57P", 3) != 0)
		fail("%s: %s", sql, PQerrorMessage(conn));
	PQclear(result);
	return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

static bool
say(PGconn *conn, const char *room, const char *fate)
{
	char sql[512];

	snprintf(sql, sizeof(sql),
			 "INSERT INTO chat.messages (conversation_id, role, user_id, content)"
			 " VALUES ('%s', 'user', '%s', '%s-%u-%u and so on')",
			 room, opt.user, fate, opt.number, ++serial);
	return run(conn, sql);
}

/* One transaction; false: the connection is lost, nobody knows how it ended. */
static bool
transaction(PGconn *conn, const char *room, long what)
{
	char sql[512];

	if (what < 60)
		return say(conn, room, "kept");
	if (!run(conn, "BEGIN"))
		return false;
	if (what < 70)
	{
		snprintf(sql, sizeof(sql),
				 "UPDATE chat.messages SET content = 'kept-%u-%u and another end' WHERE id ="
				 " (SELECT id FROM chat.messages WHERE conversation_id = '%s'"
				 " ORDER BY seq DESC OFFSET %ld LIMIT 1)",
				 opt.number, ++serial, room, random() % 20);
		return run(conn, sql) && run(conn, "COMMIT");
	}
	if (what < 75)
	{
		snprintf(sql, sizeof(sql),
				 "DELETE FROM chat.messages WHERE id = (SELECT id FROM chat.messages"
				 " WHERE conversation_id = '%s' ORDER BY seq DESC OFFSET %ld LIMIT 1)",
				 room, random() % 20);
		return run(conn, sql) && run(conn, "COMMIT");
	}
	if (what < 80)
		return say(conn, room, "kept") && say(conn, room, "kept") && run(conn, "COMMIT");
	if (what < 90)
		return say(conn, room, "kept") && run(conn, "SAVEPOINT s") &&
			   say(conn, room, "rolled-back") && run(conn, "ROLLBACK TO s") &&
			   say(conn, room, "kept") && run(conn, "COMMIT");
	return say(conn, room, "rolled-back") && say(conn, room, "rolled-back") &&
		   run(conn, "ROLLBACK");
}

/* Wait; false: the input has ended. */
static bool
pause_or_end(int ms)
{
	struct pollfd fd = {.fd = STDIN_FILENO, .events = POLLIN};

	return poll(&fd, 1, ms) <= 0;
}
