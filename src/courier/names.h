/*-------------------------------------------------------------------------
 *
 * names.h
 *		Names of hosts to addresses, without waiting.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_COURIER_NAMES_H
#define PENNY_COURIER_NAMES_H

#include "plane/webhook_address.h"

#define PENNY_ADDRESSES_MAX 64 /* of one name; who has more is refused */

typedef struct PennyAddresses
{
	int n;
	PennyAddress address[PENNY_ADDRESSES_MAX];
} PennyAddresses;

typedef enum PennyNameResult
{
	PENNY_NAME_FOUND,
	PENNY_NAME_FAILED,
	PENNY_NAME_BUSY /* no room to ask */
} PennyNameResult;

struct PennyName;

/* Who waits for a name. */
typedef struct PennyNameWait
{
	void (*told)(struct PennyNameWait *wait, PennyNameResult result,
				 const PennyAddresses *addresses, const char *failed);
	struct PennyName *name; /* NULL: waits for none */
	struct PennyNameWait *next;
} PennyNameWait;

/* Before the sandbox: read what the system says, or use these servers. */
extern const char *penny_names_init(const char *resolver);
/* Find a name.  The wait's function is called once, perhaps before this returns. */
extern void penny_names_find(const char *host, PennyNameWait *wait);
/* Wait no more. */
extern void penny_names_forget(PennyNameWait *wait);

extern void penny_names_ready(int fd, bool read, bool write);
/* What is due by the clock. */
extern void penny_names_turn(void);
extern uint64_t penny_names_due(void);

/* ---- /etc/hosts ----------------------------------------------------------------- */

extern void penny_hosts_read(const char *path);
/* NULL: the file does not name it. */
extern const PennyAddresses *penny_hosts_find(const char *host);

#endif /* PENNY_COURIER_NAMES_H */
