/*-------------------------------------------------------------------------
 *
 * courier_server.h
 *		Servers on the loopback that penny-courier is sent to: HTTP and HTTPS
 *		that misbehave by path, and a name server.
 *
 * All run in threads of the test.  What a path does is listed in
 * courier_server.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_COURIER_SERVER_H
#define PENNY_COURIER_SERVER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct CourierServers
{
	int http_port;
	int https_port;
	int dns_port;
	char ca_file[64]; /* trusts the certificate of https, which names tls.test and 127.0.0.1 */
} CourierServers;

extern CourierServers courier_servers;

/* Connections taken, requests read whole, questions asked. */
extern _Atomic int courier_connections;
extern _Atomic int courier_requests;
extern _Atomic int courier_questions;
/* Requests to /hold wait until this is set. */
extern _Atomic int courier_release;
/* Which address rebind.test has now (the last number of 127.0.0.N; 0: 10.0.0.1). */
extern _Atomic int courier_rebind;

extern void courier_servers_start(const char *directory);

#endif /* PENNY_COURIER_SERVER_H */
