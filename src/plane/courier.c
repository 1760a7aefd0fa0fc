/*-------------------------------------------------------------------------
 *
 * courier.c
 *		Payloads of the frames between a worker and penny-courier.  See
 *		courier.h.
 *
 * A payload is a head of fixed size with the lengths of the texts behind it,
 * which must add up to the whole.  Pure: no allocation, no I/O.
 *
 *-------------------------------------------------------------------------
 */
#include "plane/courier.h"

#include <string.h>

#include "plane/webhook_url.h"

typedef struct SettingsHead
{
	uint32_t requests;
	uint32_t log_level;
	uint32_t allow_len;
	uint32_t ca_file_len;
	uint32_t resolver_len;
} SettingsHead;

typedef struct RequestHead
{
	uint32_t timeout;
	uint32_t response_max;
	uint32_t url_len;
	uint32_t headers_len;
	uint32_t body_len;
} RequestHead;

typedef struct AnswerHead
{
	uint32_t outcome;
	uint32_t status;
	uint32_t retry_after;
	uint32_t elapsed;
	uint32_t truncated;
	uint32_t type_len;
	uint32_t error_len;
	uint32_t body_len;
} AnswerHead;

/* Copy a text behind what is there; returns what is behind it. */
static char *
put(char *at, PennyCourierText text)
{
	if (text.len > 0)
		memcpy(at, text.bytes, text.len);
	return at + text.len;
}

/* The text at *at, which goes behind it. */
static PennyCourierText
get(const char **at, uint32_t len)
{
	PennyCourierText text = {*at, len};

	*at += len;
	return text;
}

static bool
clean(PennyCourierText text)
{
	return text.len == 0 || memchr(text.bytes, '\0', text.len) == NULL;
}

/* ---- settings ------------------------------------------------------------- */

size_t
penny_courier_settings_size(const PennyCourierSettings *settings)
{
	return sizeof(SettingsHead) + settings->allow.len + settings->ca_file.len +
		   settings->resolver.len;
}

void
penny_courier_settings_write(const PennyCourierSettings *settings, char *payload)
{
	SettingsHead head = {
		.requests = settings->requests,
		.log_level = settings->log_level,
		.allow_len = settings->allow.len,
		.ca_file_len = settings->ca_file.len,
		.resolver_len = settings->resolver.len,
	};

	memcpy(payload, &head, sizeof(head));
	payload = put(payload + sizeof(head), settings->allow);
	payload = put(payload, settings->ca_file);
	(void) put(payload, settings->resolver);
}

bool
penny_courier_settings_read(const char *payload, size_t len, PennyCourierSettings *settings)
{
	SettingsHead head;
	const char *at = payload + sizeof(head);

	if (len < sizeof(head))
		return false;
	memcpy(&head, payload, sizeof(head));
	if (head.requests == 0 || head.requests > PENNY_COURIER_REQUESTS_MAX || head.log_level > 2 ||
		head.allow_len > PENNY_WEBHOOK_LIST_MAX || head.ca_file_len >= PENNY_COURIER_PATH_MAX ||
		head.resolver_len >= PENNY_COURIER_PATH_MAX ||
		len != sizeof(head) + head.allow_len + head.ca_file_len + head.resolver_len)
		return false;
	settings->requests = head.requests;
	settings->log_level = head.log_level;
	settings->allow = get(&at, head.allow_len);
	settings->ca_file = get(&at, head.ca_file_len);
	settings->resolver = get(&at, head.resolver_len);
	return clean(settings->allow) && clean(settings->ca_file) && clean(settings->resolver);
}

/* ---- requests -------------------------------------------------------------- */

size_t
penny_courier_request_size(const PennyCourierRequest *request)
{
	return sizeof(RequestHead) + request->url.len + request->headers.len + request->body.len;
}

void
penny_courier_request_write(const PennyCourierRequest *request, char *payload)
{
	RequestHead head = {
		.timeout = request->timeout,
		.response_max = request->response_max,
		.url_len = request->url.len,
		.headers_len = request->headers.len,
		.body_len = request->body.len,
	};

	memcpy(payload, &head, sizeof(head));
	payload = put(payload + sizeof(head), request->url);
	payload = put(payload, request->headers);
	(void) put(payload, request->body);
}

bool
penny_courier_request_read(const char *payload, size_t len, PennyCourierRequest *request)
{
	RequestHead head;
	const char *at = payload + sizeof(head);

	if (len < sizeof(head))
		return false;
	memcpy(&head, payload, sizeof(head));
	if (head.timeout == 0 || head.timeout > PENNY_COURIER_TIMEOUT_MAX ||
		head.response_max > PENNY_COURIER_RESPONSE_MAX || head.url_len > PENNY_WEBHOOK_URL_MAX ||
		head.headers_len > PENNY_COURIER_HEADERS_MAX || head.body_len > PENNY_COURIER_BODY_MAX ||
		len != sizeof(head) + head.url_len + head.headers_len + head.body_len)
		return false;
	request->timeout = head.timeout;
	request->response_max = head.response_max;
	request->url = get(&at, head.url_len);
	request->headers = get(&at, head.headers_len);
	request->body = get(&at, head.body_len);
	return penny_courier_headers_valid(request->headers.bytes, request->headers.len);
}

static bool
token_character(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		   (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* Headers by which a request would be another one than it seems. */
static bool
reserved(const char *name, size_t len)
{
	static const char *const names[] = {"Host",       "Content-Length",  "Transfer-Encoding",
										"Connection", "Expect",          "Upgrade",
										"TE",         "Trailer",         "Proxy-Connection",
										"Keep-Alive", "Accept-Encoding", "Proxy-Authorization"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		if (strlen(names[i]) == len && strncasecmp(names[i], name, len) == 0)
			return true;
	}
	return false;
}

/*
 * "Name: value" with a zero byte behind each.  A value is printable ASCII and
 * not empty (libcurl would take such a header away).
 */
bool
penny_courier_headers_valid(const char *headers, size_t len)
{
	const char *end = headers + len;
	int count = 0;

	while (headers < end)
	{
		const char *stop = memchr(headers, '\0', (size_t) (end - headers));
		const char *colon;

		if (stop == NULL || ++count > PENNY_COURIER_HEADER_COUNT)
			return false;
		for (colon = headers; token_character(*colon); colon++)
			;
		if (colon == headers || colon[0] != ':' || colon[1] != ' ' || colon + 2 >= stop ||
			colon[2] == ' ' || reserved(headers, (size_t) (colon - headers)))
			return false;
		for (const char *c = colon + 2; c < stop; c++)
		{
			if (*c < ' ' || *c > '~')
				return false;
		}
		headers = stop + 1;
	}
	return true;
}

/* ---- answers ------------------------------------------------------------------ */

size_t
penny_courier_answer_size(const PennyCourierAnswer *answer)
{
	return sizeof(AnswerHead) + answer->type.len + answer->error.len + answer->body.len;
}

void
penny_courier_answer_write(const PennyCourierAnswer *answer, char *payload)
{
	AnswerHead head = {
		.outcome = answer->outcome,
		.status = answer->status,
		.retry_after = answer->retry_after,
		.elapsed = answer->elapsed,
		.truncated = answer->truncated,
		.type_len = answer->type.len,
		.error_len = answer->error.len,
		.body_len = answer->body.len,
	};

	memcpy(payload, &head, sizeof(head));
	payload = put(payload + sizeof(head), answer->type);
	payload = put(payload, answer->error);
	(void) put(payload, answer->body);
}

bool
penny_courier_answer_read(const char *payload, size_t len, PennyCourierAnswer *answer)
{
	AnswerHead head;
	const char *at = payload + sizeof(head);
	bool answered;

	if (len < sizeof(head))
		return false;
	memcpy(&head, payload, sizeof(head));
	answered = head.outcome == PENNY_COURIER_ANSWERED;
	if (head.outcome >= PENNY_COURIER_OUTCOMES || head.truncated > 1 ||
		head.type_len > PENNY_COURIER_TYPE_MAX || head.error_len > PENNY_COURIER_ERROR_MAX ||
		head.body_len > PENNY_COURIER_RESPONSE_MAX ||
		len != sizeof(head) + head.type_len + head.error_len + head.body_len)
		return false;
	/* a response has a status, what failed has a reason */
	if (answered ? head.status < 100 || head.status > 999 || head.error_len != 0
				 : head.status != 0 || head.body_len != 0 || head.type_len != 0 ||
					   head.retry_after != 0 || head.truncated != 0 || head.error_len == 0)
		return false;
	answer->outcome = (PennyCourierOutcome) head.outcome;
	answer->status = head.status;
	answer->retry_after = head.retry_after;
	answer->elapsed = head.elapsed;
	answer->truncated = head.truncated != 0;
	answer->type = get(&at, head.type_len);
	answer->error = get(&at, head.error_len);
	answer->body = get(&at, head.body_len);
	return clean(answer->type) && clean(answer->error);
}
