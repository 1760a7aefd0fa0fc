/*-------------------------------------------------------------------------
 *
 * plane.c
 *		Make the plane, attach to it, settings, counters.  Wakes are in wake.c.
 *
 * A memory file can be opened again read-write through /proc by any process
 * of the same user, so a read-only descriptor alone protects nothing: region P
 * is sealed against future writable mappings after PostgreSQL has made its
 * own.  Region E must stay writable for the edge, but is sealed against
 * shrinking, since a truncated mapping would kill PostgreSQL by SIGBUS.  Both
 * are allocated at once, so that a shortage of memory is an error at start and
 * not a signal later; all but the cache's arena, which grows (cache_arena.c).
 *
 *-------------------------------------------------------------------------
 */
#include "plane/cache_layout.h"

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
static void *create_region(const char *name, size_t size, size_t allocate, int seals, int *fd);
static void reset_handle(PennyPlane *plane);

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
	if (!penny_cache_sizes(config, sizes, align_up(sizes->event_bytes + config->event_bytes, 4096)))
		return false;

	sizes->requests = align_up(sizeof(PennyEdgeHeader), 4096);
	sizes->request_stride =
		align_up(sizeof(PennyRequestHead) + config->request_size, PENNY_CACHE_LINE);
	sizes->hints = align_up(sizes->requests + config->slots * sizes->request_stride, 4096);
	sizes->e_size = sizes->hints;
	if (config->cache_chunks != 0)
		sizes->e_size += align_up((size_t) config->cache_entries * sizeof(uint64_t), 4096);
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

	plane->p = create_region("penny-p", plane->sizes.p_size, plane->sizes.cache_arena,
							 F_SEAL_FUTURE_WRITE | seals_e, &plane->p_fd);
	if (plane->p == NULL)
		return "allocation of region P";

	plane->p->magic = PENNY_PLANE_MAGIC;
	plane->p->layout = PENNY_PLANE_LAYOUT;
	plane->p->config = plane->config;
	if (getrandom(&plane->p->generation, sizeof(uint64_t), 0) != sizeof(uint64_t) ||
		!penny_cache_start(plane))
		return "getrandom";

	plane->s = create_region("penny-s", sizeof(PennySharedHeader), sizeof(PennySharedHeader),
							 seals_e, &plane->s_fd);
	if (plane->s == NULL)
		return "allocation of region S";
	plane->s->magic = PENNY_PLANE_MAGIC;
	if (getrandom(&plane->s->seed, sizeof(uint64_t), 0) != sizeof(uint64_t))
		return "getrandom";

	for (uint32_t i = 0; i < plane->config.edges; i++)
	{
		plane->e[i] = create_region("penny-e", plane->sizes.e_size, plane->sizes.e_size, seals_e,
									&plane->e_fd[i]);
		if (plane->e[i] == NULL)
			return "allocation of region E";
		plane->e[i]->magic = PENNY_PLANE_MAGIC;
	}
	return NULL;
}

/* A sealed memory file, mapped, its beginning allocated; NULL and errno on failure. */
static void *
create_region(const char *name, size_t size, size_t allocate, int seals, int *fd)
{
	void *map;

	*fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd < 0)
		return NULL;
	if (ftruncate(*fd, (off_t) size) < 0)
		return NULL;
	while (fallocate(*fd, 0, 0, (off_t) allocate) < 0)
	{
		if (errno != EINTR)
			return NULL;
	}
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
