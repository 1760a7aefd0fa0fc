/*-------------------------------------------------------------------------
 *
 * transfer.c
 *		Requests, from their frames to their answers.
 *
 * A request is checked against the list of what may be called, its name is
 * looked up, every address that the name has is checked (one that may not be
 * called refuses the request: a name that leads inside and outside is how
 * checks are gone around), and libcurl makes it.  Whatever happens, it gets one
 * answer.
 *
 * One libcurl multi handle keeps connections for the next requests, IDLE of
 * them.  The number of requests and the bytes of all together are limited; what
 * is beyond is BUSY and was not begun.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "courier/transfer.h"

#define IDLE 128 /* connections kept */

static CURLM *multi;
static PennyTransfer *first; /* all of them */
static uint32_t running;
static uint64_t multi_due = UINT64_MAX;

static void named(PennyNameWait *wait, PennyNameResult result, const PennyAddresses *addresses,
				  const char *failed);
static void start(PennyTransfer *transfer, const PennyAddresses *addresses);
static void fail(PennyTransfer *transfer, PennyCourierOutcome outcome, const char *why);
static void finish(PennyTransfer *transfer, const PennyCourierAnswer *answer);
static void send_answer(uint64_t ticket, const PennyCourierAnswer *answer);
static void take_results(void);

/* ---- libcurl's loop is ours ------------------------------------------------- */

static int
watch(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	(void) easy;
	(void) arg;
	(void) socket_arg;
	penny_courier_watch(PENNY_PARTY_TRANSFERS, fd, what == CURL_POLL_IN || what == CURL_POLL_INOUT,
						what == CURL_POLL_OUT || what == CURL_POLL_INOUT);
	return 0;
}

static int
set_timer(CURLM *of, long timeout, void *arg)
{
	(void) of;
	(void) arg;
	multi_due = timeout < 0 ? UINT64_MAX : penny_courier.now + (uint64_t) timeout;
	return 0;
}

const char *
penny_transfers_init(void)
{
	CURL *warm;

	if (curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK || (multi = curl_multi_init()) == NULL)
		return "start libcurl";
	if (curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch) != CURLM_OK ||
		curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer) != CURLM_OK ||
		curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) IDLE) != CURLM_OK ||
		curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long) CURLPIPE_NOTHING) != CURLM_OK)
		return "set up libcurl";
	warm = curl_easy_init();
	if (warm == NULL)
		return "start libcurl";
	curl_easy_cleanup(warm);
	return NULL;
}

void
penny_transfers_ready(int fd, bool read, bool write)
{
	int ignored;

	(void) curl_multi_socket_action(
		multi, fd, (read ? CURL_CSELECT_IN : 0) | (write ? CURL_CSELECT_OUT : 0), &ignored);
}

void
penny_transfers_turn(void)
{
	int ignored;
	PennyTransfer *next;

	if (penny_courier.now >= multi_due)
	{
		multi_due = UINT64_MAX;
		(void) curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &ignored);
	}
	take_results();
	/* libcurl watches the time of those that it has */
	for (PennyTransfer *transfer = first; transfer != NULL; transfer = next)
	{
		next = transfer->next;
		if (transfer->easy == NULL && penny_courier.now >= transfer->deadline)
			fail(transfer, PENNY_COURIER_TIMED_OUT, "the host's name was not resolved in time");
	}
}

uint64_t
penny_transfers_due(void)
{
	uint64_t due = multi_due;

	for (PennyTransfer *transfer = first; transfer != NULL; transfer = transfer->next)
	{
		if (transfer->easy == NULL && transfer->deadline < due)
			due = transfer->deadline;
	}
	return due;
}

uint32_t
penny_transfers_running(void)
{
	return running;
}

/* ---- begin -------------------------------------------------------------------- */

/* An answer to what is no transfer yet. */
static void
refuse(uint64_t ticket, PennyCourierOutcome outcome, const char *why)
{
	PennyCourierAnswer answer = {.outcome = outcome, .error = {why, (uint32_t) strlen(why)}};

	send_answer(ticket, &answer);
}

/* A transfer with its own copy of the payload, in the list; NULL: no room. */
static PennyTransfer *
make(uint64_t ticket, const char *payload, size_t len)
{
	PennyTransfer *transfer;

	if (running >= penny_courier.requests_max || penny_courier.memory + len > PENNY_COURIER_MEMORY)
		return NULL;
	transfer = calloc(1, sizeof(*transfer));
	if (transfer == NULL || (transfer->payload = malloc(len)) == NULL)
	{
		free(transfer);
		return NULL;
	}
	memcpy(transfer->payload, payload, len);
	penny_courier.memory += len;
	transfer->ticket = ticket;
	transfer->begun = penny_courier.now;
	transfer->next = first;
	if (first != NULL)
		first->previous = transfer;
	first = transfer;
	running++;
	return transfer;
}

void
penny_transfer_begin(uint64_t ticket, const char *payload, size_t len)
{
	PennyTransfer *transfer;
	const char *wrong;

	transfer = penny_courier.draining ? NULL : make(ticket, payload, len);
	if (transfer == NULL)
	{
		refuse(ticket, PENNY_COURIER_BUSY, "no room for another request");
		return;
	}
	if (!penny_courier_request_read(transfer->payload, len, &transfer->request))
	{
		fail(transfer, PENNY_COURIER_REFUSED, "the request is malformed");
		return;
	}
	transfer->deadline = transfer->begun + transfer->request.timeout;
	wrong = penny_webhook_url_parse(transfer->request.url.bytes, transfer->request.url.len,
									&transfer->url);
	if (wrong == NULL && !penny_webhook_permits_url(&penny_courier.rules, &transfer->url))
		wrong = "The setting penny.webhook_allow does not allow this URL.";
	if (wrong != NULL)
	{
		fail(transfer, PENNY_COURIER_REFUSED, wrong);
		return;
	}
	transfer->wait.told = named;
	if (transfer->url.literal)
	{
		PennyAddresses literal = {.n = 1, .address = {transfer->url.address}};

		named(&transfer->wait, PENNY_NAME_FOUND, &literal, NULL);
	}
	else
		penny_names_find(transfer->url.host, &transfer->wait);
}

/* The name has been found, or not. */
static void
named(PennyNameWait *wait, PennyNameResult result, const PennyAddresses *addresses,
	  const char *failed)
{
	PennyTransfer *transfer = PENNY_TRANSFER_OF_WAIT(wait);

	if (result != PENNY_NAME_FOUND)
	{
		fail(transfer, result == PENNY_NAME_BUSY ? PENNY_COURIER_BUSY : PENNY_COURIER_NO_NAME,
			 failed);
		return;
	}
	for (int i = 0; i < addresses->n; i++)
	{
		char text[PENNY_ADDRESS_TEXT];
		char why[PENNY_WEBHOOK_HOST_MAX + 200];

		if (penny_webhook_permits_address(&penny_courier.rules, &transfer->url,
										  &addresses->address[i]))
			continue;
		penny_address_text(&addresses->address[i], text);
		snprintf(why, sizeof(why),
				 "\"%s\" has the address %s, at which penny.webhook_allow does not allow it",
				 transfer->url.host, text);
		fail(transfer, PENNY_COURIER_REFUSED, why);
		return;
	}
	start(transfer, addresses);
}

static void
start(PennyTransfer *transfer, const PennyAddresses *addresses)
{
	if (penny_courier.now >= transfer->deadline)
		fail(transfer, PENNY_COURIER_TIMED_OUT, "the host's name was not resolved in time");
	else if (!penny_request_prepare(transfer, addresses) ||
			 curl_multi_add_handle(multi, transfer->easy) != CURLM_OK)
		fail(transfer, PENNY_COURIER_BUSY, "no memory for another request");
}

/* ---- end ------------------------------------------------------------------------ */

static void
take_results(void)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(multi, &left)) != NULL)
	{
		PennyTransfer *transfer = NULL;
		PennyCourierAnswer answer = {0};
		CURLcode result = message->data.result;

		if (message->msg != CURLMSG_DONE ||
			curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer) != CURLE_OK)
			continue;
		answer.outcome = penny_request_outcome(transfer, result);
		if (answer.outcome == PENNY_COURIER_ANSWERED)
			penny_request_response(transfer, &answer);
		/* a response without a status is none */
		if (answer.outcome == PENNY_COURIER_ANSWERED && answer.status >= 100)
			finish(transfer, &answer);
		else if (answer.outcome == PENNY_COURIER_ANSWERED)
			fail(transfer, PENNY_COURIER_BROKEN, "the response has no status");
		else if (transfer->headers_large)
			fail(transfer, PENNY_COURIER_BROKEN, "the headers of the response are too large");
		else if (transfer->exhausted)
			fail(transfer, PENNY_COURIER_BROKEN, "no memory for the response");
		else if (transfer->refused)
			fail(transfer, PENNY_COURIER_REFUSED,
				 "penny.webhook_allow does not allow this address");
		else
			fail(transfer, answer.outcome,
				 transfer->error[0] != '\0' ? transfer->error : curl_easy_strerror(result));
	}
}

void
penny_transfer_cancel(uint64_t ticket)
{
	for (PennyTransfer *transfer = first; transfer != NULL; transfer = transfer->next)
	{
		if (transfer->ticket == ticket)
		{
			fail(transfer, PENNY_COURIER_CANCELLED, "the request was cancelled");
			return;
		}
	}
}

/* What strangers may have had a hand in is made printable. */
static void
fail(PennyTransfer *transfer, PennyCourierOutcome outcome, const char *why)
{
	char text[PENNY_COURIER_ERROR_MAX];
	PennyCourierAnswer answer = {.outcome = outcome};

	snprintf(text, sizeof(text), "%s", why);
	for (char *c = text; *c != '\0'; c++)
	{
		if (*c < ' ' || *c > '~')
			*c = '?';
	}
	answer.error = (PennyCourierText){text, (uint32_t) strlen(text)};
	finish(transfer, &answer);
}

/* Answer, and forget it. */
static void
finish(PennyTransfer *transfer, const PennyCourierAnswer *answer)
{
	PennyCourierAnswer timed = *answer;

	timed.elapsed = (uint32_t) (penny_courier.now - transfer->begun);
	send_answer(transfer->ticket, &timed);

	penny_names_forget(&transfer->wait);
	if (transfer->easy != NULL)
		(void) curl_multi_remove_handle(multi, transfer->easy);
	if (transfer->previous != NULL)
		transfer->previous->next = transfer->next;
	else
		first = transfer->next;
	if (transfer->next != NULL)
		transfer->next->previous = transfer->previous;
	running--;
	penny_request_free(transfer);
	free(transfer->payload);
	free(transfer);
}

/* Without memory to say what happened there is no going on. */
static void
send_answer(uint64_t ticket, const PennyCourierAnswer *answer)
{
	char *payload = penny_courier_stream_push(&penny_courier.worker, PENNY_COURIER_ANSWER, ticket,
											  penny_courier_answer_size(answer));

	if (payload == NULL)
	{
		penny_log(PENNY_LOG_WARNING, "out of memory, courier ends");
		exit(1);
	}
	penny_courier_answer_write(answer, payload);
}
