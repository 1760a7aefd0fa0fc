/*-------------------------------------------------------------------------
 *
 * url.h
 *		The URL of a Redis server, taken apart.  Plain C.
 *
 *	redis://[[user]:password@]host[:port][/db]
 *	unix://[[user]:password@]/path/of/socket[?db=n]
 *
 * Nothing is resolved here: a host is a literal address or a name.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_REDIS_URL_H
#define PENNY_REDIS_URL_H

#include <stdbool.h>
#include <stdint.h>

#define PENNY_REDIS_PORT 6379
#define PENNY_REDIS_DB_MAX 65535
#define PENNY_REDIS_USER_SIZE 128
#define PENNY_REDIS_PASSWORD_SIZE 512

typedef struct PennyRedisUrl
{
	bool local;     /* a Unix socket */
	char host[256]; /* name, literal address without brackets, or path */
	uint16_t port;
	uint32_t db;
	char user[PENNY_REDIS_USER_SIZE];         /* empty: none */
	char password[PENNY_REDIS_PASSWORD_SIZE]; /* empty: none */
} PennyRedisUrl;

/*
 * Take a URL apart.  NULL, or what is wrong with it, as a sentence that shows
 * nothing of it; *hint is then what to do, or NULL.
 */
extern const char *penny_redis_url_parse(const char *text, PennyRedisUrl *url, const char **hint);

#endif /* PENNY_REDIS_URL_H */
