/*-------------------------------------------------------------------------
 *
 * courier.c
 *		penny-courier itself, as a worker uses it, against servers that
 *		misbehave (courier_server.c).
 *
 * The program is that of PENNY_COURIER_PROGRAM, or ./penny-courier, or the one
 * in PATH.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

#include "courier_server.h"
#include "plane/courier_stream.h"

#define PATIENCE 20000 /* ms for anything */

/* An answer, copied. */
typedef struct Answer
{
	bool came;
	PennyCourierAnswer head;
	char type[PENNY_COURIER_TYPE_MAX + 1];
	char error[PENNY_COURIER_ERROR_MAX + 1];
	char *body;
} Answer;

static char directory[] = "/tmp/penny-courier-test.XXXXXX";
static PennyCourierStream courier;
static pid_t pid;
static Answer answers[PENNY_COURIER_REQUESTS_MAX + 1];
static int answered;
static bool ready;
static rlim_t descriptors; /* that the next courier may have; 0: as many as we */

static PennyCourierText
text_of(const char *text)
{
	return (PennyCourierText){text, (uint32_t) strlen(text)};
}

static const char *
program(void)
{
	const char *named = getenv("PENNY_COURIER_PROGRAM");

	if (named != NULL && named[0] != '\0')
		return named;
	return access("./penny-courier", X_OK) == 0 ? "./penny-courier" : "penny-courier";
}

/* As base/child.c starts it, but with an environment to ignore. */
static void
become_courier(int fd)
{
	fd = fcntl(fd, F_DUPFD, 10);
	dup2(fd, PENNY_COURIER_FD);
	close_range(PENNY_COURIER_FD + 1, ~0U, 0);
	if (descriptors > 0)
		setrlimit(RLIMIT_NOFILE, &(struct rlimit){descriptors, descriptors});
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("https_proxy", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	setenv("HOME", directory, 1);
	execlp(program(), "penny-courier", (char *) NULL);
	_exit(127);
}

/* Send what is to be sent and take what comes, for so long. */
static void
turn(int timeout)
{
	PennyCourierFrame frame;
	struct pollfd fd = {.fd = courier.fd, .events = POLLIN};

	penny_courier_stream_flush(&courier);
	if (penny_courier_stream_waiting(&courier) > 0)
		fd.events |= POLLOUT;
	poll(&fd, 1, timeout);
	penny_courier_stream_fill(&courier);
	while (penny_courier_stream_next(&courier, &frame))
	{
		Answer *answer = &answers[frame.ticket % PENNY_COURIER_REQUESTS_MAX];

		if (frame.kind == PENNY_COURIER_READY)
			ready = true;
		if (frame.kind != PENNY_COURIER_ANSWER)
			continue;
		CHECK(!answer->came); /* one answer each */
		CHECK(penny_courier_answer_read(frame.payload, frame.len, &answer->head));
		answer->came = true;
		answered++;
		snprintf(answer->type, sizeof(answer->type), "%.*s", (int) answer->head.type.len,
				 answer->head.type.bytes);
		snprintf(answer->error, sizeof(answer->error), "%.*s", (int) answer->head.error.len,
				 answer->head.error.bytes);
		free(answer->body);
		answer->body = malloc(answer->head.body.len + 1);
		memcpy(answer->body, answer->head.body.bytes, answer->head.body.len);
		answer->body[answer->head.body.len] = '\0';
	}
}

static int64_t
clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool
await(const bool *condition)
{
	int64_t until = clock_ms() + PATIENCE;

	while (!*condition && !courier.ended && clock_ms() < until)
		turn(100);
	return *condition;
}

static bool
start(const char *allow, const char *ca_file, uint32_t requests)
{
	char resolver[64];
	PennyCourierSettings settings = {.requests = requests, .allow = text_of(allow)};
	int fds[2];

	snprintf(resolver, sizeof(resolver), "127.0.0.1:%d", courier_servers.dns_port);
	settings.ca_file = text_of(ca_file);
	settings.resolver = text_of(resolver);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0)
		return false;
	pid = fork();
	if (pid == 0)
		become_courier(fds[1]);
	close(fds[1]);
	penny_courier_stream_init(&courier, fds[0]);
	penny_courier_settings_write(&settings,
								 penny_courier_stream_push(&courier, PENNY_COURIER_SETTINGS, 0,
														   penny_courier_settings_size(&settings)));
	ready = false;
	return await(&ready);
}

/* Its exit status, or -1 when it does not end. */
static int
reap(void)
{
	int status = -1;
	int64_t until = clock_ms() + PATIENCE;

	while (waitpid(pid, &status, WNOHANG) == 0)
	{
		if (clock_ms() > until)
		{
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			return -1;
		}
		turn(10);
	}
	return status;
}

static int
stop(void)
{
	penny_courier_stream_push(&courier, PENNY_COURIER_DRAIN, 0, 0);
	turn(0);
	{
		int status = reap();

		penny_courier_stream_close(&courier);
		return status;
	}
}

static void
push(uint64_t ticket, const char *url, const char *body, uint32_t timeout, uint32_t response_max)
{
	static const char headers[] = "Content-Type: application/json\0webhook-id: 7";
	PennyCourierRequest request = {.timeout = timeout, .response_max = response_max};
	char *payload;

	request.url = text_of(url);
	request.headers = (PennyCourierText){headers, sizeof(headers)};
	request.body = text_of(body);
	answers[ticket % PENNY_COURIER_REQUESTS_MAX].came = false;
	payload = penny_courier_stream_push(&courier, PENNY_COURIER_REQUEST, ticket,
										penny_courier_request_size(&request));
	penny_courier_request_write(&request, payload);
}

/* One request; %H, %S in the URL are the ports of HTTP and HTTPS. */
static Answer *
ask_for(const char *form, uint32_t timeout, uint32_t response_max)
{
	static Answer none;
	char url[512];
	size_t len = 0;

	for (const char *c = form; *c != '\0'; c++)
	{
		if (c[0] == '%' && (c[1] == 'H' || c[1] == 'S'))
			len += (size_t) sprintf(url + len, "%d",
									*++c == 'H' ? courier_servers.http_port
												: courier_servers.https_port);
		else
			url[len++] = *c;
	}
	url[len] = '\0';
	push(1, url, "{\"a\":1}", timeout, response_max);
	return await(&answers[1].came) ? &answers[1] : &none;
}

static Answer *
ask(const char *form)
{
	return ask_for(form, 5000, 65536);
}

static void
check_outcome(const char *form, PennyCourierOutcome outcome, const char *error)
{
	Answer *answer = ask(form);
	char row[1200];

	snprintf(row, sizeof(row), "%s: outcome %d status %u error '%s'", form, answer->head.outcome,
			 answer->head.status, answer->error);
	CHECK_ROW(answer->came && answer->head.outcome == outcome &&
				  strstr(answer->error, error) != NULL,
			  row);
}

static const char *
usual_allow(void)
{
	static char allow[512];
	int http = courier_servers.http_port;
	int https = courier_servers.https_port;

	snprintf(allow, sizeof(allow),
			 "127.0.0.1:%d, 127.0.0.1:%d, *.test:%d=127.0.0.0/8, *.test:%d=127.0.0.0/8, "
			 "http://*.test:%d, plain.test:1=127.0.0.0/8, 127.0.0.1:1, localhost:%d=127.0.0.0/8",
			 http, https, http, https, http, http);
	return allow;
}

/* ---- tests ---------------------------------------------------------------------- */

TEST(answers)
{
	Answer *answer = ask("http://127.0.0.1:%H/echo");
	char host[64];

	CHECK(answer->head.status == 200 && strcmp(answer->type, "application/json") == 0);
	CHECK(answer->body != NULL && strstr(answer->body, "POST /echo HTTP/1.1\r\n") != NULL);
	CHECK(answer->body != NULL && strstr(answer->body, "\r\n\r\n{\"a\":1}") != NULL);
	CHECK(answer->body != NULL && strstr(answer->body, "\r\nwebhook-id: 7\r\n") != NULL);
	CHECK(answer->body != NULL &&
		  strstr(answer->body, "\r\nAccept-Encoding: identity\r\n") != NULL);
	snprintf(host, sizeof(host), "\r\nHost: 127.0.0.1:%d\r\n", courier_servers.http_port);
	CHECK(answer->body != NULL && strstr(answer->body, host) != NULL);
	/* .netrc, proxies and the like of the environment are not used */
	CHECK(answer->body != NULL && strcasestr(answer->body, "authorization") == NULL);
	CHECK(answer->body != NULL && strcasestr(answer->body, "expect") == NULL);

	CHECK(ask("http://127.0.0.1:%H/status/204")->head.status == 204);
	answer = ask("http://127.0.0.1:%H/status/410");
	CHECK(answer->head.outcome == PENNY_COURIER_ANSWERED && answer->head.status == 410);
	CHECK(ask("http://127.0.0.1:%H/status/500")->head.status == 500);
	answer = ask("http://127.0.0.1:%H/chunked");
	CHECK(answer->head.status == 200 && strcmp(answer->body, "abcde") == 0);
	/* what is coded is not touched */
	answer = ask("http://127.0.0.1:%H/gzip");
	CHECK(answer->head.status == 200 && answer->head.body.len == 5);
}

TEST(retry_after)
{
	Answer *answer = ask("http://127.0.0.1:%H/retry/7");

	CHECK(answer->head.status == 429 && answer->head.retry_after == 7);
	CHECK(ask("http://127.0.0.1:%H/status/429")->head.retry_after == 0);
	CHECK(ask("http://127.0.0.1:%H/retry/-5")->head.retry_after == 0);
	CHECK(ask("http://127.0.0.1:%H/retry/x")->head.retry_after == 0);
	CHECK(ask("http://127.0.0.1:%H/retry/99999999999999")->head.retry_after == 366 * 86400);
	CHECK(ask("http://127.0.0.1:%H/retry/Fri,_31_Dec_1999_23:59:59_GMT")->head.retry_after == 0);
	CHECK(ask("http://127.0.0.1:%H/retry/Fri,_31_Dec_2100_23:59:59_GMT")->head.retry_after > 1000);
}

TEST(redirects_are_not_followed)
{
	int before = courier_requests;
	Answer *answer = ask("http://127.0.0.1:%H/redirect");

	CHECK(answer->head.outcome == PENNY_COURIER_ANSWERED && answer->head.status == 302);
	CHECK(courier_requests == before + 1);
}

TEST(limits)
{
	Answer *answer = ask_for("http://127.0.0.1:%H/big", 5000, 1000);

	CHECK(answer->head.outcome == PENNY_COURIER_ANSWERED && answer->head.status == 200);
	CHECK(answer->head.truncated && answer->head.body.len == 1000);
	answer = ask_for("http://127.0.0.1:%H/chunked", 5000, 5);
	CHECK(answer->head.body.len == 5 && !answer->head.truncated);
	answer = ask_for("http://127.0.0.1:%H/chunked", 5000, 4);
	CHECK(answer->head.body.len == 4 && answer->head.truncated);
	answer = ask_for("http://127.0.0.1:%H/chunked", 5000, 0);
	CHECK(answer->head.status == 200 && answer->head.body.len == 0 && answer->head.truncated);
	answer = ask_for("http://127.0.0.1:%H/endless", 5000, 1 << 20);
	CHECK(answer->head.truncated && answer->head.body.len == 1 << 20);
	answer = ask_for("http://127.0.0.1:%H/bomb", 5000, 100000);
	/* what is packed stays packed */
	CHECK(answer->head.outcome == PENNY_COURIER_ANSWERED && answer->head.body.len < 50000);
	check_outcome("http://127.0.0.1:%H/headers", PENNY_COURIER_BROKEN, "too large");
	check_outcome("http://127.0.0.1:%H/trailers", PENNY_COURIER_BROKEN, "too large");
	check_outcome("http://127.0.0.1:%H/early", PENNY_COURIER_BROKEN, "too large");
	check_outcome("http://127.0.0.1:%H/line", PENNY_COURIER_BROKEN, "");
	check_outcome("http://127.0.0.1:%H/old", PENNY_COURIER_BROKEN, "");
	CHECK(ask("http://127.0.0.1:%H/switch")->head.status < 200);
	check_outcome("http://127.0.0.1:%H/close", PENNY_COURIER_BROKEN, "");
	check_outcome("http://127.0.0.1:%H/short", PENNY_COURIER_BROKEN, "");
	check_outcome("http://127.0.0.1:%H/garbage", PENNY_COURIER_BROKEN, "");
	check_outcome("http://127.0.0.1:1/x", PENNY_COURIER_NO_CONNECT, "");
}

TEST(timeouts)
{
	static const char *const forms[] = {"http://127.0.0.1:%H/silent", "http://127.0.0.1:%H/drip",
										"http://silent.test:%H/echo"};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
	{
		int64_t begun = clock_ms();
		Answer *answer = ask_for(forms[i], 300, 1000);

		CHECK_ROW(answer->head.outcome == PENNY_COURIER_TIMED_OUT, forms[i]);
		CHECK_ROW(clock_ms() - begun >= 300 && answer->head.elapsed >= 300, forms[i]);
		CHECK_ROW(answer->head.elapsed < 3000, forms[i]);
	}
}

TEST(refusals)
{
	static const char *const forms[] = {
		"http://127.0.0.1:%S0/x",   "http://127.0.0.2:%H/x",
		"http://localhost:1/x",     "https://127.0.0.1/x",
		"http://[::1]:%H/x",        "http://[::ffff:127.0.0.1]:%H/x",
		"http://127.1:%H/x",        "http://0x7f.1:%H/x",
		"http://2130706433:%H/x",   "http://0.0.0.0:%H/x",
		"http://inside.test.:%H/x", "http://elsewhere.net:%H/x",
		"file:///etc/passwd",       "gopher://127.0.0.1:%H/x",
		"http://a@127.0.0.1:%H/x",  "http://127.0.0.1:%H\\@inside.test/x",
	};
	int before = courier_connections;

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		check_outcome(forms[i], PENNY_COURIER_REFUSED, "");
	/* the name is listed, its address is not what it may be */
	check_outcome("http://far.test:%H/x", PENNY_COURIER_REFUSED, "10.9.8.7");
	check_outcome("http://meta.test:%H/x", PENNY_COURIER_REFUSED, "169.254.169.254");
	check_outcome("http://mixed.test:%H/x", PENNY_COURIER_REFUSED, "10.0.0.1");
	check_outcome("http://mapped.test:%H/x", PENNY_COURIER_REFUSED, "::ffff:127.0.0.1");
	check_outcome("http://zero.test:%H/x", PENNY_COURIER_REFUSED, "0.0.0.0");
	check_outcome("http://nat64.test:%H/x", PENNY_COURIER_REFUSED, "64:ff9b::7f00:1");
	check_outcome("http://six.test:%H/x", PENNY_COURIER_REFUSED, "::1");
	check_outcome("http://nobody.test:%H/x", PENNY_COURIER_NO_NAME, "nobody.test");
	check_outcome("http://empty.test:%H/x", PENNY_COURIER_NO_NAME, "empty.test");
	CHECK(courier_connections == before);
}

TEST(names)
{
	Answer *answer = ask("http://inside.test:%H/echo");
	char host[64];
	int questions;

	snprintf(host, sizeof(host), "\r\nHost: inside.test:%d\r\n", courier_servers.http_port);
	CHECK(answer->head.status == 200 && strstr(answer->body, host) != NULL);
	CHECK(ask("http://INSIDE.test:%H/status/201")->head.status == 201);
	/* the first of its addresses does not answer */
	CHECK(ask("http://second.test:%H/status/201")->head.status == 201);
	/* from /etc/hosts, and nobody is asked */
	questions = courier_questions;
	CHECK(ask("http://localhost:%H/status/201")->head.status == 201 ||
		  strstr(answers[1].error, "::1") != NULL);
	CHECK(courier_questions == questions);
}

/* A name that is somewhere else the next time. */
TEST(rebinding)
{
	courier_rebind = 1;
	CHECK(ask("http://rebind.test:%H/close")->head.outcome == PENNY_COURIER_BROKEN);
	courier_rebind = 0;
	check_outcome("http://rebind.test:%H/status/200", PENNY_COURIER_REFUSED, "10.0.0.1");
	courier_rebind = 1;
	CHECK(ask("http://rebind.test:%H/status/200")->head.status == 200);
	/* nor by a connection that is kept from when it might be called */
	courier_rebind = 0;
	check_outcome("http://rebind.test:%H/status/200", PENNY_COURIER_REFUSED, "10.0.0.1");
	courier_rebind = 1;
}

TEST(tls)
{
	check_outcome("https://tls.test:%S/echo", PENNY_COURIER_ANSWERED, "");
	check_outcome("https://127.0.0.1:%S/echo", PENNY_COURIER_ANSWERED, "");
	check_outcome("https://wrong.test:%S/echo", PENNY_COURIER_NO_TLS, "wrong.test");
	check_outcome("http://127.0.0.1:%S/echo", PENNY_COURIER_BROKEN, "");
}

/* Connections are used again, and one that the server has closed is not missed. */
TEST(connections_are_kept)
{
	int before;

	ask("http://127.0.0.1:%H/status/200");
	before = courier_connections;
	for (int i = 0; i < 20; i++)
		CHECK(ask("http://127.0.0.1:%H/status/200")->head.status == 200);
	CHECK(courier_connections - before <= 1);
}

TEST(many_at_a_time)
{
	enum
	{
		MANY = 400
	};
	char url[64];
	int64_t until = clock_ms() + PATIENCE;

	snprintf(url, sizeof(url), "http://127.0.0.1:%d/hold", courier_servers.http_port);
	courier_release = 0;
	answered = 0;
	courier_requests = 0;
	for (int i = 0; i < MANY; i++)
		push((uint64_t) i, url, "{}", 60000, 1000);
	while (courier_requests < MANY && clock_ms() < until)
		turn(20);
	CHECK(courier_requests == MANY && answered == 0);
	/* one is cancelled, and one that never was */
	penny_courier_stream_push(&courier, PENNY_COURIER_CANCEL, 7, 0);
	penny_courier_stream_push(&courier, PENNY_COURIER_CANCEL, 70000, 0);
	CHECK(await(&answers[7].came) && answers[7].head.outcome == PENNY_COURIER_CANCELLED);
	courier_release = 1;
	while (answered < MANY && clock_ms() < until && !courier.ended)
		turn(20);
	CHECK(answered == MANY);
	for (int i = 0; i < MANY; i++)
		CHECK(i == 7 || answers[i].head.status == 200);
}

TEST(one_too_many)
{
	char url[64];

	courier_release = 0;
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/hold", courier_servers.http_port);
	CHECK(start(usual_allow(), courier_servers.ca_file, 3));
	for (uint64_t i = 0; i < 4; i++)
		push(i, url, "{}", 60000, 1000);
	CHECK(await(&answers[3].came) && answers[3].head.outcome == PENNY_COURIER_BUSY);
	CHECK(!answers[0].came);
	courier_release = 1;
	CHECK(await(&answers[0].came) && await(&answers[1].came) && await(&answers[2].came));
	CHECK(ask("http://127.0.0.1:%H/status/200")->head.status == 200);
	CHECK(stop() == 0);
}

/* Who cannot make a socket has not tried. */
TEST(descriptors_run_out)
{
	enum
	{
		MANY = 60
	};
	char url[64];
	int busy = 0;
	int64_t until = clock_ms() + PATIENCE;

	courier_release = 0;
	answered = 0;
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/hold", courier_servers.http_port);
	descriptors = 40;
	CHECK(start(usual_allow(), courier_servers.ca_file, MANY));
	descriptors = 0;
	for (uint64_t i = 0; i < MANY; i++)
		push(i, url, "{}", 60000, 1000);
	while (answered < 20 && clock_ms() < until && !courier.ended)
		turn(20);
	courier_release = 1;
	while (answered < MANY && clock_ms() < until && !courier.ended)
		turn(20);
	CHECK(answered == MANY);
	for (int i = 0; i < MANY; i++)
	{
		busy += answers[i].head.outcome == PENNY_COURIER_BUSY;
		CHECK(answers[i].head.outcome == PENNY_COURIER_BUSY || answers[i].head.status == 200);
	}
	CHECK(busy >= 20 && busy < MANY);
	CHECK(stop() == 0);
}

/* What runs is finished, what comes later is not begun. */
TEST(drain)
{
	char url[64];

	courier_release = 0;
	courier_requests = 0;
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/hold", courier_servers.http_port);
	CHECK(start(usual_allow(), courier_servers.ca_file, 10));
	push(2, url, "{}", 60000, 1000);
	for (int64_t until = clock_ms() + PATIENCE; courier_requests < 1 && clock_ms() < until;)
		turn(20);
	penny_courier_stream_push(&courier, PENNY_COURIER_DRAIN, 0, 0);
	push(3, url, "{}", 60000, 1000);
	CHECK(await(&answers[3].came) && answers[3].head.outcome == PENNY_COURIER_BUSY);
	CHECK(!answers[2].came && waitpid(pid, NULL, WNOHANG) == 0);
	courier_release = 1;
	CHECK(await(&answers[2].came) && answers[2].head.status == 200);
	CHECK(reap() == 0);
	penny_courier_stream_close(&courier);
}

TEST(untrusted_certificate)
{
	char nothing[64];

	snprintf(nothing, sizeof(nothing), "%s/nothing.pem", directory);
	CHECK(start(usual_allow(), "", 10));
	check_outcome("https://tls.test:%S/echo", PENNY_COURIER_NO_TLS, "certificate");
	CHECK(stop() == 0);
	/* a file that is not there trusts nobody */
	CHECK(start(usual_allow(), nothing, 10));
	check_outcome("https://tls.test:%S/echo", PENNY_COURIER_NO_TLS, "");
	check_outcome("http://127.0.0.1:%H/echo", PENNY_COURIER_ANSWERED, "");
	CHECK(stop() == 0);
}

TEST(ends)
{
	int status;
	uint32_t junk[8] = {7, 7, 7, 7, 7, 7, 7, 7};

	/* the worker is gone */
	CHECK(start("", "", 10));
	check_outcome("http://127.0.0.1:%H/echo", PENNY_COURIER_REFUSED, "penny.webhook_allow");
	penny_courier_stream_close(&courier);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	/* the worker says what is no frame, or no request */
	CHECK(start("", "", 10));
	CHECK(write(courier.fd, junk, sizeof(junk)) == sizeof(junk));
	status = reap();
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	penny_courier_stream_close(&courier);
	CHECK(start("", "", 10));
	answers[1].came = false;
	memset(penny_courier_stream_push(&courier, PENNY_COURIER_REQUEST, 1, 50), 1, 50);
	CHECK(await(&answers[1].came) && strstr(answers[1].error, "malformed") != NULL);
	penny_courier_stream_push(&courier, PENNY_COURIER_READY, 0, 0);
	status = reap();
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	penny_courier_stream_close(&courier);
	/* a list that is none: it does not begin */
	CHECK(!start("a b", "", 10));
	status = reap();
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 2);
	penny_courier_stream_close(&courier);
}

/* It dies with whoever started it, though its socket stays open. */
TEST(death_with_the_parent)
{
	PennyCourierSettings settings = {.requests = 1};
	int fds[2];
	pid_t between;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
	between = fork();
	if (between == 0)
	{
		if (fork() == 0)
			become_courier(fds[1]);
		pause();
		_exit(0);
	}
	close(fds[1]);
	penny_courier_stream_init(&courier, fds[0]);
	penny_courier_settings_write(&settings,
								 penny_courier_stream_push(&courier, PENNY_COURIER_SETTINGS, 0,
														   penny_courier_settings_size(&settings)));
	ready = false;
	CHECK(await(&ready));
	kill(between, SIGKILL);
	waitpid(between, NULL, 0);
	for (int64_t until = clock_ms() + PATIENCE; !courier.ended && clock_ms() < until;)
		turn(100);
	CHECK(courier.ended);
	penny_courier_stream_close(&courier);
}

int
main(void)
{
	char path[64];
	FILE *netrc;

	signal(SIGPIPE, SIG_IGN);
	if (mkdtemp(directory) == NULL)
		return 1;
	snprintf(path, sizeof(path), "%s/.netrc", directory);
	netrc = fopen(path, "w");
	fprintf(netrc, "machine 127.0.0.1 login a password b\n");
	fclose(netrc);
	courier_servers_start(directory);
	if (!start(usual_allow(), courier_servers.ca_file, 1000))
	{
		printf("Bail out! %s does not start\n", program());
		return 1;
	}
	RUN(answers);
	RUN(retry_after);
	RUN(redirects_are_not_followed);
	RUN(limits);
	RUN(timeouts);
	RUN(refusals);
	RUN(names);
	RUN(rebinding);
	RUN(tls);
	RUN(connections_are_kept);
	RUN(many_at_a_time);
	CHECK(stop() == 0);
	RUN(one_too_many);
	RUN(descriptors_run_out);
	RUN(drain);
	RUN(untrusted_certificate);
	RUN(ends);
	RUN(death_with_the_parent);
	unlink(path);
	unlink(courier_servers.ca_file);
	rmdir(directory);
	return unit_done();
}
