/*-------------------------------------------------------------------------
 *
 * relay.c
 *		penny relay: the one process that talks to Redis for all that commits.
 *
 * Started by the supervisor while penny.redis_url is set.  It has two
 * connections, one for commands (relay_write.c) and one for messages
 * (relay_listen.c), and waits on both, on its latch, and on the clock.  No
 * transaction is open while it waits, or at any time.
 *
 * When a setting that it stands on has changed it ends, and the supervisor
 * starts another; so there is one way to begin, and nothing of the old server
 * is left.  What commits meanwhile waits in the ring.
 *
 * It finds out the server's address and reads the password, and shows readers
 * both once its own connection works (shared.h: target).  It also makes the
 * breaker's tries.
 *
 * A slow name server holds up this process alone (address.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/resowner.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/registry.h"
#include "base/worker.h"
#include "config/config.h"
#include "redis/relay.h"

#define FIND_PAUSE 5000    /* ms until a name that was not found is looked for again */
#define FIND_AGAIN 20      /* attempts that failed, after which it is looked for anew */
#define PREPARED_PAUSE 100 /* ms between looks at prepared transactions */

extern PGDLLEXPORT void penny_relay_main(Datum main_arg);

/* What the settings say; a change of it ends the relay. */
typedef struct RelaySettings
{
	char url[1024];
	char prefix[128];
	char password[PENNY_REDIS_PASSWORD_SIZE];
	char fault[160]; /* why the password's file is refused, or empty */
} RelaySettings;

static RelaySettings settings;
static PennyRedisUrl url;
static PennyAddresses addresses;
static PennyRedisTarget target; /* how to sign in; the address once it works */
static int64 find_at = 0;
static const PennyRedisHooks *hooks = NULL;

static void attach(void);
static void detach(int code, Datum arg);
static void read_settings(RelaySettings *out);
static bool begin(void);
static void show(const PennyRedisTarget *shown);
static void find_server(int64 now);
static void turn(void *arg);
static void try_breaker(int64 now);
static WaitEventSet *wait_set(WaitEventSet *old);
static void wait_for_work(WaitEventSet *set);
static int64 due(int64 now);

void
penny_redis_set_hooks(const PennyRedisHooks *what)
{
	hooks = what;
}

const PennyRedisHooks *
penny_redis_hooks(void)
{
	return hooks;
}

/* Main function of the worker. */
void
penny_relay_main(Datum main_arg)
{
	WaitEventSet *set = NULL;
	bool going;

	penny_worker_begin(PENNY_RELAY, DatumGetInt32(main_arg));
	penny_worker_connect(NULL, NULL);
	attach();
	/* HMAC contexts want an owner, and no transaction has one for them here */
	CurrentResourceOwner = ResourceOwnerCreate(NULL, "penny relay");
	going = begin();
	while (going && !ShutdownRequestPending)
	{
		penny_worker_guard(turn, NULL);
		set = wait_set(set);
		wait_for_work(set);
		if (penny_worker_tick())
		{
			RelaySettings now;

			read_settings(&now);
			going = memcmp(&now, &settings, sizeof(now)) == 0;
			explicit_bzero(&now, sizeof(now));
		}
	}
	proc_exit(0);
}

/* ---- beginning and ending ------------------------------------------------------- */

/* One relay at a time. */
static void
attach(void)
{
	uint32 nobody = 0;

	if (!pg_atomic_compare_exchange_u32(&penny_redis_shared->relay_pid, &nobody,
										(uint32) MyProcPid))
		proc_exit(0);
	before_shmem_exit(detach, (Datum) 0);
	pg_atomic_write_u64(&penny_redis_shared->relay_began, (uint64) penny_clock_ms());
	pg_atomic_write_u32(&penny_redis_shared->relay_proc, (uint32) PENNY_MY_PROC_NUMBER + 1);
	penny_link_init(&penny_relay_commands);
	penny_link_init(&penny_relay_messages);
}

/* Readers have no address any more; the supervisor may start another. */
static void
detach(int code, Datum arg)
{
	PennyRedisTarget none = {.address_len = 0};

	(void) code;
	(void) arg;
	show(&none);
	pg_atomic_write_u32(&penny_redis_shared->link_write, 0);
	pg_atomic_write_u32(&penny_redis_shared->link_listen, 0);
	pg_atomic_write_u32(&penny_redis_shared->relay_proc, 0);
	pg_atomic_write_u64(&penny_redis_shared->relay_lived,
						(uint64) penny_clock_ms() -
							pg_atomic_read_u64(&penny_redis_shared->relay_began));
	pg_atomic_write_u32(&penny_redis_shared->relay_pid, 0);
	penny_supervisor_wake();
}

static void
read_settings(RelaySettings *out)
{
	const char *wrong = NULL;

	memset(out, 0, sizeof(*out));
	strlcpy(out->url, penny_redis_url, sizeof(out->url));
	strlcpy(out->prefix, penny_redis_prefix, sizeof(out->prefix));
	if (penny_redis_password_file[0] != '\0')
		wrong = penny_redis_read_password(penny_redis_password_file, out->password,
										  sizeof(out->password));
	if (wrong != NULL)
	{
		explicit_bzero(out->password, sizeof(out->password));
		strlcpy(out->fault, wrong, sizeof(out->fault));
	}
}

/* Settings into what is worked with; false: there is nothing to do. */
static bool
begin(void)
{
	const char *hint;

	read_settings(&settings);
	if (settings.url[0] == '\0' || penny_redis_url_parse(settings.url, &url, &hint) != NULL)
		return false;
	memset(&target, 0, sizeof(target));
	target.db = url.db;
	strlcpy(target.user, url.user, sizeof(target.user));
	strlcpy(target.password, settings.password[0] != '\0' ? settings.password : url.password,
			sizeof(target.password));
	if (settings.fault[0] != '\0')
		ereport(LOG,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("the file of \"penny.redis_password_file\" is not used"),
				 errdetail("%s", settings.fault),
				 errhint("Correct the file and reload; until then penny signs in to Redis without "
						 "it.")));
	pg_atomic_write_u32(&penny_redis_shared->sweep, 1);
	penny_redis_prepared_begin();
	return true;
}

/* What readers are to use. */
static void
show(const PennyRedisTarget *shown)
{
	LWLockAcquire(penny_redis_lock(PENNY_REDIS_LOCK_TARGET), LW_EXCLUSIVE);
	if (memcmp(&penny_redis_shared->target, shown, sizeof(*shown)) != 0)
	{
		penny_redis_shared->target = *shown;
		pg_atomic_fetch_add_u64(&penny_redis_shared->generation, 1);
	}
	LWLockRelease(penny_redis_lock(PENNY_REDIS_LOCK_TARGET));
}

void
penny_relay_show_target(void)
{
	target.address = addresses.address[addresses.current];
	target.address_len = addresses.len[addresses.current];
	show(&target);
}

/* ---- each turn -------------------------------------------------------------------- */

static void
turn(void *arg)
{
	int64 now = penny_clock_ms();

	(void) arg;
	find_server(now);
	penny_link_step(&penny_relay_messages, &addresses, &target);
	penny_link_step(&penny_relay_commands, &addresses, &target);
	(void) penny_redis_prepared_settle();
	try_breaker(penny_clock_ms());
	penny_relay_write_turn(penny_clock_ms());
}

/* Look the server up at first, and again when nothing has worked for a while. */
static void
find_server(int64 now)
{
	static int failed = 0;
	const char *wrong;

	if (penny_relay_commands.state == PENNY_LINK_DOWN && penny_relay_commands.attempts > failed &&
		addresses.n > 0)
	{
		addresses.current = penny_relay_commands.attempts % addresses.n;
		failed = penny_relay_commands.attempts;
		if (failed % FIND_AGAIN == 0)
			addresses.n = 0;
	}
	else if (penny_relay_commands.attempts < failed)
		failed = penny_relay_commands.attempts;
	if (addresses.n > 0 || now < find_at)
		return;
	wrong = penny_address_find(&url, &addresses);
	if (wrong == NULL)
		return;
	find_at = penny_clock_ms() + FIND_PAUSE;
	if (strcmp(penny_relay_commands.told, wrong) != 0)
		ereport(LOG, (errcode(ERRCODE_CONNECTION_FAILURE),
					  errmsg("could not find the host of \"penny.redis_url\": %s", wrong),
					  errdetail("Requests are served without Redis; it is looked for again.")));
	strlcpy(penny_relay_commands.told, wrong, sizeof(penny_relay_commands.told));
	LWLockAcquire(penny_redis_lock(PENNY_REDIS_LOCK_TARGET), LW_EXCLUSIVE);
	strlcpy(penny_redis_shared->fault, wrong, sizeof(penny_redis_shared->fault));
	LWLockRelease(penny_redis_lock(PENNY_REDIS_LOCK_TARGET));
}

/* An open breaker: read as readers would, when its pause is over. */
static void
try_breaker(int64 now)
{
	PennyBreaker *breaker = &penny_redis_shared->breaker;
	bool wanted;
	bool good;

	if (penny_relay_commands.state != PENNY_LINK_UP || penny_redis_closed())
		return;
	SpinLockAcquire(&penny_redis_shared->mutex);
	wanted = penny_breaker_probe(breaker, now);
	SpinLockRelease(&penny_redis_shared->mutex);
	if (!wanted)
		return;
	good = penny_redis_try();
	SetLatch(MyLatch); /* the try may have taken a wake that was not meant for it */
	now = penny_clock_ms();
	SpinLockAcquire(&penny_redis_shared->mutex);
	penny_breaker_probed(breaker, good, now, pg_prng_uint64(&pg_global_prng_state));
	SpinLockRelease(&penny_redis_shared->mutex);
}

/* ---- waiting ------------------------------------------------------------------------ */

static PennyLink *const links[2] = {&penny_relay_commands, &penny_relay_messages};
static int set_position[2];

/* A set cannot lose a socket: a new one when one of them is another. */
static WaitEventSet *
wait_set(WaitEventSet *old)
{
	static uint32 opened[2];
	static int events[2];
	bool same = old != NULL;

	for (int i = 0; i < 2; i++)
	{
		int wanted = penny_link_events(links[i]);

		same = same && opened[i] == links[i]->opened && (wanted == 0) == (events[i] == 0);
	}
	if (!same)
	{
		if (old != NULL)
			FreeWaitEventSet(old);
		old = penny_wait_event_set_create(4);
		AddWaitEventToSet(old, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
		AddWaitEventToSet(old, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	}
	for (int i = 0; i < 2; i++)
	{
		int wanted = penny_link_events(links[i]);

		if (!same && wanted != 0)
			set_position[i] =
				AddWaitEventToSet(old, (uint32) wanted, links[i]->wire.fd, NULL, (void *) links[i]);
		else if (same && wanted != events[i])
			ModifyWaitEvent(old, set_position[i], (uint32) wanted, NULL);
		opened[i] = links[i]->opened;
		events[i] = wanted;
	}
	return old;
}

static void
wait_for_work(WaitEventSet *set)
{
	WaitEvent event[4];
	int64 now = penny_clock_ms();
	int n = WaitEventSetWait(set, penny_clock_timeout(now, due(now)), event, lengthof(event),
							 penny_worker_wait_event());

	for (int i = 0; i < n; i++)
	{
		if (event[i].events & WL_LATCH_SET)
			ResetLatch(MyLatch);
		else if (event[i].user_data != NULL)
			penny_link_ready(event[i].user_data, &target);
	}
}

/* When something is to be done without anybody waking us. */
static int64
due(int64 now)
{
	PennyBreaker *breaker = &penny_redis_shared->breaker;
	int64 at = addresses.n == 0 ? find_at : PENNY_NEVER;

	for (int i = 0; i < 2 && addresses.n > 0; i++)
		at = Min(at, penny_link_due(links[i]));
	at = Min(at, penny_relay_write_due());
	if (penny_relay_commands.state == PENNY_LINK_UP && !penny_redis_closed())
	{
		SpinLockAcquire(&penny_redis_shared->mutex);
		at = Min(at, breaker->retry_at);
		SpinLockRelease(&penny_redis_shared->mutex);
	}
	if (pg_atomic_read_u32(&penny_redis_shared->prepared) != 0 ||
		pg_atomic_read_u32(&penny_redis_shared->prepared_lost) != 0)
		at = Min(at, now + PREPARED_PAUSE);
	return at;
}
