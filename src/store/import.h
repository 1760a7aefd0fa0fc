/*-------------------------------------------------------------------------
 *
 * import.h
 *		Conversations in OpenAI chat form.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_IMPORT_H
#define PENNY_IMPORT_H

#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/uuid.h"

/* Import a conversation for an owner; false if it was there already. */
extern bool penny_import_chat(Jsonb *doc, const pg_uuid_t *owner, pg_uuid_t *conversation);

#endif /* PENNY_IMPORT_H */
