/*-------------------------------------------------------------------------
 *
 * access.c
 *		Who may see and change what.
 *
 * The policies of schema chat ask these questions for every row, so they are
 * answered by one index look-up past privileges and policies (a policy on
 * participants that read participants would recurse) and remembered: fifty
 * messages of a conversation cost one look-up.
 *
 * An answer holds for the caller (user id and role) and the active snapshot.
 * Two snapshots of one process with the same xmin, xmax, number of running
 * transactions and command id see the same: between two moments with equal
 * xmin and xmax, transactions below xmax can only have ended, which lowers the
 * number.  A rolled-back subtransaction takes rows away without a new command
 * id, so answers are forgotten there, and at the end of the transaction.
 *
 * Another user's name may be seen by who shares a conversation with them.
 * The conversation that was asked about last is tried first: the usual caller
 * is a query that joins its messages with their users.
 *
 * What is being built for the cache depends on each answer, looked up or
 * remembered: on the conversation that was asked about or in which both were
 * found, or, where both lists of conversations were walked through, on who
 * takes part where ("member:<id>" of both).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/inval.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "auth/identity.h"
#include "cache/cache.h"
#include "store/access.h"
#include "store/lookup.h"
#include "store/tables.h"
#include "store/uuid.h"

#define ANSWERS 64 /* a power of two */

typedef enum Question
{
	NO_QUESTION,
	SEE_CONVERSATION,
	MANAGE_CONVERSATION,
	SEE_USER
} Question;

/* For whom and at which moment the answers hold. */
typedef struct Moment
{
	pg_uuid_t user;
	bool has_user;
	Oid role;
	TransactionId xmin;
	TransactionId xmax;
	uint32 xcnt;
	int32 subxcnt;
	CommandId curcid;
} Moment;

typedef struct Answer
{
	Question question;
	pg_uuid_t id;
	pg_uuid_t shared; /* SEE_USER: where both were found; zero: by walking */
	bool yes;
} Answer;

static Moment moment;
static Answer answers[ANSWERS];
static pg_uuid_t last_conversation; /* zero: none */
static bool is_list;                /* penny_access_depends_on_list() */

/* Rights of the role asked about last, until pg_auth_members changes. */
static Oid known_role = InvalidOid;
static bool known_user;
static bool known_agent;
static bool known_admin;

static bool is_participant(const pg_uuid_t *conversation, const pg_uuid_t *user);
static bool is_owner(const pg_uuid_t *conversation, const pg_uuid_t *user);
static bool shares_conversation(const pg_uuid_t *me, const pg_uuid_t *user, pg_uuid_t *shared);
static void tell_cache(const Answer *answer, const pg_uuid_t *me);

static void
forget_answers(void)
{
	memset(answers, 0, sizeof(answers));
	memset(&last_conversation, 0, sizeof(last_conversation));
}

/*
 * From now on the reader itself depends on the caller's participations, which
 * say of each conversation whether the caller may see it.
 */
void
penny_access_depends_on_list(bool yes)
{
	is_list = yes;
}

static void
end_transaction(XactEvent event, void *arg)
{
	(void) arg;
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
	{
		forget_answers();
		is_list = false;
	}
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId sub, SubTransactionId parent, void *arg)
{
	(void) sub;
	(void) parent;
	(void) arg;
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		forget_answers();
		is_list = false;
	}
}

static void
roles_changed(Datum arg, int cacheid, uint32 hash)
{
	(void) arg;
	(void) cacheid;
	(void) hash;
	known_role = InvalidOid;
}

/*
 * Install the callbacks; from _PG_init.
 */
void
penny_access_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}

/* Learn the rights of the current role. */
static void
know_role(void)
{
	static bool registered = false;
	Oid role = GetUserId();
	Oid user;
	Oid agent;
	Oid admin;

	if (known_role == role)
		return;
	if (!registered)
	{
		CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, roles_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHOID, roles_changed, (Datum) 0);
		registered = true;
	}
	user = get_role_oid("penny_user", true);
	agent = get_role_oid("penny_agent", true);
	admin = get_role_oid("penny_admin", true);
	known_user = OidIsValid(user) && has_privs_of_role(role, user);
	known_agent = OidIsValid(agent) && has_privs_of_role(role, agent);
	known_admin = OidIsValid(admin) && has_privs_of_role(role, admin);
	known_role = role;
}

bool
penny_access_is_user(void)
{
	know_role();
	return known_user;
}

bool
penny_access_is_agent(void)
{
	know_role();
	return known_agent;
}

bool
penny_access_is_admin(void)
{
	know_role();
	return known_admin;
}

/*
 * Do the policies not concern the current role?
 */
bool
penny_access_is_above(void)
{
	return check_enable_rls(penny_table_oid(PENNY_CONVERSATIONS), InvalidOid, true) != RLS_ENABLED;
}

/* Make the answers those of the caller and the active snapshot. */
static void
enter_moment(const PennyIdentity *identity)
{
	Snapshot snapshot = GetActiveSnapshot();
	Moment now;

	memset(&now, 0, sizeof(now));
	now.has_user = identity->has_user;
	if (now.has_user)
		now.user = identity->user_id;
	now.role = GetUserId();
	now.xmin = snapshot->xmin;
	now.xmax = snapshot->xmax;
	now.xcnt = snapshot->xcnt;
	now.subxcnt = snapshot->subxcnt;
	now.curcid = snapshot->curcid;
	if (memcmp(&now, &moment, sizeof(now)) != 0)
	{
		forget_answers();
		moment = now;
	}
}

/* Where the answer to a question is kept. */
static inline Answer *
answer_slot(Question question, const pg_uuid_t *id)
{
	uint32 tail;

	/* the last bytes of a UUID are random in every version */
	memcpy(&tail, id->data + UUID_LEN - sizeof(tail), sizeof(tail));
	return &answers[(murmurhash32(tail) + question) & (ANSWERS - 1)];
}

static bool
look_up(Question question, const pg_uuid_t *id, const pg_uuid_t *me, pg_uuid_t *shared)
{
	switch (question)
	{
		case SEE_CONVERSATION:
			return is_participant(id, me);
		case MANAGE_CONVERSATION:
			return (known_agent && is_participant(id, me)) || is_owner(id, me);
		default:
			return shares_conversation(me, id, shared);
	}
}

/* What is being built for the cache depends on the answer. */
static void
tell_cache(const Answer *answer, const pg_uuid_t *me)
{
	static const pg_uuid_t none;

	if (answer->question == SEE_CONVERSATION && is_list)
		return;
	if (answer->question != SEE_USER)
		penny_cache_depend_uuid("conversation", &answer->id);
	else if (!penny_uuid_equal(&answer->shared, &none))
		penny_cache_depend_uuid("conversation", &answer->shared);
	else if (!penny_uuid_equal(&answer->id, me))
	{
		penny_cache_depend_uuid("member", me);
		penny_cache_depend_uuid("member", &answer->id);
	}
}

static bool
ask(Question question, const pg_uuid_t *id)
{
	const PennyIdentity *identity = penny_identity_get();
	Answer *answer;

	know_role();
	if (known_admin)
		return true;
	if (!identity->has_user)
		return false;
	enter_moment(identity);
	answer = answer_slot(question, id);
	if (answer->question != question || !penny_uuid_equal(&answer->id, id))
	{
		Answer found;

		memset(&found, 0, sizeof(found));
		found.question = question;
		found.id = *id;
		found.yes = look_up(question, id, &identity->user_id, &found.shared);
		*answer = found;
	}
	if (penny_cache_collecting())
		tell_cache(answer, &identity->user_id);
	return answer->yes;
}

/*
 * May the caller see the conversation?
 */
bool
penny_access_conversation(const pg_uuid_t *conversation)
{
	bool yes = ask(SEE_CONVERSATION, conversation);

	/* what an admin may see says nothing of the next caller */
	if (yes && !known_admin)
		last_conversation = *conversation;
	return yes;
}

/*
 * May the caller change or delete it?
 */
bool
penny_access_manage(const pg_uuid_t *conversation)
{
	return ask(MANAGE_CONVERSATION, conversation);
}

/*
 * Does the caller share a conversation with the user?
 */
bool
penny_access_user(const pg_uuid_t *user)
{
	return ask(SEE_USER, user);
}

static bool
is_participant(const pg_uuid_t *conversation, const pg_uuid_t *user)
{
	Datum key[2] = {UUIDPGetDatum(conversation), UUIDPGetDatum(user)};

	return penny_lookup_exists(PENNY_KEY_PARTICIPANT, GetActiveSnapshot(), 2, key);
}

static bool
is_owner(const pg_uuid_t *conversation, const pg_uuid_t *user)
{
	Datum key = UUIDPGetDatum(conversation);
	PennyLookup lookup;
	bool yes = false;

	penny_lookup_begin(&lookup, PENNY_KEY_CONVERSATION, GetActiveSnapshot(), AccessShareLock, 1,
					   &key);
	if (penny_lookup_next(&lookup, ForwardScanDirection))
	{
		bool isnull;
		Datum owner = slot_getattr(
			lookup.slot, penny_table_attribute(PENNY_CONVERSATIONS, PENNY_CONVERSATION_OWNER),
			&isnull);

		yes = !isnull && penny_uuid_equal(DatumGetUUIDP(owner), user);
	}
	penny_lookup_end(&lookup);
	return yes;
}

/* The next conversation of a walk through somebody's; false at its end. */
static bool
next_conversation(PennyLookup *walk, pg_uuid_t *conversation)
{
	AttrNumber attribute = penny_table_attribute(PENNY_PARTICIPANTS, PENNY_CONVERSATION_ID);
	bool isnull;

	CHECK_FOR_INTERRUPTS();
	if (!penny_lookup_next(walk, ForwardScanDirection))
		return false;
	*conversation = *DatumGetUUIDP(slot_getattr(walk->slot, attribute, &isnull));
	return true;
}

/*
 * Go through the conversations of both in turn until one is found that has the
 * other: an agent takes part in very many, and who has few decides how long
 * this takes.
 */
static bool
shares_conversation(const pg_uuid_t *me, const pg_uuid_t *user, pg_uuid_t *shared)
{
	static const pg_uuid_t none;
	Datum my_key = UUIDPGetDatum(me);
	Datum their_key = UUIDPGetDatum(user);
	PennyLookup mine;
	PennyLookup theirs;
	pg_uuid_t conversation;
	bool found = false;

	if (penny_uuid_equal(me, user))
		return true;
	if (!penny_uuid_equal(&last_conversation, &none) && is_participant(&last_conversation, user))
	{
		*shared = last_conversation;
		return true;
	}
	penny_lookup_begin(&mine, PENNY_KEY_PARTICIPATIONS, GetActiveSnapshot(), AccessShareLock, 1,
					   &my_key);
	penny_lookup_begin(&theirs, PENNY_KEY_PARTICIPATIONS, GetActiveSnapshot(), AccessShareLock, 1,
					   &their_key);
	while (!found && next_conversation(&mine, &conversation))
	{
		found = is_participant(&conversation, user);
		if (found || !next_conversation(&theirs, &conversation))
			break;
		found = is_participant(&conversation, me);
	}
	penny_lookup_end(&theirs);
	penny_lookup_end(&mine);
	return found;
}
