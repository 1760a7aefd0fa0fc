/*-------------------------------------------------------------------------
 *
 * request.c
 *		What libcurl is told about a request, and what it says.
 *
 * libcurl is let do as little as possible: HTTP/1.1 alone, no redirects,
 * proxies, cookies, files of its own, no coding of content that could be
 * unpacked, no name service: it is given the addresses.  Before it connects,
 * whatever led there, check_address() looks at the address that connect() will
 * get, and only such a socket is made.  A connection that is used again was made
 * for the same scheme, host and port under the same rules, since rules do not
 * change in the life of a courier.
 *
 * Nothing is ever unpacked: of codings, only chunks are taken apart.  What comes
 * is counted, and the transfer ends at the limit of the response.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "courier/transfer.h"

#define CONNECT_TIMEOUT 10000 /* ms */
#define RESPONSE_HEADERS_MAX 65536
#define IDLE_MAX 60 /* s, after which a connection is not used again */
#define TRIED_MAX 8 /* addresses given to libcurl */
#define RETRY_AFTER_MAX (INT64_C(366) * 24 * 3600)

static bool set_headers(PennyTransfer *transfer);
static bool set_addresses(PennyTransfer *transfer, const PennyAddresses *addresses);
static bool set_options(PennyTransfer *transfer);
static bool set_limits(PennyTransfer *transfer);

/* ---- called by libcurl ------------------------------------------------------- */

/* The last word on where a connection goes to. */
static curl_socket_t
check_address(void *arg, curlsocktype purpose, struct curl_sockaddr *to)
{
	PennyTransfer *transfer = arg;
	PennyAddress address;
	uint16_t port;
	int fd;

	if (purpose != CURLSOCKTYPE_IPCXN || to->addrlen > sizeof(struct sockaddr_storage) ||
		!penny_address_of(&to->addr, &address, &port) || port != transfer->url.port ||
		!penny_webhook_permits_address(&penny_courier.rules, &transfer->url, &address))
	{
		transfer->refused = true;
		return CURL_SOCKET_BAD;
	}
	fd = socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
	if (fd < 0 && errno != EAFNOSUPPORT)
		transfer->unable = true;
	return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static CURLcode
trust(CURL *easy, void *context, void *arg)
{
	(void) easy;
	(void) arg;
	return penny_trust_use(context) ? CURLE_OK : CURLE_SSL_CACERT_BADFILE;
}

static size_t
take_header(char *bytes, size_t size, size_t n, void *arg)
{
	PennyTransfer *transfer = arg;

	(void) bytes;
	transfer->header_bytes += size * n;
	if (transfer->header_bytes <= RESPONSE_HEADERS_MAX)
		return size * n;
	transfer->headers_large = true;
	return 0;
}

/* Keep what fits; what is more ends the transfer. */
static size_t
take_body(char *bytes, size_t size, size_t n, void *arg)
{
	PennyTransfer *transfer = arg;
	size_t len = size * n;
	size_t room = transfer->request.response_max - transfer->body_len;
	size_t kept = len < room ? len : room;

	if (transfer->body_len + kept > transfer->body_size)
	{
		size_t larger = transfer->body_size > 0 ? transfer->body_size * 2 : 4096;
		char *memory;

		while (larger < transfer->body_len + kept)
			larger *= 2;
		memory = penny_courier.memory + larger <= PENNY_COURIER_MEMORY
					 ? realloc(transfer->body, larger)
					 : NULL;
		if (memory == NULL)
		{
			transfer->exhausted = true;
			return 0;
		}
		penny_courier.memory += larger - transfer->body_size;
		transfer->body = memory;
		transfer->body_size = larger;
	}
	if (kept > 0)
		memcpy(transfer->body + transfer->body_len, bytes, kept);
	transfer->body_len += kept;
	if (kept == len)
		return len;
	transfer->truncated = true;
	return 0;
}

/* ---- preparation ---------------------------------------------------------------- */

bool
penny_request_prepare(PennyTransfer *transfer, const PennyAddresses *addresses)
{
	transfer->easy = curl_easy_init();
	if (transfer->easy == NULL)
		return false;
	(void) penny_webhook_url_text(&transfer->url, transfer->url_text);
	return set_headers(transfer) && set_addresses(transfer, addresses) && set_options(transfer) &&
		   set_limits(transfer);
}

static bool
append(struct curl_slist **list, const char *text)
{
	struct curl_slist *longer = curl_slist_append(*list, text);

	if (longer == NULL)
		return false;
	*list = longer;
	return true;
}

/* The worker's, and those by which libcurl would do more than it should. */
static bool
set_headers(PennyTransfer *transfer)
{
	const char *at = transfer->request.headers.bytes;
	const char *end = at + transfer->request.headers.len;

	for (; at < end; at += strlen(at) + 1)
	{
		if (!append(&transfer->headers, at))
			return false;
	}
	return append(&transfer->headers, "Expect:") &&
		   append(&transfer->headers, "Accept-Encoding: identity") &&
		   curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers) == CURLE_OK;
}

/*
 * All addresses of the name have been checked; libcurl gets the first ones.  The
 * entry ages ("+"), so that its table does not grow with every name.
 */
static bool
set_addresses(PennyTransfer *transfer, const PennyAddresses *addresses)
{
	char entry[PENNY_WEBHOOK_HOST_MAX + 16 + TRIED_MAX * (PENNY_ADDRESS_TEXT + 3)];
	int len;

	if (transfer->url.literal)
		return true;
	len = snprintf(entry, sizeof(entry), "+%s:%u:", transfer->url.host,
				   (unsigned) transfer->url.port);
	for (int i = 0; i < addresses->n && i < TRIED_MAX; i++)
	{
		char text[PENNY_ADDRESS_TEXT];
		bool ipv6 = addresses->address[i].ipv6;

		penny_address_text(&addresses->address[i], text);
		len += snprintf(entry + len, sizeof(entry) - (size_t) len, "%s%s%s%s", i > 0 ? "," : "",
						ipv6 ? "[" : "", text, ipv6 ? "]" : "");
	}
	return append(&transfer->resolve, entry) &&
		   curl_easy_setopt(transfer->easy, CURLOPT_RESOLVE, transfer->resolve) == CURLE_OK;
}

#define SET(option, value) (failed |= curl_easy_setopt(easy, (option), (value)) != CURLE_OK)

/* What is asked for, and what libcurl must not do by itself. */
static bool
set_options(PennyTransfer *transfer)
{
	CURL *easy = transfer->easy;
	bool failed = false;

	SET(CURLOPT_URL, transfer->url_text);
	SET(CURLOPT_PRIVATE, transfer);
	SET(CURLOPT_ERRORBUFFER, transfer->error);
	SET(CURLOPT_POST, 1L);
	SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) transfer->request.body.len);
	SET(CURLOPT_POSTFIELDS, transfer->request.body.bytes);

	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_REDIR_PROTOCOLS_STR, "https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_HTTP09_ALLOWED, 0L);
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_HTTP_CONTENT_DECODING, 0L);

	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_CAINFO, NULL);
	SET(CURLOPT_CAPATH, NULL);
	SET(CURLOPT_SSL_CTX_FUNCTION, trust);
	SET(CURLOPT_SSL_ENABLE_ALPN, 0L);

	SET(CURLOPT_OPENSOCKETFUNCTION, check_address);
	SET(CURLOPT_OPENSOCKETDATA, transfer);
	SET(CURLOPT_HEADERFUNCTION, take_header);
	SET(CURLOPT_HEADERDATA, transfer);
	SET(CURLOPT_WRITEFUNCTION, take_body);
	SET(CURLOPT_WRITEDATA, transfer);
	return !failed;
}

static bool
set_limits(PennyTransfer *transfer)
{
	CURL *easy = transfer->easy;
	uint64_t left = transfer->deadline - penny_courier.now;
	bool failed = false;

	SET(CURLOPT_TIMEOUT_MS, (long) left);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long) (left < CONNECT_TIMEOUT ? left : CONNECT_TIMEOUT));
	SET(CURLOPT_MAXAGE_CONN, (long) IDLE_MAX);
	SET(CURLOPT_DNS_CACHE_TIMEOUT, (long) IDLE_MAX);
	SET(CURLOPT_UPLOAD_BUFFERSIZE, 16384L);
	return !failed;
}

/* ---- result ----------------------------------------------------------------------- */

PennyCourierOutcome
penny_request_outcome(const PennyTransfer *transfer, CURLcode result)
{
	if (transfer->truncated && result == CURLE_WRITE_ERROR)
		return PENNY_COURIER_ANSWERED;
	switch (result)
	{
		case CURLE_OK:
			return PENNY_COURIER_ANSWERED;
		case CURLE_OPERATION_TIMEDOUT:
			return PENNY_COURIER_TIMED_OUT;
		case CURLE_COULDNT_RESOLVE_HOST:
			return PENNY_COURIER_NO_NAME;
		case CURLE_COULDNT_CONNECT:
			return transfer->refused  ? PENNY_COURIER_REFUSED
				   : transfer->unable ? PENNY_COURIER_BUSY
									  : PENNY_COURIER_NO_CONNECT;
		case CURLE_SSL_CONNECT_ERROR:
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_SSL_CACERT_BADFILE:
		case CURLE_SSL_ISSUER_ERROR:
		case CURLE_SSL_CERTPROBLEM:
		case CURLE_SSL_CIPHER:
		case CURLE_SSL_INVALIDCERTSTATUS:
			return PENNY_COURIER_NO_TLS;
		default:
			return PENNY_COURIER_BROKEN;
	}
}

void
penny_request_response(const PennyTransfer *transfer, PennyCourierAnswer *answer)
{
	long status = 0;
	curl_off_t retry_after = 0;
	char *type = NULL;

	(void) curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	(void) curl_easy_getinfo(transfer->easy, CURLINFO_RETRY_AFTER, &retry_after);
	(void) curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_TYPE, &type);
	answer->status = (uint32_t) status;
	if (retry_after > 0)
		answer->retry_after =
			(uint32_t) (retry_after < RETRY_AFTER_MAX ? retry_after : RETRY_AFTER_MAX);
	if (type != NULL && strlen(type) <= PENNY_COURIER_TYPE_MAX)
		answer->type = (PennyCourierText){type, (uint32_t) strlen(type)};
	answer->truncated = transfer->truncated;
	answer->body = (PennyCourierText){transfer->body, (uint32_t) transfer->body_len};
}

void
penny_request_free(PennyTransfer *transfer)
{
	if (transfer->easy != NULL)
		curl_easy_cleanup(transfer->easy);
	curl_slist_free_all(transfer->headers);
	curl_slist_free_all(transfer->resolve);
	penny_courier.memory -= transfer->body_size;
	free(transfer->body);
}
