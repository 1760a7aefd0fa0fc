/*-------------------------------------------------------------------------
 *
 * shmem.c
 *		Registry of the shared parts of penny.
 *
 * Runs in the postmaster; children inherit the pointers by fork.  Parts are
 * made in the order of their registration under AddinShmemInitLock, so one
 * may use those registered before it.  A restart after a crash gives fresh
 * memory, and the init functions run again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "base/error.h"
#include "base/shmem.h"

#define MAX_PARTS 32

static const PennyShmemPart *parts[MAX_PARTS];
static int nparts = 0;

static shmem_request_hook_type prev_request_hook = NULL;
static shmem_startup_hook_type prev_startup_hook = NULL;

static void request_parts(void);
static void startup_parts(void);

/* Add a part. */
void
penny_shmem_register(const PennyShmemPart *part)
{
	penny_ensure(nparts < MAX_PARTS);
	parts[nparts++] = part;
}

/* Install both hooks. */
void
penny_shmem_init(void)
{
	prev_request_hook = shmem_request_hook;
	shmem_request_hook = request_parts;
	prev_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_parts;
}

/* Ask for the memory and the locks of all parts. */
static void
request_parts(void)
{
	if (prev_request_hook)
		prev_request_hook();

	for (int i = 0; i < nparts; i++)
	{
		if (parts[i]->size != NULL)
			RequestAddinShmemSpace(MAXALIGN(parts[i]->size()));
		if (parts[i]->locks > 0)
			RequestNamedLWLockTranche(parts[i]->name, parts[i]->locks);
	}
}

/* Find or make all parts. */
static void
startup_parts(void)
{
	if (prev_startup_hook)
		prev_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (int i = 0; i < nparts; i++)
	{
		bool found = false;

		if (parts[i]->size != NULL)
		{
			Size size = parts[i]->size();

			*parts[i]->area = ShmemInitStruct(parts[i]->name, size, &found);
			if (!found)
				memset(*parts[i]->area, 0, size);
		}
		if (!found && parts[i]->init != NULL)
			parts[i]->init();
	}
	LWLockRelease(AddinShmemInitLock);
}
