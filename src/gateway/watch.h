/*-------------------------------------------------------------------------
 *
 * watch.h
 *		Notices commands that change what penny stands on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_WATCH_H
#define PENNY_WATCH_H

/* Install the hooks; from _PG_init. */
extern void penny_watch_init(void);

#endif /* PENNY_WATCH_H */
