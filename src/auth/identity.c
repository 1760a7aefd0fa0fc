/*-------------------------------------------------------------------------
 *
 * identity.c
 *		Who is calling: process-local state, set by C code alone.
 *
 * There are two kinds.  An executor sets an identity for one transaction
 * (penny_identity_set): the role is switched below SET ROLE's reach, and
 * everything ends with the transaction, or with the subtransaction in which it
 * was set when that one is rolled back.  A superuser's session takes one by
 * penny.act_as() (penny_identity_act_as): it lasts until the next act_as(),
 * and like a SET it is undone when its transaction or subtransaction rolls
 * back.  act_as switches the role by SET ROLE, which RESET ROLE undoes; that
 * is harmless, since only a session whose login is a superuser gets here.
 *
 * A transaction's identity covers the session's.  Claims of a transaction's
 * identity live in TopTransactionContext, the session's in TopMemoryContext.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "auth/identity.h"

/* An identity with what is needed to undo it. */
typedef struct IdentityState
{
	PennyIdentity identity;
	SubTransactionId sub; /* where it was set; Invalid: an earlier transaction */
	Oid saved_user;       /* user and context before it (transaction only) */
	int saved_context;
	struct IdentityState *outer; /* what it replaced */
} IdentityState;

static const PennyIdentity nobody;

static IdentityState *transaction_identity = NULL;
static IdentityState *session_identity = NULL;

static void end_transaction(XactEvent event, void *arg);
static void end_subtransaction(SubXactEvent event, SubTransactionId sub, SubTransactionId parent,
							   void *arg);

/*
 * Take an identity for the current transaction.
 */
void
penny_identity_set(const PennyIdentity *identity)
{
	IdentityState *state;

	if (!IsTransactionState())
		ereport(ERROR, (errcode(ERRCODE_INVALID_TRANSACTION_STATE),
						errmsg("an identity can only be taken within a transaction")));
	state = MemoryContextAllocZero(TopTransactionContext, sizeof(IdentityState));
	state->identity = *identity;
	state->identity.valid = true;
	if (identity->claims != NULL)
		state->identity.claims = MemoryContextStrdup(TopTransactionContext, identity->claims);
	state->sub = GetCurrentSubTransactionId();
	state->outer = transaction_identity;
	GetUserIdAndSecContext(&state->saved_user, &state->saved_context);
	if (state->identity.claims != NULL)
		(void) set_config_option("request.jwt.claims", state->identity.claims, PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	transaction_identity = state;
	if (OidIsValid(identity->role))
		SetUserIdAndSecContext(identity->role, state->saved_context | SECURITY_LOCAL_USERID_CHANGE);
}

/*
 * Give the transaction's identity back, and with it the role.
 */
void
penny_identity_clear(void)
{
	IdentityState *state = transaction_identity;

	if (state == NULL)
		return;
	while (state->outer != NULL)
		state = state->outer;
	transaction_identity = NULL;
	SetUserIdAndSecContext(state->saved_user, state->saved_context);
}

/*
 * The identity in force; never NULL.
 */
const PennyIdentity *
penny_identity_get(void)
{
	if (transaction_identity != NULL)
		return &transaction_identity->identity;
	if (session_identity != NULL)
		return &session_identity->identity;
	return &nobody;
}

/*
 * Take an identity for the session, or give it back (NULL).  The caller has
 * checked that this session may, and switches the role.
 */
void
penny_identity_act_as(const PennyIdentity *identity)
{
	IdentityState *state = MemoryContextAllocZero(TopMemoryContext, sizeof(IdentityState));

	if (identity != NULL)
	{
		state->identity = *identity;
		state->identity.valid = true;
		if (identity->claims != NULL)
			state->identity.claims = MemoryContextStrdup(TopMemoryContext, identity->claims);
	}
	state->sub = GetCurrentSubTransactionId();
	state->outer = session_identity;
	session_identity = state;
}

/*
 * Install the callbacks; from _PG_init.
 */
void
penny_identity_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}

static void
free_state(IdentityState *state)
{
	if (state->identity.claims != NULL)
		pfree(unconstify(char *, state->identity.claims));
	pfree(state);
}

/* Keep the newest session identity of a committed transaction. */
static void
settle_session(void)
{
	while (session_identity != NULL && session_identity->outer != NULL)
	{
		IdentityState *outer = session_identity->outer;

		session_identity->outer = outer->outer;
		free_state(outer);
	}
	if (session_identity != NULL)
		session_identity->sub = InvalidSubTransactionId;
}

/* Drop session identities that were taken in `sub`, or in any with Invalid. */
static void
undo_session(SubTransactionId sub)
{
	while (session_identity != NULL && session_identity->sub != InvalidSubTransactionId &&
		   (sub == InvalidSubTransactionId || session_identity->sub == sub))
	{
		IdentityState *undone = session_identity;

		session_identity = undone->outer;
		free_state(undone);
	}
}

static void
end_transaction(XactEvent event, void *arg)
{
	(void) arg;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			penny_identity_clear();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
			settle_session();
			break;
		case XACT_EVENT_ABORT:
			/* AbortTransaction has restored the user already */
			transaction_identity = NULL;
			undo_session(InvalidSubTransactionId);
			break;
		default:
			break;
	}
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId sub, SubTransactionId parent, void *arg)
{
	IdentityState *state;

	(void) arg;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (state = transaction_identity; state != NULL; state = state->outer)
			if (state->sub == sub)
				state->sub = parent;
		for (state = session_identity; state != NULL; state = state->outer)
			if (state->sub == sub)
				state->sub = parent;
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		/* AbortSubTransaction restores the user itself */
		while (transaction_identity != NULL && transaction_identity->sub == sub)
			transaction_identity = transaction_identity->outer;
		undo_session(sub);
	}
}
