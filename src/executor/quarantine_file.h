/*-------------------------------------------------------------------------
 *
 * quarantine_file.h
 *		The file in which the quarantine outlives the server.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUARANTINE_FILE_H
#define PENNY_QUARANTINE_FILE_H

#include "executor/quarantine.h"

/* Fill the table from the file; empty where there is none. */
extern void penny_quarantine_read(PennyQuarantineEntry table[PENNY_QUARANTINE_ENTRIES]);
/* Write the table durably; a failure is logged. */
extern void penny_quarantine_write(const PennyQuarantineEntry table[PENNY_QUARANTINE_ENTRIES]);

#endif /* PENNY_QUARANTINE_FILE_H */
