/*-------------------------------------------------------------------------
 *
 * websocket_upgrade.c
 *		From a request to a WebSocket: what is agreed on, the answer, and the
 *		WebSocket itself with its session.
 *
 * A browser tells from which page it came.  Only pages of the same host, or
 * listed ones, may connect, whatever token they bring (4403).  That, and a
 * malformed token, is told by a close frame: a page sees nothing of the answer
 * to an upgrade that is refused.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/websocket.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/extension.h"
#include "edge/handshake.h"
#include "edge/origin.h"
#include "edge/session.h"

#define UNSENT_MAX (128 * 1024) /* bytes in the kernel that it could not send yet */

/* Did the client offer our subprotocol? */
static bool
offers_protocol(const PennyHttpParser *parser, const char *bytes)
{
	static const char name[] = "sec-websocket-protocol";

	for (int i = 0; i < parser->headers; i++)
	{
		PennySpan header = penny_http_span(bytes, parser->header[i].name);

		if (header.len == sizeof(name) - 1 && memcmp(header.data, name, header.len) == 0 &&
			penny_http_list_has(penny_http_span(bytes, parser->header[i].value), "penny.v1"))
			return true;
	}
	return false;
}

/*
 * Agree upon compression, if the client offers it; the header line that says
 * so, or an empty one.  False: what it offers cannot be read.
 */
static bool
agree(const PennyHttpParser *parser, const char *bytes, int *window_bits,
	  char line[PENNY_EXTENSION_ANSWER])
{
	static const char name[] = "sec-websocket-extensions";

	line[0] = '\0';
	*window_bits = 0;
	for (int i = 0; penny_edge.settings.websocket_compression && i < parser->headers; i++)
	{
		PennySpan header = penny_http_span(bytes, parser->header[i].name);
		int bits;
		bool asked;

		if (header.len != sizeof(name) - 1 || memcmp(header.data, name, header.len) != 0)
			continue;
		switch (
			penny_extension_read(penny_http_span(bytes, parser->header[i].value), &bits, &asked))
		{
			case PENNY_OFFER_MALFORMED:
				return false;
			case PENNY_OFFER_DEFLATE:
				if (*window_bits == 0)
				{
					*window_bits = bits;
					penny_extension_answer(line, bits, asked);
				}
				break;
			case PENNY_OFFER_NONE:
				break;
		}
	}
	return true;
}

static void
send_switch(PennyConnection *connection, const PennyHttpParser *parser, const char *bytes,
			const char *extensions)
{
	char accept[PENNY_WEBSOCKET_ACCEPT_LEN + 1];
	char answer[256 + PENNY_EXTENSION_ANSWER];
	int len;

	penny_handshake_accept(bytes + parser->websocket_key.at, accept);
	len = snprintf(answer, sizeof(answer),
				   "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
				   "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s%s\r\n",
				   accept, extensions,
				   offers_protocol(parser, bytes) ? "Sec-WebSocket-Protocol: penny.v1\r\n" : "");
	penny_connection_write(connection, answer, (size_t) len);
}

static PennyWebsocket *
make_websocket(PennyConnection *connection)
{
	PennyWebsocket *websocket = penny_alloc(sizeof(*websocket));

	memset(websocket, 0, sizeof(*websocket));
	websocket->connection = connection;
	penny_websocket_init(&websocket->parser, 0);
	penny_websocket_limit(websocket, PENNY_SIGN_IN_MAX);
	if (penny_edge.settings.heartbeat_interval != 0)
		websocket->ping_at = penny_edge.now + penny_edge.settings.heartbeat_interval;
	penny_connection_limit_unsent(connection, UNSENT_MAX);
	connection->protocol = &penny_websocket_protocol;
	connection->session = websocket;
	penny_count(&penny_edge.plane, PENNY_COUNT_WEBSOCKETS, 1);
	return websocket;
}

void
penny_websocket_upgrade(PennyHttp *http, char *bytes)
{
	PennyConnection *connection = http->connection;
	PennyHttpParser *parser = http->parser;
	PennyWebsocket *websocket;
	PennySpan token;
	bool good_token = penny_request_token(parser, bytes, &token);
	bool good_origin = penny_origin_allowed(parser, bytes);
	bool local = penny_request_is_local(http, bytes);
	char extensions[PENNY_EXTENSION_ANSWER];
	int window_bits;

	if (!parser->websocket)
	{
		penny_http_problem(http, 426, "this path speaks WebSocket, version 13",
						   PENNY_UPGRADE_LINES);
		return;
	}
	if (penny_edge.draining)
	{
		penny_http_unavailable(http, "the server is stopping");
		return;
	}
	if (!agree(parser, bytes, &window_bits, extensions))
	{
		penny_http_problem(http, 400, "Sec-WebSocket-Extensions is malformed", NULL);
		return;
	}
	send_switch(connection, parser, bytes, extensions);
	penny_count(&penny_edge.plane, PENNY_COUNT_REQUESTS, 1);
	websocket = make_websocket(connection);
	websocket->window_bits = window_bits;
	websocket->parser.packs = window_bits != 0;
	websocket->session =
		penny_session_open(&penny_websocket_transport, websocket, connection, local);
	penny_websocket_deadline(websocket, penny_edge.now + penny_edge.settings.auth_timeout);
	if (good_token && good_origin && (token.len > 0 || local))
		penny_session_verify(websocket->session, token);
	if (!good_origin)
		penny_websocket_goodbye(websocket, PENNY_CLOSE_ORIGIN, "this origin is not allowed");
	else if (!good_token)
		penny_websocket_goodbye(websocket, PENNY_CLOSE_SIGNED_OUT, "the token is malformed");
	penny_http_detach(http); /* bytes may be its token's: last */
}
