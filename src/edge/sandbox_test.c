/*-------------------------------------------------------------------------
 *
 * sandbox_test.c
 *		penny-edge --sandbox-test: tries of the edge's sandbox, as TAP
 *		(program/sandbox_try.h).
 *
 * The plane is a real one, made here and attached read-only, and so is the
 * certificate in the control socket.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "edge/edge.h"
#include "edge/tls.h"
#include "plane/certificate.h"
#include "program/sandbox_try.h"

static PennyPlane *view; /* attached as an edge attaches */
static PennyCertificate certificate;

static bool
make_socket(void)
{
	return socket(AF_INET, SOCK_STREAM, 0) >= 0;
}

static bool
make_blocking(void)
{
	return fcntl(view->edge_wake[view->self], F_SETFL, 0) == 0;
}

static bool
open_p_for_writing(void)
{
	return mprotect(view->p, 4096, PROT_READ | PROT_WRITE) == 0;
}

static bool
write_p(void)
{
	((volatile PennyPlaneHeader *) view->p)->generation = 1;
	return true;
}

static bool
punch_e(void)
{
	return madvise(view->e[view->self], 4096, MADV_REMOVE) == 0;
}

static bool
wake_supervisor(void)
{
	uint64_t one = 1;
	int fd = view->sleeper_wake[view->config.executors];

	return write(fd, &one, sizeof(one)) == sizeof(one);
}

static bool
write_e(void)
{
	penny_count(view, PENNY_COUNT_ACCEPTED, 1);
	return penny_counter(view, view->self, PENNY_COUNT_ACCEPTED) == 1;
}

static bool
write_control(void)
{
	return write(PENNY_FD_CONTROL, "x", 1) == 1;
}

static bool
take_certificate(void)
{
	return penny_tls_receive(PENNY_FD_CONTROL) && penny_tls_wanted();
}

/* Both sides of a handshake of one version of TLS, and a word after it. */
static bool
shake_hands(int version)
{
	static char why[256];
	SSL_CTX *server_rules = penny_certificate_context(&certificate, why, sizeof(why));
	SSL_CTX *client_rules = SSL_CTX_new(TLS_client_method());
	SSL *server = SSL_new(server_rules);
	SSL *client = SSL_new(client_rules);
	BIO *server_end;
	BIO *client_end;
	char word[3] = "";

	if (BIO_new_bio_pair(&server_end, 0, &client_end, 0) != 1 ||
		SSL_set_max_proto_version(client, version) != 1)
		return false;
	SSL_set_bio(server, server_end, server_end);
	SSL_set_bio(client, client_end, client_end);
	SSL_set_accept_state(server);
	SSL_set_connect_state(client);
	for (int i = 0; i < 8 && !(SSL_is_init_finished(server) && SSL_is_init_finished(client)); i++)
	{
		(void) SSL_do_handshake(client);
		(void) SSL_do_handshake(server);
	}
	return SSL_version(client) == version && SSL_write(client, "hi", 2) == 2 &&
		   SSL_read(server, word, 2) == 2 && strcmp(word, "hi") == 0;
}

static bool
shake_hands_of_1_2(void)
{
	return shake_hands(TLS1_2_VERSION);
}

static bool
shake_hands_of_1_3(void)
{
	return shake_hands(TLS1_3_VERSION);
}

static const PennyTry tries[] = {
	{"make a socket", PENNY_KILLED, make_socket},
	{"make a shared eventfd blocking", PENNY_REFUSED, make_blocking},
	{"make region P writable", PENNY_REFUSED, open_p_for_writing},
	{"write region P", PENNY_KILLED, write_p},
	{"punch a hole into region E", PENNY_REFUSED, punch_e},
	{"write to the gateway", PENNY_REFUSED, write_control},
	{"wake a sleeper", PENNY_WORKS, wake_supervisor},
	{"write region E", PENNY_WORKS, write_e},
	{"take a certificate", PENNY_WORKS, take_certificate},
	{"shake hands, TLS 1.2", PENNY_WORKS, shake_hands_of_1_2},
	{"shake hands, TLS 1.3", PENNY_WORKS, shake_hands_of_1_3},
};

/* Make a plane as the postmaster does and attach it as an edge. */
static const char *
make_plane(PennyPlane *whole, PennyPlane *attached)
{
	PennyPlaneConfig config = {
		.edges = 1,
		.executors = 1,
		.slots = 4,
		.request_size = 65536,
		.response_size = 65536,
		.events = 64,
		.event_bytes = 65536,
	};
	const char *failed;
	int readonly;

	failed = penny_plane_create(whole, &config);
	if (failed != NULL)
		return failed;
	penny_plane_sweep(whole, 0);
	readonly = fcntl(penny_plane_readonly_fd(whole), F_DUPFD, 100);
	whole->e_fd[0] = fcntl(whole->e_fd[0], F_DUPFD, 100);
	whole->edge_wake[0] = fcntl(whole->edge_wake[0], F_DUPFD, 100);
	whole->s_fd = fcntl(whole->s_fd, F_DUPFD, 100);
	for (int i = 0; i < 2; i++)
		whole->sleeper_wake[i] = fcntl(whole->sleeper_wake[i], F_DUPFD, 100);
	if (dup2(readonly, PENNY_FD_P) < 0 || dup2(whole->e_fd[0], PENNY_FD_E) < 0 ||
		dup2(whole->edge_wake[0], PENNY_FD_WAKE) < 0 || dup2(whole->s_fd, PENNY_FD_S) < 0)
		return "dup2";
	for (int i = 0; i < 2; i++)
	{
		if (dup2(whole->sleeper_wake[i], PENNY_FD_SLEEPER + i) < 0)
			return "dup2";
	}
	return penny_plane_attach(attached, 0);
}

/* A self-signed certificate, as PEM. */
static bool
make_certificate(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x509 = X509_new();
	BIO *cert_pem = BIO_new(BIO_s_mem());
	BIO *key_pem = BIO_new(BIO_s_mem());
	const unsigned char *name = (const unsigned char *) "localhost";
	int cert_len;
	int key_len;

	if (key == NULL || x509 == NULL || cert_pem == NULL || key_pem == NULL)
		return false;
	ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
	X509_gmtime_adj(X509_getm_notBefore(x509), 0);
	X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_ASC, name, -1, -1, 0);
	X509_set_issuer_name(x509, X509_get_subject_name(x509));
	if (X509_set_pubkey(x509, key) != 1 || X509_sign(x509, key, EVP_sha256()) == 0 ||
		PEM_write_bio_X509(cert_pem, x509) != 1 ||
		PEM_write_bio_PrivateKey(key_pem, key, NULL, NULL, 0, NULL, NULL) != 1)
		return false;
	cert_len = BIO_read(cert_pem, certificate.bytes, PENNY_CERT_MAX);
	key_len = BIO_read(key_pem, certificate.bytes + cert_len, PENNY_KEY_MAX);
	if (cert_len <= 0 || key_len <= 0)
		return false;
	certificate.cert_len = (uint32_t) cert_len;
	certificate.key_len = (uint32_t) key_len;
	return true;
}

/* The control socket of a gateway, with a certificate in it for the one try that takes it. */
static const char *
make_control(void)
{
	int pair[2];
	size_t size;

	if (!make_certificate())
		return "make a certificate";
	size = penny_certificate_size(&certificate);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) != 0 || shutdown(pair[0], SHUT_RD) != 0)
		return "socketpair";
	pair[0] = fcntl(pair[0], F_DUPFD, 100);
	pair[1] = fcntl(pair[1], F_DUPFD, 100);
	if (dup2(pair[1], PENNY_FD_CONTROL) < 0)
		return "dup2";
	if (send(pair[0], &certificate, size, 0) != (ssize_t) size)
		return "send";
	return NULL;
}

/* As main() enters it. */
static const char *
enter(void)
{
	const char *failed;

	penny_sandbox_limits(64);
	failed = penny_tls_init();
	return failed != NULL ? failed : penny_sandbox_enter();
}

int
penny_sandbox_test(void)
{
	static PennyPlane whole;
	static PennyPlane attached;
	const char *failed = make_plane(&whole, &attached);

	if (failed == NULL)
		failed = make_control();
	if (failed != NULL)
	{
		printf("Bail out! could not prepare: %s: %s\n", failed, strerror(errno));
		return 1;
	}
	view = &attached;
	return penny_sandbox_tries(tries, sizeof(tries) / sizeof(tries[0]), enter);
}
