/*-------------------------------------------------------------------------
 *
 * epoch.c
 *		The epoch of the data: equal epochs mean one unbroken history.
 *
 * A position that a client holds is {epoch, version}; it is worth something as
 * long as no version that the client may have seen was lost or given out
 * twice.  So the epoch must change when history may have forked or lost its
 * end: promotion, point-in-time recovery, a restore or a copy elsewhere, crash
 * recovery (with synchronous_commit off it may lose what clients have seen).
 * It stays over a clean restart.
 *
 * The text is a hash of
 *	- a random id of this run of history in this data directory,
 *	- the timeline in which WAL is written, which a promotion and the end of a
 *	  point-in-time recovery change,
 *	- the database's oid.
 *
 * The id is kept in a file of the data directory, penny.epoch, with the inode
 * and birth time of that file and, once the server has stopped cleanly, the
 * position of its shutdown checkpoint.  A starting postmaster goes on with the
 * id only if
 *	- the file is the one that was written here: a copy (base backup, cold copy,
 *	  restore) has another inode or birth time,
 *	- pg_control says: shut down cleanly, in that very checkpoint.  Whatever
 *	  wrote WAL in between without penny (a single-user session, pg_resetwal, a
 *	  server that did not preload penny and crashed) has moved it on,
 *	- no recovery is asked for.
 * In all other cases it draws a new id.  It then writes the file as open,
 * before anything is served, and writes the checkpoint into it as the last
 * thing it does.  A write that fails is logged and harmless: the file then
 * names a checkpoint that is not the last one any more, so the next start
 * draws a new id.
 *
 * What cannot be seen: a snapshot of the whole file system taken while the
 * server was down and put back in place.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"

#include "base/epoch.h"
#include "base/error.h"
#include "base/shmem.h"
#include "plane/plane.h"

#define EPOCH_FILE "penny.epoch"
#define EPOCH_FILE_TMP "penny.epoch.tmp"
#define ID_LEN 16

/* Contents of the file; text, so that a person can read it. */
typedef struct EpochFile
{
	char id[ID_LEN * 2 + 1]; /* hexadecimal */
	uint64 inode;
	int64 born_s;
	uint32 born_ns;
	XLogRecPtr closed; /* shutdown checkpoint, 0 = the server is or was running */
} EpochFile;

typedef struct EpochShared
{
	char id[ID_LEN * 2 + 1];
} EpochShared;

static EpochShared *shared = NULL;

/* The postmaster's own copy: when it ends, shared memory is gone before. */
static char open_id[ID_LEN * 2 + 1] = "";

static Size epoch_size(void);
static void epoch_open(void);
static void epoch_close(int code, Datum arg);
static bool may_go_on(const EpochFile *file);
static bool identify(int fd, EpochFile *file);
static bool read_file(EpochFile *file);
static bool write_file(EpochFile *file);
static bool write_and_sync(int fd, EpochFile *file);
static void draw_id(char *id);

static const PennyShmemPart epoch_part = {
	.name = "penny epoch", .size = epoch_size, .area = (void **) &shared, .init = epoch_open};

/* Register the shared part, and the last thing that the postmaster does. */
void
penny_epoch_init(void)
{
	penny_shmem_register(&epoch_part);
	if (IsPostmasterEnvironment)
		on_proc_exit(epoch_close, (Datum) 0);
}

static Size
epoch_size(void)
{
	return sizeof(EpochShared);
}

/* Hash id, timeline and database to a text. */
const char *
penny_epoch_text(void)
{
	static char text[PENNY_EPOCH_LEN + 1];
	struct
	{
		char id[ID_LEN * 2];
		uint32 timeline;
		uint32 database;
	} key;
	TimeLineID timeline;

	penny_require_preload();
	if (RecoveryInProgress())
		(void) GetXLogReplayRecPtr(&timeline);
	else
		timeline = GetWALInsertionTimeLine();

	memcpy(key.id, shared->id, sizeof(key.id));
	key.timeline = timeline;
	key.database = MyDatabaseId;
	snprintf(text, sizeof(text), "%016" INT64_MODIFIER "x", penny_hash(&key, sizeof(key), 0));
	return text;
}

/* In the starting postmaster, also after a crash: go on, or draw a new id. */
static void
epoch_open(void)
{
	EpochFile file;

	if (!IsPostmasterEnvironment)
		return;
	if (!read_file(&file) || !may_go_on(&file))
		draw_id(file.id);
	strlcpy(shared->id, file.id, sizeof(shared->id));
	strlcpy(open_id, file.id, sizeof(open_id));

	file.closed = InvalidXLogRecPtr;
	(void) write_file(&file);
}

/* In the ending postmaster: history is complete, if the server stopped cleanly. */
static void
epoch_close(int code, Datum arg)
{
	ControlFileData *control;
	EpochFile file;
	bool crc_ok;

	(void) code;
	(void) arg;
	if (open_id[0] == '\0' || MyProcPid != PostmasterPid)
		return;
	control = get_controlfile(DataDir, &crc_ok);
	if (!crc_ok || control->state != DB_SHUTDOWNED)
		return;
	strlcpy(file.id, open_id, sizeof(file.id));
	file.closed = control->checkPoint;
	(void) write_file(&file);
}

/* Is this the file that was written here, and nothing happened since? */
static bool
may_go_on(const EpochFile *file)
{
	ControlFileData *control;
	EpochFile here = {0};
	struct stat st;
	bool crc_ok;
	bool same;
	int fd;

	if (stat(RECOVERY_SIGNAL_FILE, &st) == 0 || stat(STANDBY_SIGNAL_FILE, &st) == 0 ||
		stat(BACKUP_LABEL_FILE, &st) == 0)
		return false;

	fd = BasicOpenFile(EPOCH_FILE, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	same = identify(fd, &here) && here.inode == file->inode && here.born_s == file->born_s &&
		   here.born_ns == file->born_ns;
	close(fd);
	if (!same)
		return false;

	control = get_controlfile(DataDir, &crc_ok);
	same = crc_ok && control->state == DB_SHUTDOWNED && !XLogRecPtrIsInvalid(file->closed) &&
		   control->checkPoint == file->closed;
	pfree(control);
	return same;
}

/* Inode and birth time, which no copy takes over (0 where none is kept). */
static bool
identify(int fd, EpochFile *file)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &st) < 0)
		return false;
	file->inode = st.stx_ino;
	file->born_s = (st.stx_mask & STATX_BTIME) ? st.stx_btime.tv_sec : 0;
	file->born_ns = (st.stx_mask & STATX_BTIME) ? st.stx_btime.tv_nsec : 0;
	return true;
}

/* Read the file; false when it is not there or not ours. */
static bool
read_file(EpochFile *file)
{
	char text[256];
	ssize_t len;
	int fd;

	fd = BasicOpenFile(EPOCH_FILE, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
	{
		if (errno != ENOENT)
			ereport(LOG, (errcode_for_file_access(),
						  errmsg("could not open file \"%s\": %m", EPOCH_FILE)));
		return false;
	}
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (len <= 0)
		return false;
	text[len] = '\0';
	return sscanf(text,
				  "penny epoch 1\nid %32[0-9a-f]\nfile %" INT64_MODIFIER "u %" INT64_MODIFIER
				  "d %u\nclosed %" INT64_MODIFIER "X\n",
				  file->id, &file->inode, &file->born_s, &file->born_ns, &file->closed) == 5 &&
		   strlen(file->id) == ID_LEN * 2;
}

/* Write the file durably under a new inode; a failure is logged. */
static bool
write_file(EpochFile *file)
{
	bool ok;
	int fd;

	fd = BasicOpenFile(EPOCH_FILE_TMP, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC);
	ok = fd >= 0 && write_and_sync(fd, file);
	if (!ok)
		ereport(LOG, (errcode_for_file_access(),
					  errmsg("could not write file \"%s\": %m", EPOCH_FILE_TMP),
					  errdetail("Clients will read their rooms anew after the next restart.")));
	if (fd >= 0)
		close(fd);
	if (!ok)
	{
		(void) unlink(EPOCH_FILE_TMP);
		return false;
	}
	return durable_rename(EPOCH_FILE_TMP, EPOCH_FILE, LOG) == 0;
}

static bool
write_and_sync(int fd, EpochFile *file)
{
	char text[256];
	int len;

	if (!identify(fd, file))
		return false;
	len = snprintf(text, sizeof(text),
				   "penny epoch 1\nid %s\nfile %" INT64_MODIFIER "u %" INT64_MODIFIER
				   "d %u\nclosed %" INT64_MODIFIER "X\n",
				   file->id, file->inode, file->born_s, file->born_ns, file->closed);
	errno = 0;
	if (write(fd, text, len) != len)
	{
		if (errno == 0)
			errno = ENOSPC;
		return false;
	}
	return pg_fsync(fd) == 0;
}

/* A new random id, in hexadecimal. */
static void
draw_id(char *id)
{
	uint8 bytes[ID_LEN];

	if (!pg_strong_random(bytes, ID_LEN))
		ereport(FATAL,
				(errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate a random epoch")));
	for (int i = 0; i < ID_LEN; i++)
		snprintf(id + 2 * i, 3, "%02x", bytes[i]);
}
