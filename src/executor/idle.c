/*-------------------------------------------------------------------------
 *
 * idle.c
 *		Which executors wait for calls.  One atomic word for each, written by
 *		its executor before it looks for calls for the last time and after it
 *		woke; read by others as a hint that is never wrong for long: who is
 *		marked idle looks once more, or sleeps and can be woken.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "port/atomics.h"

#include "base/shmem.h"
#include "executor/idle.h"

typedef struct Idle
{
	pg_atomic_uint32 word[PENNY_MAX_EXECUTORS];
} Idle;

static Idle *idle = NULL;

static Size
idle_size(void)
{
	return sizeof(Idle);
}

static void
idle_init(void)
{
	for (int i = 0; i < PENNY_MAX_EXECUTORS; i++)
		pg_atomic_init_u32(&idle->word[i], 0);
}

static const PennyShmemPart idle_part = {
	.name = "penny_idle", .size = idle_size, .area = (void **) &idle, .init = idle_init};

void
penny_idle_init(void)
{
	penny_shmem_register(&idle_part);
}

void
penny_idle_set(int executor, bool is_idle)
{
	pg_atomic_write_u32(&idle->word[executor], is_idle ? 1 : 0);
}

void
penny_idle_pass_wake(PennyPlane *plane)
{
	pg_memory_barrier();
	for (uint32 i = 0; i < plane->config.executors; i++)
	{
		if (pg_atomic_read_u32(&idle->word[i]) != 0)
		{
			penny_wake_sleeper(plane, (int) i);
			return;
		}
	}
	penny_wake_sleeper(plane, (int) plane->config.executors);
}
