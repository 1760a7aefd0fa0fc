/*-------------------------------------------------------------------------
 *
 * config.c
 *		All settings together: define, reserve the prefix, and turn them into
 *		what the plane and the edge want.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker_internals.h"
#include "replication/logicallauncher.h"
#include "utils/guc.h"

#include "config/config.h"

static void configure_cache(PennyPlaneConfig *config);

/* Define every area's settings; unknown names of the prefix are then errors. */
void
penny_config_init(void)
{
	penny_config_cache();
	penny_config_gateway();
	penny_config_executor();
	penny_config_queue();
	penny_config_redis();
	penny_config_security();
	penny_config_compression();
	penny_config_webhook();
	MarkGUCPrefixReserved("penny");
}

/* Sizes fixed at server start. */
void
penny_config_plane(PennyPlaneConfig *config)
{
	Size request = (Size) penny_max_body_size + penny_header_size + PENNY_REQUEST_OVERHEAD;

	config->edges = penny_gateways;
	config->executors = Max(penny_executors_min, penny_executors_max);
	config->slots = penny_call_slots;
	config->request_size = TYPEALIGN(PENNY_CACHE_LINE, request);
	config->response_size = PENNY_RESPONSE_PIECE;
	config->events = penny_event_ring_events;
	config->event_bytes = (uint32) penny_event_ring_size * 1024;
	configure_cache(config);
}

/* An entry for every four chunks of 1 kB: what is cached has some kB. */
static void
configure_cache(PennyPlaneConfig *config)
{
	uint32_t entries = 64;

	config->cache_chunks = penny_cache_size;
	while (entries <= config->cache_chunks / 8)
		entries *= 2;
	config->cache_entries = entries;
	config->cache_stamps = penny_cache_stamps;
	config->cache_max_object = (uint32_t) penny_cache_max_object * 1024;
}

/* A list with single spaces between its words, and nowhere else. */
static void
copy_list(char *out, const char *list, size_t size)
{
	char *end = out + size - 1;

	for (;;)
	{
		list += strspn(list, " ,");
		if (*list == '\0')
			break;
		while (*list != '\0' && *list != ' ' && *list != ',' && out < end)
			*out++ = *list++;
		if (list[strspn(list, " ,")] != '\0' && out < end)
			*out++ = ' ';
	}
	*out = '\0';
}

/*
 * Settings of a running edge.  It is told to stop draining a little before its
 * gateway would end it, so that it closes its sockets itself.
 */
void
penny_config_edge(PennyEdgeSettings *settings)
{
	memset(settings, 0, sizeof(*settings));
	settings->max_connections = penny_max_client_connections;
	settings->max_connections_per_address = penny_max_connections_per_address;
	settings->connections_per_second = penny_connections_per_second;
	settings->requests_per_second = penny_requests_per_second;
	settings->header_size = penny_header_size;
	settings->target_size = Min(penny_target_size, penny_header_size);
	settings->body_size = penny_max_body_size;
	settings->header_timeout = penny_header_timeout;
	settings->body_timeout = penny_body_timeout;
	settings->min_body_rate = penny_min_body_rate;
	settings->write_timeout = penny_write_timeout;
	settings->keepalive_timeout = penny_keepalive_timeout;
	settings->acquire_timeout = penny_acquire_timeout;
	settings->auth_timeout = penny_websocket_auth_timeout;
	settings->websocket_message_size = Min(penny_websocket_message_size, penny_max_body_size);
	settings->websocket_messages = penny_websocket_messages_per_second;
	settings->heartbeat_interval = penny_heartbeat_interval;
	settings->rooms_per_connection = penny_rooms_per_connection;
	settings->batch_window = penny_batch_window;
	settings->stream_timeout = (uint32_t) penny_stream_timeout;
	settings->websocket_compression = penny_websocket_compression;
	settings->drain_timeout = penny_drain_timeout - Min(penny_drain_timeout / 10, 200);
	settings->queue_size = penny_call_queue_size;
	settings->compression_min_size = penny_compression_min_size;
	settings->compression_cache_size = penny_compression_cache_size;
	penny_config_codings(settings->codings);
	copy_list(settings->origins, penny_allowed_origins, PENNY_ORIGINS_SIZE);
	copy_list(settings->hosts, penny_allowed_hosts, PENNY_HOSTS_SIZE);
}

/* One more than penny.job_workers: the spare one, or the one that is there with 0 of them. */
int
penny_config_workers(void)
{
	return 1 + penny_gateways + Max(penny_executors_min, penny_executors_max) + penny_job_workers +
		   1 + (penny_redis_url[0] != '\0' ? 1 : 0) + (penny_webhook_allow[0] != '\0' ? 1 : 0);
}

/* Parallel query and the logical replication launcher want theirs. */
int
penny_config_worker_slots(void)
{
	return penny_config_workers() + max_parallel_workers +
		   (max_logical_replication_workers > 0 ? 1 : 0);
}
