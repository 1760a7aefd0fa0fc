/*-------------------------------------------------------------------------
 *
 * courier_address.c
 *		The last look at an address before a connection, alone: libcurl is led to
 *		addresses that nothing before has checked.
 *
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit.h"

#include "courier/transfer.h"

PennyCourier penny_courier;

static int listening = -1;
static int port;

/* No test here speaks TLS. */
bool
penny_trust_use(struct ssl_ctx_st *context)
{
	(void) context;
	return false;
}

static void
listen_somewhere(void)
{
	struct sockaddr_in6 place = {.sin6_family = AF_INET6, .sin6_addr = in6addr_any};
	socklen_t len = sizeof(place);

	listening = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
	CHECK(bind(listening, (struct sockaddr *) &place, len) == 0 && listen(listening, 16) == 0);
	CHECK(getsockname(listening, (struct sockaddr *) &place, &len) == 0);
	port = ntohs(place.sin6_port);
}

static bool
connected(void)
{
	int fd = accept(listening, NULL, NULL);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* What becomes of a request under a list (%d: the port), when its name led to an address. */
static PennyCourierOutcome
lead(const char *list, const char *name, const char *address, int url_port)
{
	PennyTransfer transfer = {.request = {.timeout = 300, .response_max = 100}, .deadline = 300};
	PennyAddresses addresses = {.n = 1};
	PennyCourierOutcome outcome;
	char text[256];
	const char *entry;
	size_t entry_len;

	snprintf(text, sizeof(text), list, port);
	CHECK(penny_webhook_rules_parse(text, &penny_courier.rules, &entry, &entry_len) == NULL);
	snprintf(text, sizeof(text), "http://%s:%d/", name, port);
	CHECK(penny_webhook_url_parse(text, strlen(text), &transfer.url) == NULL);
	CHECK(penny_address_parse(address, strlen(address), &addresses.address[0]));
	CHECK(penny_request_prepare(&transfer, &addresses));
	transfer.url.port = (uint16_t) url_port;
	outcome = penny_request_outcome(&transfer, curl_easy_perform(transfer.easy));
	penny_request_free(&transfer);
	return outcome;
}

TEST(permitted)
{
	/* nobody answers, but there was a connection */
	CHECK(lead("in.test:%d=127.0.0.0/8", "in.test", "127.0.0.1", port) == PENNY_COURIER_TIMED_OUT);
	CHECK(connected());
	CHECK(lead("[::1]:%d", "[::1]", "::1", port) == PENNY_COURIER_TIMED_OUT);
	CHECK(connected());
}

TEST(refused)
{
	static const struct
	{
		const char *list;
		const char *name;
		const char *address;
	} rows[] = {
		{"http://in.test:%d", "in.test", "127.0.0.1"},
		{"http://in.test:%d", "in.test", "::1"},
		{"http://in.test:%d", "in.test", "::ffff:127.0.0.1"},
		{"http://in.test:%d", "in.test", "0.0.0.0"},
		{"http://in.test:%d", "in.test", "::"},
		{"http://in.test:%d", "localhost", "127.0.0.1"},
		{"http://in.test:%d", "a.localhost", "127.0.0.1"},
		{"in.test:%d=10.0.0.0/8", "in.test", "127.0.0.1"},
		{"in.test:%d=127.0.0.0/8", "in.test", "::ffff:127.0.0.1"},
		{"in.test:%d=127.0.0.0/8", "in.test", "::1"},
		{"in.test:%d=127.0.0.0/8", "127.0.0.1", "127.0.0.1"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
	{
		char row[128];

		snprintf(row, sizeof(row), "%s %s at %s", rows[i].list, rows[i].name, rows[i].address);
		CHECK_ROW(lead(rows[i].list, rows[i].name, rows[i].address, port) == PENNY_COURIER_REFUSED,
				  row);
		CHECK_ROW(!connected(), row);
	}
}

/* libcurl is about to go to another port than that of the URL that was checked. */
TEST(another_port)
{
	CHECK(lead("in.test:%d=127.0.0.0/8", "in.test", "127.0.0.1", port ^ 1) ==
		  PENNY_COURIER_REFUSED);
	CHECK(!connected());
}

int
main(void)
{
	listen_somewhere();
	RUN(permitted);
	RUN(refused);
	RUN(another_port);
	return unit_done();
}
