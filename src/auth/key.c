/*-------------------------------------------------------------------------
 *
 * key.c
 *		The keys that tokens are verified with.  See key.h.
 *
 * In shared memory because a backend that could read them there can read the
 * files, too: all processes of the server are one user of the system.  The
 * part is left out of core dumps.  Keys are never in a setting, a log line, a
 * view, or in the plane that the edge maps.
 *
 * Each process keeps OpenSSL's form of the public keys, made at their first
 * use and thrown away when `generation` has changed.
 *
 * Order of an exchange: keys and generation under the lock, then keys_stamp of
 * the plane is raised and edges are woken; they have each WebSocket's token
 * verified again (edge/session_auth.c).  Last, those who wait are told.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <sys/mman.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "utils/timestamp.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "auth/key.h"
#include "base/compat.h"
#include "base/planemap.h"
#include "base/registry.h"
#include "base/shmem.h"
#include "config/config.h"
#include "plane/plane.h"

#define PAGE 4096
#define HS256_LEN 32
#define ED25519_SIGNATURE 64
#define ANSWER_PATIENCE 30000 /* ms for the supervisor to take the keys */

/* All but the atomics and the variable under the lock. */
typedef struct Keys
{
	pg_atomic_uint64 asked;    /* reloads asked for */
	pg_atomic_uint64 answered; /* of them those that are in force */
	ConditionVariable answer;
	uint64 generation; /* raised with every exchange */
	PennyKeyStatus status[PENNY_KEY_SOURCES];
	PennyKeySet set[PENNY_KEY_SOURCES];
} Keys;

/* Where a key lies. */
typedef struct Place
{
	PennyKeySource source;
	int number;
} Place;

static char *area = NULL; /* Keys begins at its first page boundary */

/* This process's OpenSSL form of the keys of this generation. */
static EVP_PKEY *ready[PENNY_KEY_SOURCES][PENNY_KEYS_MAX];
static uint64 ready_generation = 0;
static uint32 wait_event = 0;
static uint64 asked_before = 0; /* supervisor: reloads asked for when settings were read */

static Size keys_size(void);
static void keys_create(void);
static bool take_file(PennyKeySource source, PennyKeySet *fresh);
static void announce(void);
static PennyJwtError choose(const PennyJwt *jwt, Place *place);
static bool fits(const Place *place, const PennyJwt *jwt, const char *token);
static bool fits_secret(const uint8 *secret, size_t secret_len, const PennyJwt *jwt,
						const char *token);
static bool fits_public(EVP_PKEY *key, PennyKeyAlgorithm algorithm, const PennyJwt *jwt,
						const char *token);
static EVP_PKEY *ready_key(const Place *place);

static const PennyShmemPart keys_part = {.name = "penny keys",
										 .size = keys_size,
										 .area = (void **) &area,
										 .init = keys_create,
										 .locks = 1};

void
penny_key_init(void)
{
	penny_shmem_register(&keys_part);
}

/* Room to start at a page of its own, and to end at one. */
static Size
keys_size(void)
{
	return TYPEALIGN(PAGE, sizeof(Keys)) + PAGE;
}

static Keys *
keys(void)
{
	return (Keys *) TYPEALIGN(PAGE, area);
}

/* Children inherit that the pages are not dumped; on huge pages they are. */
static void
keys_create(void)
{
	(void) madvise(keys(), TYPEALIGN(PAGE, sizeof(Keys)), MADV_DONTDUMP);
	pg_atomic_init_u64(&keys()->asked, 0);
	pg_atomic_init_u64(&keys()->answered, 0);
	ConditionVariableInit(&keys()->answer);
}

static LWLock *
keys_lock(void)
{
	static LWLock *lock = NULL;

	if (lock == NULL)
		lock = &GetNamedLWLockTranche(keys_part.name)->lock;
	return lock;
}

/* ---- supervisor --------------------------------------------------------- */

void
penny_key_load(void)
{
	bool changed = false;

	for (int source = 0; source < PENNY_KEY_SOURCES; source++)
	{
		PennyKeySet *fresh = palloc0(sizeof(PennyKeySet));

		changed |= take_file((PennyKeySource) source, fresh);
		OPENSSL_cleanse(fresh, sizeof(PennyKeySet));
		pfree(fresh);
	}
	if (changed)
		announce();
	if (asked_before > pg_atomic_read_u64(&keys()->answered))
	{
		pg_atomic_write_u64(&keys()->answered, asked_before);
		ConditionVariableBroadcast(&keys()->answer);
	}
}

/* What is asked for from now on, the settings to be read next may not show. */
bool
penny_key_asked(void)
{
	asked_before = pg_atomic_read_u64(&keys()->asked);
	pg_memory_barrier();
	return asked_before != pg_atomic_read_u64(&keys()->answered);
}

/* Take the keys of one file; true when others are in force than before. */
static bool
take_file(PennyKeySource source, PennyKeySet *fresh)
{
	const char *path = penny_key_path(source);
	const char *wrong = path[0] != '\0' ? penny_key_read(source, path, fresh) : NULL;
	PennyKeyStatus *status = &keys()->status[source];
	bool changed = false;
	bool told;

	LWLockAcquire(keys_lock(), LW_EXCLUSIVE);
	told = status->refused && wrong != NULL && strcmp(status->reason, wrong) == 0;
	status->refused = wrong != NULL;
	strlcpy(status->reason, wrong != NULL ? wrong : "", sizeof(status->reason));
	if (wrong == NULL)
	{
		changed = memcmp(&keys()->set[source], fresh, sizeof(*fresh)) != 0;
		memcpy(&keys()->set[source], fresh, sizeof(*fresh));
		keys()->generation += changed;
		status->count = fresh->count;
		status->skipped = fresh->skipped;
		status->taken = path[0] != '\0' ? GetCurrentTimestamp() : 0;
	}
	LWLockRelease(keys_lock());

	if (wrong != NULL && !told)
		ereport(LOG, (errcode(ERRCODE_CONFIG_FILE_ERROR),
					  errmsg("%s file \"%s\" was refused",
							 source == PENNY_SECRET_FILE ? "secret" : "key", path),
					  errdetail_internal("%s", wrong),
					  errhint("Keys that were taken from that setting before stay in force.")));
	return changed;
}

/* Edges shall have the tokens of open WebSockets verified again. */
static void
announce(void)
{
	PennyPlane *plane = penny_plane();

	atomic_fetch_add(&plane->p->keys_stamp, 1);
	penny_wake_edges(plane);
}

/* ---- any backend -------------------------------------------------------- */

int
penny_key_reload(void)
{
	uint64 mine;
	int total = 0;
	PennyKeyStatus status[PENNY_KEY_SOURCES];

	if (RecoveryInProgress())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("penny does not run on a standby")));
	/* as pg_reload_conf(), for settings that other processes use */
	if (kill(PostmasterPid, SIGHUP) != 0)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not send signal to postmaster: %m")));

	if (wait_event == 0)
		wait_event = penny_wait_event_new("PennyKeyReload");
	mine = pg_atomic_add_fetch_u64(&keys()->asked, 1);
	penny_supervisor_wake();
	ConditionVariablePrepareToSleep(&keys()->answer);
	while (pg_atomic_read_u64(&keys()->answered) < mine)
	{
		if (ConditionVariableTimedSleep(&keys()->answer, ANSWER_PATIENCE, wait_event))
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("penny did not take the keys in time"),
							errhint("Is the process \"penny supervisor\" running?")));
	}
	ConditionVariableCancelSleep();

	for (int source = 0; source < PENNY_KEY_SOURCES; source++)
	{
		penny_key_status((PennyKeySource) source, &status[source]);
		total += status[source].count;
	}
	for (int source = 0; source < PENNY_KEY_SOURCES; source++)
	{
		if (status[source].refused)
			ereport(ERROR,
					(errcode(ERRCODE_CONFIG_FILE_ERROR),
					 errmsg("file of setting \"%s\" was refused", source == PENNY_SECRET_FILE
																	  ? "penny.jwt_secret_file"
																	  : "penny.jwt_key_file"),
					 errdetail_internal("%s", status[source].reason),
					 errhint("Keys that were taken from that setting before stay in force.")));
	}
	return total;
}

void
penny_key_status(PennyKeySource source, PennyKeyStatus *status)
{
	LWLockAcquire(keys_lock(), LW_SHARED);
	*status = keys()->status[source];
	LWLockRelease(keys_lock());
}

int
penny_key_count(PennyKeyAlgorithm algorithm, int *without_kid)
{
	int count = 0;

	*without_kid = 0;
	LWLockAcquire(keys_lock(), LW_SHARED);
	for (int source = 0; source < PENNY_KEY_SOURCES; source++)
	{
		const PennyKeySet *set = &keys()->set[source];

		for (int i = 0; i < set->count; i++)
		{
			if (set->key[i].algorithm != algorithm)
				continue;
			count++;
			*without_kid += set->key[i].kid[0] == '\0';
		}
	}
	LWLockRelease(keys_lock());
	return count;
}

/* ---- executors ---------------------------------------------------------- */

bool
penny_key_exists(void)
{
	bool found;

	LWLockAcquire(keys_lock(), LW_SHARED);
	found = keys()->set[PENNY_SECRET_FILE].count + keys()->set[PENNY_KEY_FILE].count > 0;
	LWLockRelease(keys_lock());
	return found;
}

PennyJwtError
penny_key_verify(const PennyJwt *jwt, const char *token)
{
	Place place;
	PennyJwtError error;

	LWLockAcquire(keys_lock(), LW_SHARED);
	error = choose(jwt, &place);
	if (error == PENNY_JWT_OK && !fits(&place, jwt, token))
		error = PENNY_JWT_BAD_SIGNATURE;
	LWLockRelease(keys_lock());
	ERR_clear_error();
	return error;
}

/* Find the one key that may have signed the token; see key.h. */
static PennyJwtError
choose(const PennyJwt *jwt, Place *place)
{
	PennyKeyAlgorithm algorithm;
	bool known = penny_key_algorithm_find(jwt->alg, &algorithm);
	bool kids = false;
	int fitting = 0;

	for (int source = 0; source < PENNY_KEY_SOURCES; source++)
	{
		const PennyKeySet *set = &keys()->set[source];

		for (int i = 0; i < set->count; i++)
		{
			const PennyJwtKey *key = &set->key[i];

			kids = kids || key->kid[0] != '\0';
			if (jwt->kid[0] != '\0' && strcmp(key->kid, jwt->kid) == 0)
			{
				*place = (Place){(PennyKeySource) source, i};
				return known && key->algorithm == algorithm ? PENNY_JWT_OK : PENNY_JWT_BAD_ALG;
			}
			if (known && key->algorithm == algorithm)
			{
				*place = (Place){(PennyKeySource) source, i};
				fitting++;
			}
		}
	}
	if (jwt->kid[0] != '\0' && kids)
		return PENNY_JWT_BAD_KID;
	if (fitting == 0)
		return PENNY_JWT_BAD_ALG;
	return fitting == 1 ? PENNY_JWT_OK : PENNY_JWT_MANY_KEYS;
}

/* Under the lock: does the signature fit? */
static bool
fits(const Place *place, const PennyJwt *jwt, const char *token)
{
	const PennyKeySet *set = &keys()->set[place->source];
	const PennyJwtKey *key = &set->key[place->number];
	EVP_PKEY *verifier;

	if (key->algorithm == PENNY_HS256)
		return fits_secret(set->data + key->at, key->len, jwt, token);
	verifier = ready_key(place);
	return verifier != NULL && fits_public(verifier, key->algorithm, jwt, token);
}

static bool
fits_secret(const uint8 *secret, size_t secret_len, const PennyJwt *jwt, const char *token)
{
	uint8 expected[EVP_MAX_MD_SIZE];
	unsigned int expected_len = 0;

	if (jwt->signature_len != HS256_LEN)
		return false;
	if (HMAC(EVP_sha256(), secret, (int) secret_len, (const uint8 *) token, jwt->signed_len,
			 expected, &expected_len) == NULL ||
		expected_len != HS256_LEN)
		return false;
	return CRYPTO_memcmp(expected, jwt->signature, HS256_LEN) == 0;
}

/* Signatures of exactly the length that the key gives them. */
static bool
fits_public(EVP_PKEY *key, PennyKeyAlgorithm algorithm, const PennyJwt *jwt, const char *token)
{
	bool rsa = algorithm == PENNY_RS256;
	size_t wanted = rsa ? (size_t) EVP_PKEY_size(key) : ED25519_SIGNATURE;
	EVP_MD_CTX *context;
	EVP_PKEY_CTX *of_key = NULL;
	bool ok;

	if (jwt->signature_len != wanted)
		return false;
	context = EVP_MD_CTX_new();
	ok = context != NULL &&
		 EVP_DigestVerifyInit(context, &of_key, rsa ? EVP_sha256() : NULL, NULL, key) == 1 &&
		 (!rsa || EVP_PKEY_CTX_set_rsa_padding(of_key, RSA_PKCS1_PADDING) == 1) &&
		 EVP_DigestVerify(context, jwt->signature, jwt->signature_len, (const uint8 *) token,
						  jwt->signed_len) == 1;
	EVP_MD_CTX_free(context);
	return ok;
}

/* OpenSSL's form of a public key, of the keys in force. */
static EVP_PKEY *
ready_key(const Place *place)
{
	const PennyKeySet *set = &keys()->set[place->source];
	const PennyJwtKey *key = &set->key[place->number];
	EVP_PKEY **slot = &ready[place->source][place->number];

	if (ready_generation != keys()->generation)
	{
		for (int source = 0; source < PENNY_KEY_SOURCES; source++)
		{
			for (int i = 0; i < PENNY_KEYS_MAX; i++)
				EVP_PKEY_free(ready[source][i]);
		}
		memset(ready, 0, sizeof(ready));
		ready_generation = keys()->generation;
	}
	if (*slot == NULL)
	{
		const uint8 *der = set->data + key->at;

		*slot = d2i_PUBKEY(NULL, &der, (long) key->len);
	}
	return *slot;
}
