/*-------------------------------------------------------------------------
 *
 * fake_gateway.c
 *		Runs a penny-edge without PostgreSQL, for tests and benchmarks.
 *
 *		fake_gateway <path of penny-edge> [name=value ...]
 *		fake_gateway					runs t_edge.py, which calls it so
 *
 * Makes the plane, a listening socket and executors (fake_executor.c), starts
 * the edge as a gateway does, prints "port <n>" and obeys commands on its
 * standard input, one a line; each is answered by one line.
 *
 *		pid						pid of the edge
 *		kill					kill -9 the edge, sweep, start another
 *		term					SIGTERM the edge; answers with its exit status
 *		restart					the same with the signal that another follows
 *		reap					wait for an edge that ends by itself; its exit status
 *		start					sweep and start an edge after that
 *		counters				name=value of all counters
 *		executors				calls, cancelled, built
 *		commit <room> <json>	one more version of a room, published
 *		publish <room> <json>	an event without version
 *		stream <room>			one more piece of a message that grows
 *		recheck <room>			an event that says: ask again who may be in it
 *		resync					an event that says: read everything
 *		flag <name> <n>			unready, extra, refuse, frameless, closed; page: lines
 *								of an answer to a join
 *		set <name> <value>		a setting, published
 *		stop, go				SIGSTOP, SIGCONT to all executors
 *		tls <cert> <key>		give the edge the certificate in these files;
 *								"tls - -" takes it away
 *		and those of fake_jobs.c
 *
 * Names of settings are those of PennyEdgeSettings; further ones given on the
 * command line: executors, slots, request_size, response_size, events,
 * event_bytes, log_level.
 *
 *-------------------------------------------------------------------------
 */
#include "fake_gateway.h"

#include "plane/cache.h"
#include "plane/certificate.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define HIGH 200 /* descriptors of the original, out of the edge's way */

static PennyPlane plane;
static PennyPlaneConfig config = {
	.edges = 1,
	.executors = 2,
	.slots = 16,
	.request_size = 2 << 20,
	.response_size = 64 << 10,
	.events = 1024,
	.event_bytes = 1 << 20,
	.cache_stamps = 1 << 14,
	.cache_entries = 1 << 12,
	.cache_chunks = 1 << 14,
	.cache_max_object = 1 << 20,
};
static PennyEdgeSettings settings = {
	.max_connections = 1000,
	.max_connections_per_address = 1000,
	.header_size = 16384,
	.target_size = 8192,
	.body_size = 1 << 20,
	.header_timeout = 10000,
	.body_timeout = 10000,
	.min_body_rate = 500,
	.write_timeout = 10000,
	.keepalive_timeout = 60000,
	.acquire_timeout = 30000,
	.auth_timeout = 10000,
	.websocket_message_size = 1 << 20,
	.websocket_messages = 1000,
	.heartbeat_interval = 30000,
	.rooms_per_connection = 100,
	.stream_timeout = 30000,
	.drain_timeout = 5000,
	.queue_size = 1000,
	.compression_min_size = 1024,
	.compression_cache_size = 4096,
	.codings = {PENNY_BR, PENNY_GZIP, PENNY_DEFLATE},
};
static uint32_t log_level = 1;
static pid_t executor[PENNY_MAX_EXECUTORS];
static pid_t edge;
static int listener;
static int control = -1; /* our end of the edge's control socket */
static PennyCertificate certificate;
static const char *edge_path;

typedef struct Name
{
	const char *name;
	uint32_t *value;
} Name;

static const Name names[] = {
	{"executors", &config.executors},
	{"slots", &config.slots},
	{"request_size", &config.request_size},
	{"response_size", &config.response_size},
	{"events", &config.events},
	{"event_bytes", &config.event_bytes},
	{"log_level", &log_level},
	{"max_connections", &settings.max_connections},
	{"max_connections_per_address", &settings.max_connections_per_address},
	{"header_size", &settings.header_size},
	{"target_size", &settings.target_size},
	{"body_size", &settings.body_size},
	{"header_timeout", &settings.header_timeout},
	{"body_timeout", &settings.body_timeout},
	{"min_body_rate", &settings.min_body_rate},
	{"write_timeout", &settings.write_timeout},
	{"keepalive_timeout", &settings.keepalive_timeout},
	{"acquire_timeout", &settings.acquire_timeout},
	{"auth_timeout", &settings.auth_timeout},
	{"websocket_message_size", &settings.websocket_message_size},
	{"websocket_messages", &settings.websocket_messages},
	{"heartbeat_interval", &settings.heartbeat_interval},
	{"websocket_compression", &settings.websocket_compression},
	{"rooms_per_connection", &settings.rooms_per_connection},
	{"batch_window", &settings.batch_window},
	{"stream_timeout", &settings.stream_timeout},
	{"drain_timeout", &settings.drain_timeout},
	{"queue_size", &settings.queue_size},
	{"requests_per_second", &settings.requests_per_second},
	{"compression_min_size", &settings.compression_min_size},
	{"compression_cache_size", &settings.compression_cache_size},
	{"cache_chunks", &config.cache_chunks},
	{"cache_max_object", &config.cache_max_object},
};

static const char *const counters[PENNY_COUNTERS] = {
	"accepted",   "refused",       "connections",  "websockets",    "rooms",
	"members",    "requests",      "errors",       "malformed",     "calls",
	"waiting",    "timeouts",      "frames_in",    "frames_out",    "events",
	"resyncs",    "cache_hits",    "cache_misses", "not_modified",  "gathered",
	"compressed", "variant_bytes", "slow",         "event_streams", "held",
};

static void
die(const char *what)
{
	fprintf(stderr, "fake_gateway: %s: %s\n", what, strerror(errno));
	exit(1);
}

static bool
set_name(const char *name, const char *value)
{
	if (strcmp(name, "origins") == 0)
	{
		snprintf(settings.origins, sizeof(settings.origins), "%s", value);
		return true;
	}
	if (strcmp(name, "codings") == 0)
	{
		/* one digit for each PennyCoding */
		for (int i = 0; i < PENNY_CODINGS; i++)
			settings.codings[i] = i < (int) strlen(value) ? (uint8_t) (value[i] - '0') : 0;
		return true;
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		if (strcmp(names[i].name, name) == 0)
		{
			*names[i].value = (uint32_t) strtoul(value, NULL, 10);
			return true;
		}
	}
	return false;
}

static void
listen_somewhere(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t len = sizeof(address);
	int on = 1;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
		bind(listener, (struct sockaddr *) &address, sizeof(address)) != 0 ||
		listen(listener, 1024) != 0 || getsockname(listener, (struct sockaddr *) &address, &len))
		die("listen");
	listener = fcntl(listener, F_DUPFD_CLOEXEC, HIGH);
	printf("port %d\n", ntohs(address.sin_port));
}

/* Move a descriptor out of the way of the edge's fixed ones. */
static void
move_high(int *fd)
{
	int high = fcntl(*fd, F_DUPFD_CLOEXEC, HIGH);

	if (high < 0)
		die("dup");
	close(*fd);
	*fd = high;
}

static void
make_plane(void)
{
	const char *failed = penny_plane_create(&plane, &config);

	if (failed != NULL)
		die(failed);
	move_high(&plane.p_fd);
	move_high(&plane.e_fd[0]);
	move_high(&plane.s_fd);
	move_high(&plane.edge_wake[0]);
	for (uint32_t i = 0; i <= config.executors; i++)
		move_high(&plane.sleeper_wake[i]);
	penny_plane_set_settings(&plane, &settings);
	fake_shared =
		mmap(NULL, sizeof(*fake_shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (fake_shared == MAP_FAILED)
		die("mmap");
}

static void
start_executors(void)
{
	pthread_mutexattr_t shared;

	pthread_mutexattr_init(&shared);
	pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&fake_shared->lock, &shared);
	for (uint32_t i = 0; i < config.executors; i++)
	{
		executor[i] = fork();
		if (executor[i] == 0)
		{
			prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
			fake_executor_run(&plane, (int) i);
		}
	}
}

static bool
send_certificate(void)
{
	size_t size = penny_certificate_size(&certificate);

	return send(control, &certificate, size, MSG_NOSIGNAL) == (ssize_t) size;
}

/* What is in a file. */
static uint32_t
read_pem(const char *path, char *out, size_t size)
{
	FILE *file = strcmp(path, "-") == 0 ? NULL : fopen(path, "r");
	size_t len = file != NULL ? fread(out, 1, size, file) : 0;

	if (file != NULL)
		fclose(file);
	return (uint32_t) len;
}

static void
give_certificate(const char *cert, const char *key)
{
	certificate.cert_len = read_pem(cert, certificate.bytes, PENNY_CERT_MAX);
	certificate.key_len = read_pem(key, certificate.bytes + certificate.cert_len, PENNY_KEY_MAX);
	/* Without an edge the next one gets it. */
	printf(send_certificate() || errno == EPIPE || errno == ECONNRESET ? "ok\n" : "failed\n");
}

/* As a gateway does: sweep, fork, descriptors to their places, exec. */
static void
start_edge(void)
{
	int pair[2];

	penny_plane_sweep(&plane, 0);
	if (control >= 0)
		close(control);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		die("socketpair");
	control = fcntl(pair[0], F_DUPFD_CLOEXEC, HIGH);
	close(pair[0]);
	pair[0] = fcntl(pair[1], F_DUPFD_CLOEXEC, HIGH);
	close(pair[1]);
	if (!send_certificate())
		die("send certificate");
	edge = fork();
	if (edge == 0)
	{
		char level[12];
		char *argv[] = {"penny-edge", "0", "1", level, NULL};
		char *envp[] = {NULL};
		int p = fcntl(penny_plane_readonly_fd(&plane), F_DUPFD, HIGH);

		snprintf(level, sizeof(level), "%u", log_level);
		setsid();
		dup2(p, PENNY_FD_P);
		dup2(plane.e_fd[0], PENNY_FD_E);
		dup2(plane.edge_wake[0], PENNY_FD_WAKE);
		dup2(pair[0], PENNY_FD_CONTROL);
		dup2(plane.s_fd, PENNY_FD_S);
		dup2(listener, PENNY_FD_LISTEN);
		for (uint32_t i = 0; i <= config.executors; i++)
			dup2(plane.sleeper_wake[i], PENNY_FD_SLEEPER + (int) i);
		close(0);
		dup2(2, 1);
		close_range(PENNY_FD_SLEEPER + config.executors + 1, ~0U, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		execve(edge_path, argv, envp);
		_exit(127);
	}
	close(pair[0]);
}

static void
print_counters(void)
{
	for (int i = 0; i < PENNY_COUNTERS; i++)
		printf("%s=%lu%c", counters[i], (unsigned long) penny_counter(&plane, 0, (PennyCounter) i),
			   i == PENNY_COUNTERS - 1 ? '\n' : ' ');
}

static void
publish(PennyEventKind kind, const char *room, const char *event)
{
	char frame[4096];
	PennyEventOut out = {.kind = kind, .room = room, .frame = frame};

	out.room_len = (uint32_t) strlen(room);
	if (event[0] != '\0')
		out.frame_len = (uint32_t) snprintf(
			frame, sizeof(frame), "{\"type\":\"event\",\"room\":\"%s\",\"event\":%s}", room, event);
	penny_event_publish(&plane, &out, 1, 1);
	penny_wake_edges(&plane);
	printf("ok\n");
}

static void
set_flag(const char *name, const char *value)
{
	uint32_t on = (uint32_t) atoi(value);

	if (strcmp(name, "unready") == 0)
		atomic_store(&fake_shared->unready, on);
	else if (strcmp(name, "frameless") == 0)
		atomic_store(&fake_shared->frameless, on);
	else if (strcmp(name, "closed") == 0)
		atomic_store(&fake_shared->closed, on);
	else if (strcmp(name, "page") == 0)
		atomic_store(&fake_shared->page, on);
	else if (strcmp(name, "pad") == 0)
		atomic_store(&fake_shared->pad, on);
	else if (strcmp(name, "extra") == 0 || strcmp(name, "refuse") == 0)
	{
		atomic_store(name[0] == 'e' ? &fake_shared->extra : &fake_shared->refuse, on);
		atomic_fetch_add(&plane.p->routes_stamp, 1);
		penny_wake_edges(&plane);
	}
	printf("ok\n");
}

static void
signal_executors(int signal)
{
	for (uint32_t i = 0; i < config.executors; i++)
		kill(executor[i], signal);
	printf("ok\n");
}

static bool
is_finished(uint64_t xid)
{
	(void) xid;
	return true;
}

static void
push(const char *tag)
{
	pthread_mutex_lock(&fake_shared->lock);
	penny_stamp_push(&plane, penny_stamp_slot(&plane, tag, strlen(tag)), 0, is_finished);
	pthread_mutex_unlock(&fake_shared->lock);
	printf("ok\n");
}

static void
obey(char *line)
{
	char *command = strsep(&line, " ");
	char *first = line != NULL ? strsep(&line, " ") : "";
	char *rest = line != NULL ? line : "";
	int status = 0;

	if (strcmp(command, "pid") == 0)
		printf("%d\n", edge);
	else if (strcmp(command, "kill") == 0)
	{
		kill(edge, SIGKILL);
		waitpid(edge, NULL, 0);
		start_edge();
		printf("%d\n", edge);
	}
	else if (strcmp(command, "term") == 0 || strcmp(command, "restart") == 0)
	{
		kill(edge, command[0] == 't' ? SIGTERM : SIGUSR1);
		waitpid(edge, &status, 0);
		printf("%d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status));
	}
	else if (strcmp(command, "reap") == 0)
	{
		waitpid(edge, &status, 0);
		printf("%d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status));
	}
	else if (strcmp(command, "start") == 0)
	{
		start_edge();
		printf("%d\n", edge);
	}
	else if (strcmp(command, "counters") == 0)
		print_counters();
	else if (strcmp(command, "executors") == 0)
		printf("calls=%lu cancelled=%lu built=%lu\n",
			   (unsigned long) atomic_load(&fake_shared->calls),
			   (unsigned long) atomic_load(&fake_shared->cancelled),
			   (unsigned long) atomic_load(&fake_shared->built));
	else if (strcmp(command, "commit") == 0)
		printf("%lu\n", (unsigned long) fake_commit(&plane, first, rest, strlen(rest)));
	else if (strcmp(command, "publish") == 0)
		publish(PENNY_EVENT_PUBLISH, first, rest);
	else if (strcmp(command, "stream") == 0)
		printf("%lu\n", (unsigned long) fake_stream(&plane, first));
	else if (strcmp(command, "recheck") == 0)
		publish(PENNY_EVENT_RECHECK, first, "");
	else if (strcmp(command, "resync") == 0)
		publish(PENNY_EVENT_RESYNC, "", "");
	else if (strcmp(command, "flag") == 0)
		set_flag(first, rest);
	else if (strcmp(command, "set") == 0 && set_name(first, rest))
	{
		penny_plane_set_settings(&plane, &settings);
		penny_wake_edges(&plane);
		printf("ok\n");
	}
	else if (strcmp(command, "push") == 0)
		push(first);
	else if (strcmp(command, "keys") == 0)
		printf("%lu\n", (unsigned long) atomic_fetch_add(&plane.p->keys_stamp, 1));
	else if (strcmp(command, "tls") == 0)
		give_certificate(first, rest);
	else if (strcmp(command, "stop") == 0)
		signal_executors(SIGSTOP);
	else if (strcmp(command, "go") == 0)
		signal_executors(SIGCONT);
	else if (!fake_jobs_obey(&plane, command, first, rest))
		printf("unknown\n");
}

/* As a unit test: the edge that was built, else the installed one. */
static void
run_tests(char *self)
{
	const char *program = getenv("PENNY_EDGE_PROGRAM");

	if (program == NULL || program[0] == '\0')
		program = access("./penny-edge", X_OK) == 0 ? "./penny-edge" : "penny-edge";
	execlp("python3", "python3", "-B", "test/unit/t_edge.py", self, program, (char *) NULL);
	die("python3");
}

int
main(int argc, char **argv)
{
	char line[65536];

	if (argc < 2)
		run_tests(argv[0]);
	setvbuf(stdout, NULL, _IOLBF, 0);
	edge_path = argv[1];
	for (int i = 2; i < argc; i++)
	{
		char *value = strchr(argv[i], '=');

		if (value == NULL)
			die("name=value expected");
		*value = '\0';
		if (!set_name(argv[i], value + 1))
			die(argv[i]);
	}
	make_plane();
	start_executors();
	listen_somewhere();
	start_edge();
	while (fgets(line, sizeof(line), stdin) != NULL)
	{
		line[strcspn(line, "\n")] = '\0';
		obey(line);
	}
	kill(edge, SIGKILL);
	waitpid(edge, NULL, 0);
	for (uint32_t i = 0; i < config.executors; i++)
	{
		kill(executor[i], SIGKILL);
		waitpid(executor[i], NULL, 0);
	}
	return 0;
}
