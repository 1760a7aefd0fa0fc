/*-------------------------------------------------------------------------
 *
 * identity.h
 *		Who is calling: the state behind penny.user_id() and penny.claims().
 *
 * The identity is process-local state that only C code sets: an executor for
 * one transaction, or penny.act_as() for a superuser's session.  It is not a
 * setting, so that no SQL statement can forge it.  request.jwt.claims is a
 * copy for policies that expect it, not the authority.
 *
 * Setting an identity also switches the role, by SetUserIdAndSecContext(role,
 * SECURITY_LOCAL_USERID_CHANGE): SET ROLE, RESET ROLE and SET SESSION
 * AUTHORIZATION are refused inside.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_IDENTITY_H
#define PENNY_IDENTITY_H

#include "postgres.h"

#include "utils/uuid.h"

typedef struct PennyIdentity
{
	bool valid;    /* false: nobody is calling (plain SQL session, public route) */
	bool has_user; /* a user id is known */
	pg_uuid_t user_id;
	Oid role;           /* database role in force */
	const char *claims; /* JSON text; lives as long as the identity */
} PennyIdentity;

/*
 * Executor: take the identity for the current transaction and switch the role.
 * It ends with the transaction, whatever way that goes; penny_identity_clear()
 * ends it earlier and must be called before committing.
 */
extern void penny_identity_set(const PennyIdentity *identity);
extern void penny_identity_clear(void);
extern const PennyIdentity *penny_identity_get(void); /* never NULL */

/*
 * penny.act_as(): an identity for the session, undone when its transaction
 * rolls back; NULL ends it.  The caller checks the right and switches the role.
 */
extern void penny_identity_act_as(const PennyIdentity *identity);

/* Install transaction callbacks; from _PG_init. */
extern void penny_identity_init(void);

#endif /* PENNY_IDENTITY_H */
