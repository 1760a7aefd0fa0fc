/*-------------------------------------------------------------------------
 *
 * courier_server.c
 *		Servers on the loopback that penny-courier is sent to.
 *
 *		/echo			200, the request as it came, head and body
 *		/status/N		status N, body {"n":N}
 *		/retry/TEXT		429 with Retry-After: TEXT ("_" is a space)
 *		/redirect		302 to /echo
 *		/big			200 with 4 MB
 *		/endless		200 with a body that does not end
 *		/gzip			Content-Encoding: gzip, some bytes that are not gzip
 *		/bomb			Transfer-Encoding: gzip, 20 MB of zeros
 *		/chunked		200 in chunks
 *		/headers		headers that do not end; /trailers, /early (1xx), /line likewise
 *		/switch			101, which nobody asked for
 *		/old			HTTP/0.9
 *		/hold			200, when the test lets it
 *		/silent			nothing
 *		/drip			a byte each 50 ms
 *		/close			closed without an answer
 *		/short			half a body, then closed
 *		/garbage		what is not HTTP
 *
 *-------------------------------------------------------------------------
 */
#include "courier_server.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <zlib.h>

#define REQUEST_MAX (4 << 20)

CourierServers courier_servers;
_Atomic int courier_connections;
_Atomic int courier_requests;
_Atomic int courier_questions;
_Atomic int courier_release;
_Atomic int courier_rebind = 1;

static SSL_CTX *tls;

typedef struct Client
{
	int fd;
	SSL *ssl;
} Client;

static bool
put(Client *client, const void *bytes, size_t len)
{
	const char *at = bytes;

	while (len > 0)
	{
		ssize_t sent = client->ssl != NULL ? SSL_write(client->ssl, at, (int) len)
										   : send(client->fd, at, len, MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		at += sent;
		len -= (size_t) sent;
	}
	return true;
}

static ssize_t
get(Client *client, char *bytes, size_t len)
{
	return client->ssl != NULL ? SSL_read(client->ssl, bytes, (int) len)
							   : recv(client->fd, bytes, len, 0);
}

static bool
respond(Client *client, const char *status, const char *headers, const char *body, size_t len)
{
	char head[512];
	int n =
		snprintf(head, sizeof(head),
				 "HTTP/1.1 %s\r\nContent-Type: application/json\r\n%sContent-Length: %zu\r\n\r\n",
				 status, headers, len);

	return put(client, head, (size_t) n) && put(client, body, len);
}

static bool
put_text(Client *client, const char *text)
{
	return put(client, text, strlen(text));
}

/* A begin, then the same again and again until nobody takes it. */
static bool
put_forever(Client *client, const char *begin, const char *again)
{
	put_text(client, begin);
	while (put_text(client, again))
		;
	return false;
}

/* 20 MB of zeros, by a coding that is undone on the way. */
static void
bomb(Client *client)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n"
							   "Connection: close\r\n\r\n";
	static char zeros[1 << 20];
	char out[1 << 16];
	z_stream stream = {.next_in = NULL};

	deflateInit2(&stream, 9, Z_DEFLATED, 31, 9, Z_DEFAULT_STRATEGY);
	put(client, head, sizeof(head) - 1);
	for (int i = 0; i < 20; i++)
	{
		stream.next_in = (Bytef *) zeros;
		stream.avail_in = sizeof(zeros);
		stream.next_out = (Bytef *) out;
		stream.avail_out = sizeof(out);
		deflate(&stream, i == 19 ? Z_FINISH : Z_NO_FLUSH);
		put(client, out, sizeof(out) - stream.avail_out);
	}
	deflateEnd(&stream);
}

/* Answer by path; false: the connection is to be closed. */
static bool
answer(Client *client, const char *request, size_t len)
{
	char path[256] = "";
	char text[512];

	sscanf(request, "POST %255s", path);
	if (strcmp(path, "/echo") == 0)
		return respond(client, "200 OK", "", request, len);
	if (strncmp(path, "/status/", 8) == 0)
	{
		char status[sizeof(path) + 8];

		snprintf(status, sizeof(status), "%s x", path + 8);
		snprintf(text, sizeof(text), "{\"n\":%s}", path + 8);
		return respond(client, status, "", text, strcmp(path + 8, "204") == 0 ? 0 : strlen(text));
	}
	if (strncmp(path, "/retry/", 7) == 0)
	{
		for (char *c = path; *c != '\0'; c++)
			*c = *c == '_' ? ' ' : *c;
		snprintf(text, sizeof(text), "Retry-After: %s\r\n", path + 7);
		return respond(client, "429 Slow Down", text, "{}", 2);
	}
	if (strcmp(path, "/redirect") == 0)
	{
		snprintf(text, sizeof(text), "Location: http://127.0.0.1:%d/echo\r\n",
				 courier_servers.http_port);
		return respond(client, "302 Found", text, "", 0);
	}
	if (strcmp(path, "/big") == 0)
	{
		char *body = calloc(4, 1 << 20);
		bool good = respond(client, "200 OK", "", body, 4 << 20);

		free(body);
		return good;
	}
	if (strcmp(path, "/endless") == 0)
	{
		memset(text, 'x', sizeof(text));
		put(client, "HTTP/1.1 200 OK\r\n\r\n", 19);
		while (put(client, text, sizeof(text)))
			;
		return false;
	}
	if (strcmp(path, "/gzip") == 0)
		return respond(client, "200 OK", "Content-Encoding: gzip\r\n", "\x1f\x8bnot", 5);
	if (strcmp(path, "/bomb") == 0)
	{
		bomb(client);
		return false;
	}
	if (strcmp(path, "/chunked") == 0)
	{
		static const char whole[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
									"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n";

		return put(client, whole, sizeof(whole) - 1);
	}
	if (strcmp(path, "/headers") == 0)
		return put_forever(client, "HTTP/1.1 200 OK\r\n",
						   "X-Header: 0123456789012345678901234567890123456789\r\n");
	if (strcmp(path, "/trailers") == 0)
		return put_forever(client,
						   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n",
						   "X-Header: 0123456789012345678901234567890123456789\r\n");
	if (strcmp(path, "/early") == 0)
		return put_forever(client, "", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
	if (strcmp(path, "/line") == 0)
		return put_forever(client, "HTTP/1.1 200 ", "0123456789012345678901234567890123456789");
	if (strcmp(path, "/switch") == 0)
	{
		put_text(client, "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
		return false;
	}
	if (strcmp(path, "/old") == 0)
	{
		put_text(client, "just a body");
		return false;
	}
	if (strcmp(path, "/hold") == 0)
	{
		while (!courier_release)
			usleep(2000);
		return respond(client, "200 OK", "", "{}", 2);
	}
	if (strcmp(path, "/silent") == 0)
	{
		while (get(client, text, sizeof(text)) > 0)
			;
		return false;
	}
	if (strcmp(path, "/drip") == 0)
	{
		put(client, "HTTP/1.1 200 OK\r\n\r\n", 19);
		while (put(client, "x", 1))
			usleep(50000);
		return false;
	}
	if (strcmp(path, "/short") == 0)
		put(client, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345", 44);
	if (strcmp(path, "/garbage") == 0)
		put(client, "\x16\x03\x01 hello\n\n", 11);
	return false;
}

/* Bytes of the request's body, by its Content-Length. */
static size_t
body_length(const char *head)
{
	const char *field = strstr(head, "\r\nContent-Length: ");

	return field != NULL ? strtoul(field + 18, NULL, 10) : 0;
}

static void *
serve(void *arg)
{
	Client *client = arg;
	char *request = malloc(REQUEST_MAX + 1);
	size_t len = 0;
	bool going = client->ssl == NULL || SSL_accept(client->ssl) == 1;

	while (going)
	{
		char *end = NULL;
		size_t whole = 0;
		ssize_t got;

		request[len] = '\0';
		end = strstr(request, "\r\n\r\n");
		if (end != NULL)
			whole = (size_t) (end + 4 - request) + body_length(request);
		if (end != NULL && len >= whole)
		{
			courier_requests++;
			going = answer(client, request, whole);
			memmove(request, request + whole, len - whole);
			len -= whole;
			continue;
		}
		got = get(client, request + len, REQUEST_MAX - len);
		going = got > 0;
		len += going ? (size_t) got : 0;
	}
	SSL_free(client->ssl);
	close(client->fd);
	free(request);
	free(client);
	return NULL;
}

static int
listen_at(int type, int *port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, type, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *) &at, sizeof(at)) != 0 ||
		(type == SOCK_STREAM && listen(fd, 1024) != 0) ||
		getsockname(fd, (struct sockaddr *) &at, &len) != 0)
	{
		perror("listen");
		exit(1);
	}
	*port = ntohs(at.sin_port);
	return fd;
}

typedef struct Listener
{
	int fd;
	bool tls;
} Listener;

static void
run(void *(*function)(void *), void *arg)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, 4 << 20);
	if (pthread_create(&thread, &attributes, function, arg) != 0)
		exit(1);
}

static void *
take_connections(void *arg)
{
	Listener *listener = arg;

	for (;;)
	{
		Client *client = calloc(1, sizeof(*client));

		client->fd = accept(listener->fd, NULL, NULL);
		if (client->fd < 0)
			return NULL;
		courier_connections++;
		if (listener->tls)
		{
			client->ssl = SSL_new(tls);
			SSL_set_fd(client->ssl, client->fd);
		}
		run(serve, client);
	}
}

/* ---- names ---------------------------------------------------------------------- */

typedef struct Record
{
	const char *name;
	const char *addresses; /* with spaces between */
} Record;

static const Record records[] = {
	{"inside.test", "127.0.0.1"},
	{"tls.test", "127.0.0.1"},
	{"wrong.test", "127.0.0.1"},
	{"second.test", "127.0.0.2 127.0.0.1"},
	{"far.test", "10.9.8.7"},
	{"meta.test", "169.254.169.254"},
	{"mixed.test", "93.184.216.34 127.0.0.1 10.0.0.1"},
	{"mapped.test", "::ffff:127.0.0.1"},
	{"zero.test", "0.0.0.0"},
	{"nat64.test", "64:ff9b::7f00:1"},
	{"six.test", "::1"},
	{"empty.test", ""},
};

static size_t
put_address(unsigned char *out, const char *text, int type)
{
	unsigned char head[12] = {0xc0, 12, 0, (unsigned char) type, 0, 1, 0, 0, 0, 0, 0, 0};
	unsigned char address[16];
	size_t len = type == 1 ? 4 : 16;

	if ((strchr(text, ':') != NULL) != (type == 28) ||
		inet_pton(type == 1 ? AF_INET : AF_INET6, text, address) != 1)
		return 0;
	head[11] = (unsigned char) len;
	memcpy(out, head, 12);
	memcpy(out + 12, address, len);
	return 12 + len;
}

/* Answers to a question about a name; -1: there is no such name. */
static int
put_answers(unsigned char *out, size_t *len, const char *name, int type)
{
	char list[512] = "";
	char *save = NULL;
	int n = 0;
	bool known = false;

	if (strcmp(name, "rebind.test") == 0)
	{
		if (courier_rebind > 0)
			snprintf(list, sizeof(list), "127.0.0.%d", courier_rebind);
		else
			strcpy(list, "10.0.0.1");
		known = true;
	}
	if (strcmp(name, "many.test") == 0)
	{
		for (int i = 1; i <= 20; i++)
			sprintf(list + strlen(list), "127.0.1.%d ", i);
		known = true;
	}
	for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++)
	{
		if (strcmp(records[i].name, name) != 0)
			continue;
		strcpy(list, records[i].addresses);
		known = true;
	}
	for (char *word = strtok_r(list, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save))
	{
		size_t put = put_address(out + *len, word, type);

		*len += put;
		n += put > 0;
	}
	return known ? n : -1;
}

static void *
answer_questions(void *arg)
{
	int fd = (int) (intptr_t) arg;
	unsigned char packet[2048];
	struct sockaddr_in from;

	for (;;)
	{
		socklen_t from_len = sizeof(from);
		ssize_t got = recvfrom(fd, packet, 512, 0, (struct sockaddr *) &from, &from_len);
		char name[256] = "";
		size_t at = 12;
		size_t name_len = 0;
		int n;

		if (got < 17)
			continue;
		while (at < (size_t) got && packet[at] != 0)
		{
			memcpy(name + name_len, packet + at + 1, packet[at]);
			name_len += packet[at];
			name[name_len++] = '.';
			at += packet[at] + 1u;
		}
		name[name_len > 0 ? name_len - 1 : 0] = '\0';
		at += 5;
		courier_questions++;
		if (strcmp(name, "silent.test") == 0)
			continue;
		n = put_answers(packet, &at, name, packet[at - 3]);
		packet[2] = 0x81;
		packet[3] = n < 0 ? 0x83 : 0x80;
		packet[6] = 0;
		packet[7] = (unsigned char) (n < 0 ? 0 : n);
		memset(packet + 8, 0, 4);
		sendto(fd, packet, at, 0, (struct sockaddr *) &from, from_len);
	}
	return NULL;
}

/* ---- certificate ------------------------------------------------------------------ */

/* One that signs itself, for tls.test and 127.0.0.1; its file is what trusts it. */
static void
make_certificate(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x509 = X509_new();
	X509_EXTENSION *names =
		X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:tls.test,IP:127.0.0.1");
	FILE *file = fopen(courier_servers.ca_file, "w");

	X509_set_version(x509, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
	X509_gmtime_adj(X509_getm_notBefore(x509), -60);
	X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_ASC,
							   (const unsigned char *) "test", -1, -1, 0);
	X509_set_issuer_name(x509, X509_get_subject_name(x509));
	X509_set_pubkey(x509, key);
	X509_add_ext(x509, names, -1);
	X509_sign(x509, key, EVP_sha256());
	PEM_write_X509(file, x509);
	fclose(file);
	tls = SSL_CTX_new(TLS_server_method());
	SSL_CTX_use_certificate(tls, x509);
	SSL_CTX_use_PrivateKey(tls, key);
	X509_EXTENSION_free(names);
	X509_free(x509);
	EVP_PKEY_free(key);
}

void
courier_servers_start(const char *directory)
{
	static Listener http = {.tls = false};
	static Listener https = {.tls = true};

	snprintf(courier_servers.ca_file, sizeof(courier_servers.ca_file), "%s/ca.pem", directory);
	make_certificate();
	http.fd = listen_at(SOCK_STREAM, &courier_servers.http_port);
	https.fd = listen_at(SOCK_STREAM, &courier_servers.https_port);
	run(take_connections, &http);
	run(take_connections, &https);
	run(answer_questions, (void *) (intptr_t) listen_at(SOCK_DGRAM, &courier_servers.dns_port));
}
