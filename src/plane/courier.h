/*-------------------------------------------------------------------------
 *
 * courier.h
 *		What a worker and its penny-courier say to each other over a socket.
 *
 * Frames: a PennyCourierHeader, then len bytes.  Both run on one machine, so
 * numbers are as they lie in memory.  The worker begins with SETTINGS, and the
 * courier, once it is locked in, answers READY.  Every REQUEST gets exactly one
 * ANSWER with its ticket, also after a CANCEL.  After DRAIN the courier takes
 * nothing new and ends when everything is answered; at the end of the socket it
 * ends at once.
 *
 *	worker to courier	SETTINGS	numbers, allow-list, CA file, resolvers
 *						REQUEST		timeout and limit, URL, headers, body
 *						CANCEL		nothing
 *						DRAIN		nothing
 *	courier to worker	READY		nothing
 *						ANSWER		outcome and status, type, error, body
 *
 * The worker does not trust the courier, which reads what strangers send: a
 * frame that is not exactly as described ends the courier.  The courier checks
 * as strictly, since what it was given may come from a table.
 *
 * Readers copy nothing: texts point into the frame, are not terminated, and
 * hold until the frame is gone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PLANE_COURIER_H
#define PENNY_PLANE_COURIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PENNY_COURIER_FD 3 /* the courier's end of the socket */

#define PENNY_COURIER_REQUESTS_MAX 1000
#define PENNY_COURIER_BODY_MAX (2 * 1024 * 1024) /* bytes of a request's body */
#define PENNY_COURIER_RESPONSE_MAX (1024 * 1024) /* bytes of a response's body */
/* Bytes of the requests that a worker has with its courier, which has as many for responses. */
#define PENNY_COURIER_BYTES_OPEN ((size_t) 128 * 1024 * 1024)
#define PENNY_COURIER_HEADERS_MAX 16384 /* bytes of a request's headers */
#define PENNY_COURIER_HEADER_COUNT 32
#define PENNY_COURIER_TIMEOUT_MAX (10 * 60 * 1000) /* ms */
#define PENNY_COURIER_PATH_MAX 1024                /* bytes of a path, and of the resolvers */
#define PENNY_COURIER_TYPE_MAX 256                 /* bytes of a response's Content-Type */
#define PENNY_COURIER_ERROR_MAX 512                /* bytes that say what failed */
/* Larger than any payload. */
#define PENNY_COURIER_PAYLOAD_MAX (PENNY_COURIER_BODY_MAX + 64 * 1024)

typedef enum PennyCourierKind
{
	PENNY_COURIER_SETTINGS = 1,
	PENNY_COURIER_REQUEST,
	PENNY_COURIER_CANCEL,
	PENNY_COURIER_DRAIN,
	PENNY_COURIER_READY = 16,
	PENNY_COURIER_ANSWER
} PennyCourierKind;

typedef struct PennyCourierHeader
{
	uint32_t len; /* of the payload that follows */
	uint32_t kind;
	uint64_t ticket; /* of the request; 0 where there is none */
} PennyCourierHeader;

/* What became of a request. */
typedef enum PennyCourierOutcome
{
	PENNY_COURIER_ANSWERED,   /* there is a response: see its status */
	PENNY_COURIER_REFUSED,    /* the URL may not be called, or not at its address */
	PENNY_COURIER_NO_NAME,    /* the host's name does not exist or could not be found */
	PENNY_COURIER_NO_CONNECT, /* nobody answers there */
	PENNY_COURIER_NO_TLS,     /* the certificate is not good, or there is no TLS */
	PENNY_COURIER_TIMED_OUT,  /* too long, whatever it was that took so long */
	PENNY_COURIER_BROKEN,     /* not a response of HTTP, too large headers, cut off */
	PENNY_COURIER_CANCELLED,  /* as was asked for */
	PENNY_COURIER_BUSY,       /* not begun: no room; may be tried again at once */
	PENNY_COURIER_OUTCOMES,   /* the courier says those above */
	PENNY_COURIER_LOST = PENNY_COURIER_OUTCOMES /* the courier ended: not known what became of it */
} PennyCourierOutcome;

/* A text in a frame. */
typedef struct PennyCourierText
{
	const char *bytes;
	uint32_t len;
} PennyCourierText;

typedef struct PennyCourierSettings
{
	uint32_t requests;         /* at a time, at most PENNY_COURIER_REQUESTS_MAX */
	uint32_t log_level;        /* PennyLogLevel */
	PennyCourierText allow;    /* as penny.webhook_allow */
	PennyCourierText ca_file;  /* certificates that are trusted; empty: the system's */
	PennyCourierText resolver; /* addresses of name servers; empty: the system's */
} PennyCourierSettings;

typedef struct PennyCourierRequest
{
	uint32_t timeout;      /* ms */
	uint32_t response_max; /* bytes of the response's body; what is more is left out */
	PennyCourierText url;
	PennyCourierText headers; /* each as "Name: value" with a zero byte behind it */
	PennyCourierText body;
} PennyCourierRequest;

typedef struct PennyCourierAnswer
{
	PennyCourierOutcome outcome;
	uint32_t status;        /* of HTTP, when answered */
	uint32_t retry_after;   /* s, of the header Retry-After; 0: none */
	uint32_t elapsed;       /* ms */
	bool truncated;         /* the body was longer */
	PennyCourierText type;  /* Content-Type */
	PennyCourierText error; /* what failed, for the log and the job */
	PennyCourierText body;
} PennyCourierAnswer;

/* Bytes of a payload. */
extern size_t penny_courier_settings_size(const PennyCourierSettings *settings);
extern size_t penny_courier_request_size(const PennyCourierRequest *request);
extern size_t penny_courier_answer_size(const PennyCourierAnswer *answer);
/* Write a payload of that size. */
extern void penny_courier_settings_write(const PennyCourierSettings *settings, char *payload);
extern void penny_courier_request_write(const PennyCourierRequest *request, char *payload);
extern void penny_courier_answer_write(const PennyCourierAnswer *answer, char *payload);
/* Read one; false when it is not as described.  Writers must keep to the same limits. */
extern bool penny_courier_settings_read(const char *payload, size_t len,
										PennyCourierSettings *settings);
extern bool penny_courier_request_read(const char *payload, size_t len,
									   PennyCourierRequest *request);
extern bool penny_courier_answer_read(const char *payload, size_t len, PennyCourierAnswer *answer);

/* Are these headers that a request may have?  See courier.c. */
extern bool penny_courier_headers_valid(const char *headers, size_t len);

#endif /* PENNY_PLANE_COURIER_H */
