/*-------------------------------------------------------------------------
 *
 * relay.h
 *		The parts of the relay; inside redis only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_RELAY_H
#define PENNY_RELAY_H

#include "postgres.h"

#include "redis/link.h"
#include "redis/redis.h"

extern PennyLink penny_relay_commands;
extern PennyLink penny_relay_messages;

/* What a command was for, by which its reply is judged. */
typedef enum PennyRelayKind
{
	PENNY_RELAY_DEL,
	PENNY_RELAY_PUBLISH,
	PENNY_RELAY_VALUE,
	PENNY_RELAY_LEASE,
	PENNY_RELAY_SCAN,
	PENNY_RELAY_UNLINK,
	PENNY_RELAY_PING
} PennyRelayKind;

/* relay_write.c: the connection for commands. */
extern void penny_relay_write_turn(int64 now);
/* When it has something to do without being woken. */
extern int64 penny_relay_write_due(void);
/* Queue a command whose reply will come; false when the link cannot take it. */
extern bool penny_relay_send(PennyRelayKind kind, int argc, const char *const *argv,
							 const size_t *len);
/* {"type":"conversation"|"all"} for the others; uuid NULL: all. */
extern bool penny_relay_publish(const char *uuid);
/* Room for more commands without piling up. */
extern int penny_relay_room(void);

/* relay_sweep.c */
extern void penny_relay_sweep_turn(int64 now);
extern void penny_relay_sweep_reply(const PennyReply *reply);
extern void penny_relay_sweep_stop(void);
/* Does something remain that was not told? */
extern bool penny_relay_unswept(void);
extern int64 penny_relay_sweep_due(void);

/* relay_listen.c: the connection for messages. */
extern void penny_relay_expect_echo(const pg_uuid_t *id);
extern void penny_relay_forget_echoes(void);
/* Channel, with the prefix. */
extern const char *penny_relay_channel(void);
extern const PennyRedisHooks *penny_redis_hooks(void);

/* relay.c: the connection for commands is up: readers may go there. */
extern void penny_relay_show_target(void);

#endif /* PENNY_RELAY_H */
