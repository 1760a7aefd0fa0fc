/*-------------------------------------------------------------------------
 *
 * config.h
 *		Every setting of penny.  A variable is named as its setting with "_"
 *		for "."; times are in the unit that its comment says.
 *
 * Settings are defined by area in guc_<area>.c (cache, compression, executor,
 * gateway, queue, redis, security, webhook), sorted by name.  A server that did not preload penny has
 * none of them: the variables then hold the defaults.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_CONFIG_H
#define PENNY_CONFIG_H

#include "postgres.h"

#include "utils/guc.h"

#include "plane/cache.h"
#include "plane/layout.h"

/* Bytes of a request that is neither headers nor body: token, ids, address. */
#define PENNY_REQUEST_OVERHEAD (32 * 1024)
/* Bytes of one piece of an answer in the plane. */
#define PENNY_RESPONSE_PIECE (256 * 1024)

/* gateway */
extern char *penny_allowed_hosts;   /* space or comma separated; empty: any */
extern char *penny_allowed_origins; /* space or comma separated */
extern int penny_batch_window;      /* ms, 0 = none */
extern bool penny_websocket_compression;
extern int penny_body_timeout;    /* ms */
extern int penny_call_queue_size; /* calls waiting in the edge */
extern int penny_call_slots;
extern int penny_connections_per_second; /* of one address, 0 = no limit */
extern int penny_drain_timeout;          /* ms */
extern char *penny_edge_program;         /* empty: beside postgres */
extern int penny_event_ring_events;
extern int penny_event_ring_size; /* kB */
extern int penny_gateways;
extern int penny_header_size;        /* bytes */
extern int penny_header_timeout;     /* ms */
extern int penny_heartbeat_interval; /* ms, 0 = off */
extern int penny_keepalive_timeout;  /* ms */
extern char *penny_listen_addresses;
extern int penny_max_body_size; /* bytes */
extern int penny_max_client_connections;
extern int penny_max_connections_per_address;
extern int penny_min_body_rate; /* bytes a second, 0 = any */
extern int penny_port;
extern int penny_requests_per_second; /* of one address, of one user, 0 = no limit */
extern int penny_rooms_per_connection;
extern int penny_target_size;            /* bytes */
extern int penny_websocket_auth_timeout; /* ms */
extern int penny_websocket_message_size; /* bytes */
extern int penny_websocket_messages_per_second;
extern int penny_write_timeout; /* ms */

/* compression */
extern char *penny_compression;          /* codings, preferred first; off */
extern int penny_compression_cache_size; /* kB of each edge, 0 = nothing is kept */
extern int penny_compression_min_size;   /* bytes */

/* executor */
extern int penny_acquire_timeout; /* ms */
extern char *penny_database;
extern int penny_executor_idle_timeout; /* ms */
extern int penny_executor_memory;       /* kB, 0 = no limit */
extern int penny_executors_max;
extern int penny_executors_min;
extern int penny_stream_timeout;    /* ms */
extern int penny_statement_timeout; /* ms, 0 = none */

/* queue */
extern int penny_execution_timeout; /* ms */
extern bool penny_job_synchronous_commit;
extern int penny_job_worker_idle_timeout; /* ms */
extern int penny_job_worker_memory;       /* kB, 0 = no limit */
extern int penny_job_workers;
extern int penny_jobs_in_memory;

/* redis */
extern int penny_redis_command_timeout; /* ms */
extern int penny_redis_connect_timeout; /* ms */
extern char *penny_redis_password_file; /* empty: password of the URL, or none */
extern int penny_redis_pool_max;        /* connections of readers */
extern int penny_redis_pool_min;        /* of them kept while idle */
extern char *penny_redis_prefix;        /* of keys and channel */
extern char *penny_redis_url;           /* empty: no Redis */
/* What is wrong with a URL, as a sentence, or NULL; set by redis, which knows. */
extern const char *(*penny_redis_check_url)(const char *url, const char **hint);
/* cache */
extern int penny_cache_max_object; /* kB */
extern char *penny_cache_quotas;   /* see penny_config_quotas() */
extern int penny_cache_size;       /* kB, 0 = no cache */
extern int penny_cache_stamps;
extern int penny_debug_cache_fence; /* PennyFenceMode of cache/cache_private.h */

/* security */
extern char *penny_dev_user;     /* uuid or empty */
extern char *penny_jwt_audience; /* empty: not checked */
extern char *penny_jwt_default_role;
extern char *penny_jwt_issuer;      /* empty: not checked */
extern char *penny_jwt_key_file;    /* empty: no public keys */
extern int penny_jwt_leeway;        /* s */
extern char *penny_jwt_roles;       /* comma separated */
extern char *penny_jwt_secret_file; /* empty: no HS256 tokens */
extern char *penny_tls_cert_file;   /* empty: no TLS */
extern char *penny_tls_key_file;

/* webhooks */
extern char *penny_courier_program; /* empty: beside postgres */
extern char *penny_webhook_allow;   /* plane/webhook_url.h; empty: no webhooks */
extern char *penny_webhook_ca_file; /* empty: the system's */
extern int penny_webhook_concurrency;
extern int penny_webhook_max_response; /* bytes */
extern char *penny_webhook_resolver;   /* empty: the system's */
extern int penny_webhook_timeout;      /* ms */

/* Define all settings and reserve the prefix; from _PG_init, when preloading. */
extern void penny_config_init(void);

/* Sizes of the plane, from the settings. */
extern void penny_config_plane(PennyPlaneConfig *config);
/* What an edge must know, from the settings. */
extern void penny_config_edge(PennyEdgeSettings *settings);

/* Workers of penny when all run: supervisor, gateways, executors, job workers, the relay. */
extern int penny_config_workers(void);
/* A max_worker_processes that has room for them beside PostgreSQL's own. */
extern int penny_config_worker_slots(void);

/*
 * Read a list of quotas, "kind percent, .."; `each` may be NULL.  False when it
 * is malformed.
 */
extern bool penny_config_quotas(const char *list, void (*each)(PennyCacheKind kind, int percent));

/* One of the areas each. */
extern void penny_config_cache(void);
extern void penny_config_gateway(void);
extern void penny_config_executor(void);
extern void penny_config_queue(void);
extern void penny_config_redis(void);
extern void penny_config_security(void);
extern void penny_config_compression(void);
extern void penny_config_webhook(void);

/* Check hook of settings that limit the memory of a process. */
extern bool penny_config_check_memory(int *value, void **extra, GucSource source);

/* penny.compression as the edge wants it. */
extern void penny_config_codings(uint8 codings[PENNY_CODINGS]);

#endif /* PENNY_CONFIG_H */
