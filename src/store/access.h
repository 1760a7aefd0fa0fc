/*-------------------------------------------------------------------------
 *
 * access.h
 *		Who may see and change what: the questions that policies ask.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_ACCESS_H
#define PENNY_ACCESS_H

#include "postgres.h"

#include "utils/uuid.h"

/* May the caller see the conversation, by the active snapshot? */
extern bool penny_access_conversation(const pg_uuid_t *conversation);
/* May the caller change its title and participants, or delete it? */
extern bool penny_access_manage(const pg_uuid_t *conversation);
/* Does the caller share a conversation with the user? */
extern bool penny_access_user(const pg_uuid_t *user);
/* Has the current role the rights of penny_user, penny_agent, penny_admin? */
extern bool penny_access_is_user(void);
extern bool penny_access_is_agent(void);
extern bool penny_access_is_admin(void);
/* Does the current role stand above the policies (owner, superuser)? */
extern bool penny_access_is_above(void);

/*
 * What is being read depends on the caller's own participations anyway
 * ("list:<caller>"): whether the caller may see a conversation is no further
 * dependency.  Ends with the (sub)transaction at the latest.
 */
extern void penny_access_depends_on_list(bool yes);

/* Install transaction callbacks; from _PG_init. */
extern void penny_access_init(void);

#endif /* PENNY_ACCESS_H */
