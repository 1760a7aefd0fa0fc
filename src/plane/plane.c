/*-------------------------------------------------------------------------
 *
 * plane.c
 *		Make the plane, attach to it, settings, wakes, counters.
 *
 * A memory file can be opened again read-write through /proc by any process
 * of the same user, so a read-only descriptor alone protects nothing: region P
 * is sealed against future writable mappings after PostgreSQL has made its
 * own.  Region E must stay writable for the edge, but is sealed against
 * shrinking, since a truncated mapping would kill PostgreSQL by SIGBUS.  Both
 * are allocated at once, so that a shortage of memory is an error at start and
 * not a signal later.
 *
 * Wakes: a sleeper's word is odd while it sleeps, and only the sleeper writes
 * it.  Sleeper: set odd, full fence, look again, sleep.  Waker: publish, full
 * fence, read; if odd and not yet woken, write the eventfd.  One of the two
 * sees the other, so a wake may be extra but never lost.
 *
 *-------------------------------------------------------------------------
 */
#include "plane/plane.h"

#include "plane/call.h"
#include "plane/share.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define SLEEPERS(config) ((config)->executors + 1)

static const char *create_regions(PennyPlane *plane);
static const char *create_wakes(PennyPlane *plane);
static void *create_region(const char *name, size_t size, int seals, int *fd);
static void reset_handle(PennyPlane *plane);
static void signal_eventfd(int fd);
static void drain_eventfd(int fd);
static uint64_t next_even(uint64_t word);

static inline size_t
align_up(size_t size, size_t to)
{
	return (size + to - 1) / to * to;
}

static inline bool
power_of_two(uint32_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

/* Check a configuration and compute where the parts lie. */
bool
penny_plane_sizes(const PennyPlaneConfig *config, PennyPlaneSizes *sizes)
{
	size_t slots;

	if (config->edges < 1 || config->edges > PENNY_MAX_EDGES || config->executors < 1 ||
		config->executors > PENNY_MAX_EXECUTORS || config->slots < 1 ||
		config->slots > PENNY_MAX_SLOTS)
		return false;
	if (config->request_size < 1024 || config->request_size > (64 << 20) ||
		config->request_size % PENNY_CACHE_LINE != 0 || config->response_size < 1024 ||
		config->response_size > (64 << 20) || config->response_size % PENNY_CACHE_LINE != 0)
		return false;
	if (!power_of_two(config->events) || config->events < 16 || config->events > (1 << 24) ||
		!power_of_two(config->event_bytes) || config->event_bytes < 4096 ||
		config->event_bytes > (1 << 30))
		return false;

	slots = (size_t) config->edges * config->slots;
	sizes->slot_words = align_up(sizeof(PennyPlaneHeader), 4096);
	sizes->responses = align_up(sizes->slot_words + slots * sizeof(PennySlotWord), 4096);
	sizes->response_stride =
		align_up(sizeof(PennyResponseHead) + config->response_size, PENNY_CACHE_LINE);
	sizes->events = align_up(sizes->responses + slots * sizes->response_stride, 4096);
	sizes->event_bytes =
		align_up(sizes->events + (size_t) config->events * sizeof(PennyEventSlot), 4096);
	sizes->p_size = align_up(sizes->event_bytes + config->event_bytes, 4096);

	sizes->requests = align_up(sizeof(PennyEdgeHeader), 4096);
	sizes->request_stride =
		align_up(sizeof(PennyRequestHead) + config->request_size, PENNY_CACHE_LINE);
	sizes->e_size = align_up(sizes->requests + config->slots * sizes->request_stride, 4096);
	return true;
}

/* Make the plane; the postmaster's work. */
const char *
penny_plane_create(PennyPlane *plane, const PennyPlaneConfig *config)
{
	const char *failed;

	reset_handle(plane);
	plane->config = *config;
	if (!penny_plane_sizes(config, &plane->sizes))
	{
		errno = EINVAL;
		return "check of the sizes";
	}
	failed = create_regions(plane);
	if (failed == NULL)
		failed = create_wakes(plane);
	if (failed != NULL)
	{
		int save_errno = errno;

		penny_plane_destroy(plane);
		errno = save_errno;
	}
	return failed;
}

static const char *
create_regions(PennyPlane *plane)
{
	const int seals_e = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

	plane->p =
		create_region("penny-p", plane->sizes.p_size, F_SEAL_FUTURE_WRITE | seals_e, &plane->p_fd);
	if (plane->p == NULL)
		return "allocation of region P";

	plane->p->magic = PENNY_PLANE_MAGIC;
	plane->p->layout = PENNY_PLANE_LAYOUT;
	plane->p->config = plane->config;
	if (getrandom(&plane->p->generation, sizeof(uint64_t), 0) != sizeof(uint64_t))
		return "getrandom";

	plane->s = create_region("penny-s", sizeof(PennySharedHeader), seals_e, &plane->s_fd);
	if (plane->s == NULL)
		return "allocation of region S";
	plane->s->magic = PENNY_PLANE_MAGIC;
	if (getrandom(&plane->s->seed, sizeof(uint64_t), 0) != sizeof(uint64_t))
		return "getrandom";

	for (uint32_t i = 0; i < plane->config.edges; i++)
	{
		plane->e[i] = create_region("penny-e", plane->sizes.e_size, seals_e, &plane->e_fd[i]);
		if (plane->e[i] == NULL)
			return "allocation of region E";
		plane->e[i]->magic = PENNY_PLANE_MAGIC;
	}
	return NULL;
}

/* A sealed memory file, allocated and mapped; NULL and errno on failure. */
static void *
create_region(const char *name, size_t size, int seals, int *fd)
{
	void *map;

	*fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd < 0)
		return NULL;
	if (ftruncate(*fd, (off_t) size) < 0 || fallocate(*fd, 0, 0, (off_t) size) < 0)
		return NULL;
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	if (map == MAP_FAILED)
		return NULL;
	if (fcntl(*fd, F_ADD_SEALS, seals) < 0)
	{
		munmap(map, size);
		return NULL;
	}
	return map;
}

static const char *
create_wakes(PennyPlane *plane)
{
	for (uint32_t i = 0; i < plane->config.edges; i++)
	{
		plane->edge_wake[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (plane->edge_wake[i] < 0)
			return "eventfd";
	}
	for (uint32_t i = 0; i < SLEEPERS(&plane->config); i++)
	{
		plane->sleeper_wake[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (plane->sleeper_wake[i] < 0)
			return "eventfd";
	}
	return NULL;
}

static void
reset_handle(PennyPlane *plane)
{
	memset(plane, 0, sizeof(*plane));
	plane->self = -1;
	plane->p_fd = plane->s_fd = -1;
	for (int i = 0; i < PENNY_MAX_EDGES; i++)
		plane->e_fd[i] = plane->edge_wake[i] = -1;
	for (int i = 0; i <= PENNY_MAX_EXECUTORS; i++)
		plane->sleeper_wake[i] = -1;
}

/* Unmap and close everything that is there. */
void
penny_plane_destroy(PennyPlane *plane)
{
	if (plane->p != NULL)
		munmap(plane->p, plane->sizes.p_size);
	if (plane->p_fd >= 0)
		close(plane->p_fd);
	if (plane->s != NULL)
		munmap(plane->s, sizeof(*plane->s));
	if (plane->s_fd >= 0)
		close(plane->s_fd);
	for (int i = 0; i < PENNY_MAX_EDGES; i++)
	{
		if (plane->e[i] != NULL)
			munmap(plane->e[i], plane->sizes.e_size);
		if (plane->e_fd[i] >= 0)
			close(plane->e_fd[i]);
		if (plane->edge_wake[i] >= 0)
			close(plane->edge_wake[i]);
	}
	for (int i = 0; i <= PENNY_MAX_EXECUTORS; i++)
	{
		if (plane->sleeper_wake[i] >= 0)
			close(plane->sleeper_wake[i]);
	}
	reset_handle(plane);
}

/* Region P once more, read-only: what an edge is given. */
int
penny_plane_readonly_fd(const PennyPlane *plane)
{
	char path[64];
	char digits[16];
	int n = 0;
	int fd = plane->p_fd;
	size_t len = strlen("/proc/self/fd/");

	memcpy(path, "/proc/self/fd/", len);
	do
	{
		digits[n++] = (char) ('0' + fd % 10);
		fd /= 10;
	} while (fd > 0);
	while (n > 0)
		path[len++] = digits[--n];
	path[len] = '\0';
	return open(path, O_RDONLY | O_CLOEXEC);
}

/*
 * In a started edge: map both regions and close their descriptors.  The
 * header is read through a small mapping first; the sizes that follow from it
 * must be those of the files.
 */
const char *
penny_plane_attach(PennyPlane *plane, int self)
{
	PennyPlaneHeader *header;
	struct stat p_stat;
	struct stat e_stat;
	struct stat s_stat;

	reset_handle(plane);
	errno = 0;
	if (fstat(PENNY_FD_P, &p_stat) < 0 || fstat(PENNY_FD_E, &e_stat) < 0 ||
		fstat(PENNY_FD_S, &s_stat) < 0)
		return "fstat of the plane";
	if ((size_t) p_stat.st_size < sizeof(PennyPlaneHeader))
		return "check of region P";
	header = mmap(NULL, sizeof(*header), PROT_READ, MAP_SHARED, PENNY_FD_P, 0);
	if (header == MAP_FAILED)
		return "mmap of region P";
	plane->config = header->config;
	if (header->magic != PENNY_PLANE_MAGIC || header->layout != PENNY_PLANE_LAYOUT ||
		!penny_plane_sizes(&plane->config, &plane->sizes) ||
		plane->sizes.p_size != (size_t) p_stat.st_size ||
		plane->sizes.e_size != (size_t) e_stat.st_size ||
		(size_t) s_stat.st_size < sizeof(PennySharedHeader) || self < 0 ||
		(uint32_t) self >= plane->config.edges)
	{
		munmap(header, sizeof(*header));
		return "check of the plane's layout";
	}
	munmap(header, sizeof(*header));

	plane->p = mmap(NULL, plane->sizes.p_size, PROT_READ, MAP_SHARED, PENNY_FD_P, 0);
	if (plane->p == MAP_FAILED)
	{
		plane->p = NULL;
		return "mmap of region P";
	}
	plane->e[self] =
		mmap(NULL, plane->sizes.e_size, PROT_READ | PROT_WRITE, MAP_SHARED, PENNY_FD_E, 0);
	if (plane->e[self] == MAP_FAILED)
	{
		plane->e[self] = NULL;
		return "mmap of region E";
	}
	plane->s = mmap(NULL, sizeof(*plane->s), PROT_READ | PROT_WRITE, MAP_SHARED, PENNY_FD_S, 0);
	if (plane->s == MAP_FAILED)
	{
		plane->s = NULL;
		return "mmap of region S";
	}
	close(PENNY_FD_P);
	close(PENNY_FD_E);
	close(PENNY_FD_S);
	plane->self = self;
	plane->edge_wake[self] = PENNY_FD_WAKE;
	for (uint32_t i = 0; i < SLEEPERS(&plane->config); i++)
		plane->sleeper_wake[i] = PENNY_FD_SLEEPER + (int) i;
	return NULL;
}

/* Publish settings: odd while they are written. */
void
penny_plane_set_settings(PennyPlane *plane, const PennyEdgeSettings *settings)
{
	uint64_t seq = atomic_load_explicit(&plane->p->settings_seq, memory_order_relaxed);

	/* A gateway that died half-way left it odd; start from the next even. */
	if (seq & 1)
		seq++;
	atomic_store_explicit(&plane->p->settings_seq, seq + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	memcpy(&plane->p->settings, settings, sizeof(*settings));
	atomic_store_explicit(&plane->p->settings_seq, seq + 2, memory_order_release);
}

/* Copy the settings out; false when none are there or they are being written. */
bool
penny_plane_settings(const PennyPlane *plane, PennyEdgeSettings *settings)
{
	uint64_t seq = atomic_load_explicit(&plane->p->settings_seq, memory_order_acquire);

	if (seq == 0 || (seq & 1))
		return false;
	memcpy(settings, &plane->p->settings, sizeof(*settings));
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&plane->p->settings_seq, memory_order_relaxed) != seq)
		return false;
	settings->origins[PENNY_ORIGINS_SIZE - 1] = '\0';
	settings->hosts[PENNY_HOSTS_SIZE - 1] = '\0';
	return true;
}

/* ---- sleeping and waking ------------------------------------------------ */

static uint64_t
next_even(uint64_t word)
{
	return (word | 1) + 1;
}

void
penny_sleeper_prepare(PennyPlane *plane, int sleeper)
{
	PennySleeper *s = &plane->p->sleeper[sleeper];
	uint64_t word = atomic_load_explicit(&s->word, memory_order_relaxed);

	atomic_store_explicit(&s->word, word | 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
}

void
penny_sleeper_awake(PennyPlane *plane, int sleeper)
{
	PennySleeper *s = &plane->p->sleeper[sleeper];
	uint64_t word = atomic_load_explicit(&s->word, memory_order_relaxed);

	if (word & 1)
		atomic_store_explicit(&s->word, word + 1, memory_order_release);
	drain_eventfd(plane->sleeper_wake[sleeper]);
}

/*
 * A process takes or leaves an entry.  The word goes on from its predecessor's
 * value, never back: an edge remembers which values it has woken.
 */
void
penny_sleeper_set_present(PennyPlane *plane, int sleeper, bool present)
{
	PennySleeper *s = &plane->p->sleeper[sleeper];
	uint64_t word = atomic_load_explicit(&s->word, memory_order_relaxed);

	atomic_store_explicit(&s->word, next_even(word), memory_order_release);
	atomic_store_explicit(&s->present, present ? 1 : 0, memory_order_release);
}

void
penny_edge_prepare_sleep(PennyPlane *plane)
{
	PennyEdgeHeader *e = plane->e[plane->self];
	uint64_t word = atomic_load_explicit(&e->sleep_word, memory_order_relaxed);

	atomic_store_explicit(&e->sleep_word, word | 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
}

void
penny_edge_awake(PennyPlane *plane)
{
	PennyEdgeHeader *e = plane->e[plane->self];
	uint64_t word = atomic_load_explicit(&e->sleep_word, memory_order_relaxed);

	if (word & 1)
		atomic_store_explicit(&e->sleep_word, word + 1, memory_order_release);
}

/*
 * Wake an edge.  Many processes may try: the one that takes `woken` to the
 * word it saw writes the eventfd.  The word is read once, so that an edge that
 * changes it all the time cannot hold anybody here.
 */
void
penny_wake_edge(PennyPlane *plane, int edge)
{
	PennyEdgeControl *control = &plane->p->edge[edge];
	uint64_t word;
	uint64_t woken;

	atomic_thread_fence(memory_order_seq_cst);
	word = atomic_load_explicit(&plane->e[edge]->sleep_word, memory_order_relaxed);
	if ((word & 1) == 0)
		return;
	woken = atomic_load_explicit(&control->woken, memory_order_relaxed);
	while (woken != word)
	{
		if (atomic_compare_exchange_weak_explicit(&control->woken, &woken, word,
												  memory_order_seq_cst, memory_order_relaxed))
		{
			signal_eventfd(plane->edge_wake[edge]);
			return;
		}
	}
}

void
penny_wake_edges(PennyPlane *plane)
{
	for (uint32_t i = 0; i < plane->config.edges; i++)
		penny_wake_edge(plane, (int) i);
}

/* Edge: wake a sleeper that sleeps and was not yet woken in this sleep. */
static bool
wake_once(PennyPlane *plane, uint32_t i)
{
	PennySleeper *s = &plane->p->sleeper[i];
	uint64_t word = atomic_load_explicit(&s->word, memory_order_relaxed);

	if ((word & 1) == 0 || word == plane->last_woken[i] ||
		atomic_load_explicit(&s->present, memory_order_relaxed) == 0)
		return false;
	plane->last_woken[i] = word;
	signal_eventfd(plane->sleeper_wake[i]);
	return true;
}

/*
 * Wake one executor.  Low numbers first, so that the warm ones work and the
 * others may end.  When all are busy they look at the ring before they sleep;
 * the supervisor is told, it may start another.
 */
void
penny_wake_executor(PennyPlane *plane)
{
	atomic_thread_fence(memory_order_seq_cst);
	for (uint32_t i = 0; i < SLEEPERS(&plane->config); i++)
	{
		if (wake_once(plane, i))
			return;
	}
}

/* Other than an edge, it does not remember whom it woke: a wake may be extra. */
void
penny_wake_next(PennyPlane *plane)
{
	atomic_thread_fence(memory_order_seq_cst);
	for (uint32_t i = 0; i < SLEEPERS(&plane->config); i++)
	{
		PennySleeper *s = &plane->p->sleeper[i];

		if ((atomic_load_explicit(&s->word, memory_order_relaxed) & 1) != 0 &&
			atomic_load_explicit(&s->present, memory_order_relaxed) != 0)
		{
			signal_eventfd(plane->sleeper_wake[i]);
			return;
		}
	}
}

/*
 * Wake every executor that sleeps, each once.  Waking one after the other
 * with penny_wake_executor() would not do: the first may sleep again meanwhile
 * and be woken twice, the last never.
 */
void
penny_wake_executors(PennyPlane *plane)
{
	atomic_thread_fence(memory_order_seq_cst);
	for (uint32_t i = 0; i < plane->config.executors; i++)
		wake_once(plane, i);
}

void
penny_wake_sleeper(PennyPlane *plane, int sleeper)
{
	signal_eventfd(plane->sleeper_wake[sleeper]);
}

/* EAGAIN means that the counter is full, so the descriptor is readable. */
static void
signal_eventfd(int fd)
{
	const uint64_t one = 1;
	int save_errno = errno;

	while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	errno = save_errno;
}

static void
drain_eventfd(int fd)
{
	uint64_t count;
	int save_errno = errno;

	while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	errno = save_errno;
}

/* ---- life cycle of an edge ---------------------------------------------- */

/*
 * The gateway in the place of the dead edge: what was submitted and not
 * claimed is discarded, what is claimed runs on and is freed by the next edge.
 * The sleep word is set from both sides' last values and not merely counted
 * up: a word inherited odd would invert the parity, and the new edge would
 * never be woken.
 */
void
penny_plane_sweep(PennyPlane *plane, int edge)
{
	PennyPlaneHeader *p = plane->p;
	PennyEdgeHeader *e = plane->e[edge];
	PennyEdgeControl *control = &p->edge[edge];
	PennySlotWord *words = (PennySlotWord *) ((char *) p + plane->sizes.slot_words) +
						   (size_t) edge * plane->config.slots;
	uint64_t word;
	uint64_t woken;

	atomic_fetch_add(&control->incarnation, 1);
	for (uint32_t i = 0; i < plane->config.slots; i++)
	{
		uint64_t pw = atomic_load(&words[i].word);
		uint64_t ew = atomic_load(&e->slot[i].word);

		if ((ew & 0xff) == PENNY_E_SUBMITTED && (ew >> 8) == (pw >> 8) + 1 && penny_p_settled(pw))
		{
			/* Failing means that an executor claimed it just now. */
			atomic_compare_exchange_strong(&words[i].word, &pw,
										   ((pw >> 8) + 1) << 8 | PENNY_P_DISCARDED);
			pw = atomic_load(&words[i].word);
		}
		atomic_store(&e->slot[i].cancel, 0);
		atomic_store(&e->slot[i].ack, atomic_load(&words[i].part));
		atomic_store(&e->slot[i].word, (pw >> 8) << 8 | PENNY_E_IDLE);
	}
	atomic_store(&e->sub_tail, atomic_load(&control->sub_head));
	penny_shared_sweep(plane, edge);

	word = atomic_load(&e->sleep_word);
	woken = atomic_load(&control->woken);
	word = next_even(word > woken ? word : woken);
	/* A hostile word near the end of the numbers wraps: not onto the one woken. */
	if (word + 1 == woken)
		word += 2;
	atomic_store(&e->sleep_word, word);
}

/* ---- counters and hash -------------------------------------------------- */

/* One thread writes, so a load and a store do. */
void
penny_count(PennyPlane *plane, PennyCounter counter, int64_t delta)
{
	_Atomic uint64_t *c = &plane->e[plane->self]->counter[counter];

	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + (uint64_t) delta,
						  memory_order_relaxed);
}

uint64_t
penny_counter(const PennyPlane *plane, int edge, PennyCounter counter)
{
	return atomic_load_explicit(&plane->e[edge]->counter[counter], memory_order_relaxed);
}

uint64_t
penny_hash(const void *bytes, size_t len, uint64_t seed)
{
	const unsigned char *s = bytes;
	uint64_t h = seed ^ (len * UINT64_C(0x9e3779b97f4a7c15));
	uint64_t word;

	for (; len >= 8; len -= 8, s += 8)
	{
		memcpy(&word, s, 8);
		h = (h ^ word) * UINT64_C(0xff51afd7ed558ccd);
		h ^= h >> 32;
	}
	if (len > 0)
	{
		word = 0;
		memcpy(&word, s, len);
		h = (h ^ word) * UINT64_C(0xff51afd7ed558ccd);
		h ^= h >> 32;
	}
	h *= UINT64_C(0xc4ceb9fe1a85ec53);
	return h ^ (h >> 29);
}
