/*-------------------------------------------------------------------------
 *
 * tls.c
 *		TLS between the socket and the protocol of a connection.
 *
 * OpenSSL is fed here and sees no socket: libwebsockets reads and writes as it
 * does without TLS, so direct writes, the queue, backpressure and the deadline
 * by acknowledged bytes are the same code.  Its own TLS was tried and left: it
 * spends 42 kB on a connection that has sent nothing, and it loads a new
 * certificate into the context that serves, where a key that does not fit ends
 * all service.  See src/README.md.
 *
 * Input and output go through buffers of this file that all connections
 * share.  That is right because one call is made at a time: what it was given
 * is used up and what it made is sent before the next.  Within OpenSSL, a
 * connection keeps buffers only for an incomplete record.
 *
 * A client must begin with the head of a ClientHello of bearable size before
 * OpenSSL is asked for memory.  One that speaks plain HTTP is told so in plain
 * HTTP; other bytes end the connection.  The time for all that is
 * header_timeout, which begins with the connection (http.c).
 *
 * TLS 1.2 and 1.3, with forward secrecy and authenticated encryption only; no
 * compression, no renegotiation, no early data, http/1.1 if the client asks by
 * ALPN.  Sessions are resumed by tickets, whose keys end with the certificate:
 * a new one makes a new context for new connections, and the old one lives as
 * long as it has any.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>

#include "edge/output.h"
#include "plane/certificate.h"

#define HELLO_HEAD 9           /* bytes that tell what a client begins with */
#define HELLO_MAX (16 * 1024)  /* bytes of a ClientHello */
#define RECORD_MAX (16 * 1024) /* bytes of text in a record */
#define PLAIN_SIZE (64 * 1024) /* bytes handed to the protocol at a time */
#define SPARE (64 * 1024)      /* bytes of framing, and of what OpenSSL itself says */
#define TICKETS 1              /* sent after a handshake */
#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20"

struct PennyTls
{
	SSL *ssl; /* NULL until a ClientHello begins */
	uint8_t head[HELLO_HEAD];
	uint8_t head_len;
	bool established;
	bool over; /* nothing can be said any more */
};

static SSL_CTX *context; /* NULL: plain HTTP */
static BIO_METHOD *method;
static PennyCertificate received;
static bool failed; /* the last one could not be used */

/* What OpenSSL reads, and whose it is; what it wrote. */
static const PennyTls *in_owner;
static const char *in_bytes;
static size_t in_len;
static char out_bytes[PENNY_WRITE_MAX + SPARE];
static size_t out_len;
static char plain[PLAIN_SIZE];

static char not_tls[384];
static const char refusal[] = {21, 3, 3, 0, 2, 2, 80}; /* fatal alert: internal_error */

/* ---- what OpenSSL reads and writes ------------------------------------------ */

static int
bio_read(BIO *bio, char *bytes, size_t size, size_t *got)
{
	size_t len = in_owner == BIO_get_data(bio) ? in_len : 0;

	BIO_clear_retry_flags(bio);
	if (len > size)
		len = size;
	*got = len;
	if (len == 0)
	{
		BIO_set_retry_read(bio);
		return 0;
	}
	memcpy(bytes, in_bytes, len);
	in_bytes += len;
	in_len -= len;
	return 1;
}

static int
bio_write(BIO *bio, const char *bytes, size_t len, size_t *put)
{
	BIO_clear_retry_flags(bio);
	*put = 0;
	if (len > sizeof(out_bytes) - out_len)
		return 0;
	memcpy(out_bytes + out_len, bytes, len);
	out_len += len;
	*put = len;
	return 1;
}

static long
bio_control(BIO *bio, int command, long number, void *argument)
{
	(void) bio;
	(void) number;
	(void) argument;
	return command == BIO_CTRL_FLUSH;
}

static SSL *
make_ssl(PennyTls *tls)
{
	SSL *ssl = SSL_new(context);
	BIO *bio = BIO_new(method);

	if (ssl == NULL || bio == NULL)
	{
		SSL_free(ssl);
		BIO_free(bio);
		return NULL;
	}
	BIO_set_data(bio, tls);
	BIO_set_init(bio, 1);
	SSL_set_bio(ssl, bio, bio);
	SSL_set_accept_state(ssl);
	return ssl;
}

/* ---- certificates -------------------------------------------------------------- */

/* A client that asks for something else than HTTP/1.1 is told so. */
static int
choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_size,
				const unsigned char *in, unsigned int in_size, void *arg)
{
	static const unsigned char ours[] = "\x08http/1.1";

	(void) ssl;
	(void) arg;
	if (SSL_select_next_proto((unsigned char **) out, out_size, ours, sizeof(ours) - 1, in,
							  in_size) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	return SSL_TLSEXT_ERR_OK;
}

/* Our rules, for a context that has its certificate. */
static bool
set_rules(SSL_CTX *fresh)
{
	SSL_CTX_set_options(fresh, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
								   SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(fresh, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(fresh, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_alpn_select_cb(fresh, choose_protocol, NULL);
	return SSL_CTX_set_min_proto_version(fresh, TLS1_2_VERSION) == 1 &&
		   SSL_CTX_set_cipher_list(fresh, CIPHERS) == 1 &&
		   SSL_CTX_set_num_tickets(fresh, TICKETS) == 1;
}

/* Use what was received for new connections. */
static void
take_certificate(void)
{
	char why[256] = "rules of TLS";
	SSL_CTX *fresh = NULL;

	if (received.cert_len > 0)
	{
		fresh = penny_certificate_context(&received, why, sizeof(why));
		if (fresh == NULL || !set_rules(fresh))
		{
			penny_log(PENNY_LOG_WARNING, "edge cannot use a certificate: %s", why);
			SSL_CTX_free(fresh);
			failed = true;
			return;
		}
	}
	SSL_CTX_free(context);
	context = fresh;
	failed = false;
	penny_log(PENNY_LOG_DEBUG, "edge %s",
			  context != NULL ? "has a new certificate" : "is without TLS");
}

bool
penny_tls_receive(int fd)
{
	bool any = false;
	ssize_t got;

	while ((got = recv(fd, &received, sizeof(received), MSG_DONTWAIT)) > 0)
	{
		if (penny_certificate_valid(&received, (size_t) got))
		{
			take_certificate();
			any = true;
		}
		else
			penny_log(PENNY_LOG_WARNING, "edge got a certificate that is none");
	}
	if (any)
		OPENSSL_cleanse(&received, sizeof(received));
	return got < 0 && (errno == EAGAIN || errno == EINTR);
}

bool
penny_tls_failed(void)
{
	return failed;
}

bool
penny_tls_wanted(void)
{
	return context != NULL;
}

const char *
penny_tls_refusal(size_t *len)
{
	*len = sizeof(refusal);
	return refusal;
}

const char *
penny_tls_init(void)
{
	static const char problem[] =
		"{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,"
		"\"detail\":\"this port speaks TLS\",\"code\":\"PY400\"}";
	unsigned char random[16];

	snprintf(not_tls, sizeof(not_tls),
			 "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\n"
			 "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
			 strlen(problem), problem);
	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "penny");
	if (method == NULL || BIO_meth_set_read_ex(method, bio_read) != 1 ||
		BIO_meth_set_write_ex(method, bio_write) != 1 ||
		BIO_meth_set_ctrl(method, bio_control) != 1)
		return "prepare TLS";
	/* Files that OpenSSL reads, it reads now. */
	if (OPENSSL_init_ssl(OPENSSL_INIT_LOAD_SSL_STRINGS | OPENSSL_INIT_LOAD_CRYPTO_STRINGS, NULL) !=
			1 ||
		RAND_bytes(random, sizeof(random)) != 1)
		return "start OpenSSL";
	return NULL;
}

/* ---- connections ---------------------------------------------------------------- */

PennyTls *
penny_tls_open(void)
{
	PennyTls *tls = penny_alloc(sizeof(*tls));

	memset(tls, 0, sizeof(*tls));
	return tls;
}

void
penny_tls_close(PennyTls *tls)
{
	if (tls == NULL)
		return;
	SSL_free(tls->ssl);
	free(tls);
}

/* Send what OpenSSL has to say; false when the connection was cut. */
static bool
send_out(PennyConnection *connection)
{
	size_t len = out_len;

	out_len = 0;
	return len == 0 || penny_output_send(connection, out_bytes, len);
}

/* OpenSSL is done with this connection: its last words, then the end. */
static void
fail(PennyConnection *connection, const char *what)
{
	unsigned long error = ERR_peek_error();
	const char *reason = error != 0 ? ERR_reason_error_string(error) : NULL;

	connection->tls->over = true;
	penny_count(&penny_edge.plane, PENNY_COUNT_MALFORMED, 1);
	penny_log(PENNY_LOG_DEBUG, "TLS of %s: %s: %s", connection->peer, what,
			  reason != NULL ? reason : "no reason");
	ERR_clear_error();
	if (send_out(connection))
		penny_connection_close(connection);
}

/* A client that does not begin with TLS. */
static void
turn_away(PennyConnection *connection, uint8_t first)
{
	connection->tls->over = true;
	penny_count(&penny_edge.plane, PENNY_COUNT_MALFORMED, 1);
	if ((first < 'A' || first > 'Z') && (first < 'a' || first > 'z'))
		penny_connection_cut(connection);
	else if (penny_output_send(connection, not_tls, strlen(not_tls)))
		penny_connection_close(connection);
}

/* The head of the first record: is it that of a ClientHello of bearable size? */
static bool
is_hello(const uint8_t head[HELLO_HEAD])
{
	size_t record = (size_t) head[3] << 8 | head[4];
	size_t hello = (size_t) head[6] << 16 | (size_t) head[7] << 8 | head[8];

	return head[0] == 22 && head[1] == 3 && record >= 4 && record <= RECORD_MAX && head[5] == 1 &&
		   hello <= HELLO_MAX;
}

/*
 * Look at what a client begins with, and make OpenSSL's part of the connection
 * when that is right; false: not yet, or not at all.
 */
static bool
begin(PennyConnection *connection, const char **bytes, size_t *len)
{
	PennyTls *tls = connection->tls;
	size_t n = HELLO_HEAD - tls->head_len;

	if (n > *len)
		n = *len;
	memcpy(tls->head + tls->head_len, *bytes, n);
	tls->head_len += (uint8_t) n;
	*bytes += n;
	*len -= n;
	if (tls->head[0] != 22)
	{
		turn_away(connection, tls->head[0]);
		return false;
	}
	if (tls->head_len < HELLO_HEAD)
		return false;
	if (!is_hello(tls->head) || context == NULL)
	{
		turn_away(connection, 0);
		return false;
	}
	tls->ssl = make_ssl(tls);
	if (tls->ssl == NULL)
	{
		turn_away(connection, 0);
		return false;
	}
	/* The head goes in first; there is not enough of it to be answered. */
	in_owner = tls;
	in_bytes = (const char *) tls->head;
	in_len = HELLO_HEAD;
	SSL_do_handshake(tls->ssl);
	return true;
}

/* Go on with the handshake; true when it is complete. */
static bool
shake(PennyConnection *connection)
{
	PennyTls *tls = connection->tls;
	int result;

	ERR_clear_error();
	result = SSL_do_handshake(tls->ssl);
	if (result == 1)
	{
		tls->established = true;
		return send_out(connection);
	}
	if (SSL_get_error(tls->ssl, result) == SSL_ERROR_WANT_READ)
		(void) send_out(connection);
	else
		fail(connection, "handshake");
	return false;
}

/* Decrypt until the buffer is full or input ends; false: no more will come. */
static bool
decrypt(PennyConnection *connection, size_t *len, int *error)
{
	PennyTls *tls = connection->tls;
	size_t n;

	*len = 0;
	*error = SSL_ERROR_NONE;
	ERR_clear_error();
	while (*len < PLAIN_SIZE)
	{
		int result = SSL_read_ex(tls->ssl, plain + *len, PLAIN_SIZE - *len, &n);

		if (result != 1)
		{
			*error = SSL_get_error(tls->ssl, result);
			return false;
		}
		*len += n;
	}
	return true;
}

/* Decrypt what is in, and hand it on. */
static void
read_all(PennyConnection *connection)
{
	bool more = true;

	while (more && connection->state == PENNY_OPEN)
	{
		size_t n;
		int error;

		more = decrypt(connection, &n, &error);
		/* What the protocol is about to say comes after what OpenSSL has said. */
		if (error == SSL_ERROR_NONE || error == SSL_ERROR_WANT_READ)
		{
			if (!send_out(connection))
				return;
		}
		if (n > 0)
			connection->protocol->input(connection, plain, n);
		if (connection->state != PENNY_OPEN)
			return;
		if (error == SSL_ERROR_ZERO_RETURN)
			penny_connection_close(connection);
		else if (error != SSL_ERROR_NONE && error != SSL_ERROR_WANT_READ)
			fail(connection, "input");
	}
}

void
penny_tls_input(PennyConnection *connection, const char *bytes, size_t len)
{
	PennyTls *tls = connection->tls;

	if (tls->over || (tls->ssl == NULL && !begin(connection, &bytes, &len)))
		return;
	in_owner = tls;
	in_bytes = bytes;
	in_len = len;
	if (tls->established || shake(connection))
		read_all(connection);
	in_owner = NULL;
}

bool
penny_tls_encrypt(PennyTls *tls, const char **bytes, size_t *len)
{
	size_t taken;

	if (tls->over || !tls->established)
		return false;
	ERR_clear_error();
	out_len = 0;
	if (SSL_write_ex(tls->ssl, *bytes, *len, &taken) != 1 || taken != *len)
	{
		tls->over = true;
		return false;
	}
	*bytes = out_bytes;
	*len = out_len;
	out_len = 0;
	return true;
}

bool
penny_tls_goodbye(PennyTls *tls, const char **bytes, size_t *len)
{
	if (tls->over || !tls->established)
		return false;
	tls->over = true;
	ERR_clear_error();
	out_len = 0;
	(void) SSL_shutdown(tls->ssl);
	*bytes = out_bytes;
	*len = out_len;
	out_len = 0;
	return *len > 0;
}
