/*-------------------------------------------------------------------------
 *
 * fuzz_webhook.c
 *		URLs, lists of what may be called, and frames between a worker and
 *		penny-courier, from either side.
 *
 * libcurl's parser is asked what it sees in a URL that was put together: the
 * same scheme, host and port, or somebody could go around the check.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "plane/courier_stream.h"
#include "plane/webhook_url.h"

static PennyWebhookRules rules;

/* libcurl sees the same in it. */
static void
compare(const char *text, const PennyWebhookUrl *url)
{
	CURLU *handle = curl_url();
	char *host = NULL;
	char *port = NULL;
	char *scheme = NULL;
	char *user = NULL;
	char bracketed[PENNY_WEBHOOK_HOST_MAX + 3];

	MUST(handle != NULL);
	MUST(curl_url_set(handle, CURLUPART_URL, text, CURLU_PATH_AS_IS) == CURLUE_OK);
	MUST(curl_url_get(handle, CURLUPART_HOST, &host, 0) == CURLUE_OK);
	MUST(curl_url_get(handle, CURLUPART_PORT, &port, 0) == CURLUE_OK);
	MUST(curl_url_get(handle, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK);
	MUST(curl_url_get(handle, CURLUPART_USER, &user, 0) == CURLUE_NO_USER);
	snprintf(bracketed, sizeof(bracketed), url->literal && url->address.ipv6 ? "[%s]" : "%s",
			 url->host);
	MUST(strcmp(host, bracketed) == 0);
	MUST(atoi(port) == url->port);
	MUST(strcmp(scheme, url->https ? "https" : "http") == 0);
	curl_free(host);
	curl_free(port);
	curl_free(scheme);
	curl_url_cleanup(handle);
}

static bool
take_url(const char *text, size_t len, PennyWebhookUrl *url)
{
	PennyWebhookUrl again;
	char made[PENNY_WEBHOOK_URL_MAX + 17];
	size_t made_len;

	if (penny_webhook_url_parse(text, len, url) != NULL)
		return false;
	MUST(url->port != 0 && url->host[0] != '\0');
	made_len = penny_webhook_url_text(url, made);
	MUST(made_len < sizeof(made) && strlen(made) == made_len);
	compare(made, url);
	if (made_len > PENNY_WEBHOOK_URL_MAX)
		return true;
	/* what is called is read as the same */
	MUST(penny_webhook_url_parse(made, made_len, &again) == NULL);
	MUST(strcmp(again.host, url->host) == 0 && again.port == url->port &&
		 again.https == url->https && again.literal == url->literal);
	return true;
}

/* "list\nURL\naddress" */
static void
texts(const char *bytes, size_t size)
{
	char *text = malloc(size + 1);
	char *url_text;
	char *at;
	const char *entry;
	size_t entry_len;
	PennyWebhookUrl url;
	PennyAddress address;
	PennyNetwork network;

	memcpy(text, bytes, size);
	text[size] = '\0';
	url_text = strchr(text, '\n');
	url_text = url_text != NULL ? (*url_text = '\0', url_text + 1) : text;
	at = strchr(url_text, '\n');
	at = at != NULL ? (*at = '\0', at + 1) : url_text;

	if (take_url(url_text, strlen(url_text), &url) &&
		penny_webhook_rules_parse(text, &rules, &entry, &entry_len) == NULL)
	{
		bool url_permitted = penny_webhook_permits_url(&rules, &url);
		bool good = penny_address_parse(at, strlen(at), &address);

		MUST(!url_permitted || rules.n > 0);
		if (good && penny_webhook_permits_address(&rules, &url, &address))
		{
			MUST(url_permitted && penny_address_class(&address) != PENNY_ADDRESS_NEVER);
			MUST(penny_address_class(&address) == PENNY_ADDRESS_PUBLIC || url.literal ||
				 strchr(text, '=') != NULL);
		}
		if (url.literal && url_permitted)
			MUST(penny_webhook_permits_address(&rules, &url, &url.address));
	}
	else if (penny_webhook_rules_parse(text, &rules, &entry, &entry_len) != NULL)
		MUST(entry >= text && entry + entry_len <= text + strlen(text));
	(void) penny_network_parse(at, strlen(at), &network);
	free(text);
}

/* What is read of a payload is written as the same bytes. */
static void
payload(const char *bytes, size_t size)
{
	PennyCourierSettings settings;
	PennyCourierRequest request;
	PennyCourierAnswer answer;
	char *again = malloc(size + 1);

	if (penny_courier_settings_read(bytes, size, &settings))
	{
		MUST(penny_courier_settings_size(&settings) == size);
		penny_courier_settings_write(&settings, again);
		MUST(memcmp(bytes, again, size) == 0);
	}
	if (penny_courier_request_read(bytes, size, &request))
	{
		MUST(penny_courier_request_size(&request) == size);
		penny_courier_request_write(&request, again);
		MUST(memcmp(bytes, again, size) == 0);
	}
	if (penny_courier_answer_read(bytes, size, &answer))
	{
		MUST(penny_courier_answer_size(&answer) == size);
		MUST((answer.outcome == PENNY_COURIER_ANSWERED) == (answer.status >= 100));
		penny_courier_answer_write(&answer, again);
		MUST(memcmp(bytes, again, size) == 0);
	}
	free(again);
}

/* A stream in any pieces: frames whose payloads are readable to the last byte. */
static void
frames(FuzzInput input)
{
	PennyCourierStream stream;
	PennyCourierFrame frame;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) != 0)
		return;
	penny_courier_stream_init(&stream, fds[0]);
	while (input.size > 0 && !stream.broken)
	{
		size_t len;
		char *piece = fuzz_bytes(&input, 4096, &len);

		MUST(len == 0 || write(fds[1], piece, len) == (ssize_t) len);
		free(piece);
		penny_courier_stream_fill(&stream);
		while (penny_courier_stream_next(&stream, &frame))
		{
			char *copy = malloc(frame.len + 1);

			memcpy(copy, frame.payload, frame.len);
			payload(copy, frame.len);
			free(copy);
		}
	}
	MUST(stream.in_size <= 2 * (PENNY_COURIER_PAYLOAD_MAX + 65536));
	penny_courier_stream_close(&stream);
	close(fds[1]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = calloc(size + 1, 1);

	if (size > 0)
		memcpy(copy, data, size);
	texts(copy, size);
	payload(copy, size);
	frames((FuzzInput){data, size});
	free(copy);
	return 0;
}
