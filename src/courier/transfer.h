/*-------------------------------------------------------------------------
 *
 * transfer.h
 *		One request on its way.  Private to penny-courier.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_COURIER_TRANSFER_H
#define PENNY_COURIER_TRANSFER_H

#include <curl/curl.h>

#include "courier/courier.h"
#include "courier/names.h"

/*
 * It waits for its name (wait.name), then for libcurl (easy).  Its texts point
 * into memory of its own.
 */
typedef struct PennyTransfer
{
	struct PennyTransfer *next;
	struct PennyTransfer *previous;
	uint64_t ticket;
	uint64_t begun;
	uint64_t deadline;
	char *payload; /* copy of the frame's */
	PennyCourierRequest request;
	PennyWebhookUrl url;
	PennyNameWait wait;

	CURL *easy;
	struct curl_slist *headers;
	struct curl_slist *resolve;
	char url_text[PENNY_WEBHOOK_URL_MAX + 17];

	char *body; /* of the response */
	size_t body_len;
	size_t body_size;
	size_t header_bytes;
	bool truncated;
	bool headers_large;
	bool refused;   /* an address that may not be connected to */
	bool exhausted; /* no memory for the response */
	bool unable;    /* no descriptor for a connection */
	char error[PENNY_COURIER_ERROR_MAX];
} PennyTransfer;

#define PENNY_TRANSFER_OF_WAIT(w) ((PennyTransfer *) ((char *) (w) -offsetof(PennyTransfer, wait)))

/* Make the easy handle; false: no memory. */
extern bool penny_request_prepare(PennyTransfer *transfer, const PennyAddresses *addresses);
/* What libcurl's result means. */
extern PennyCourierOutcome penny_request_outcome(const PennyTransfer *transfer, CURLcode result);
/* The rest of an answer that has a response. */
extern void penny_request_response(const PennyTransfer *transfer, PennyCourierAnswer *answer);
extern void penny_request_free(PennyTransfer *transfer);

#endif /* PENNY_COURIER_TRANSFER_H */
