/*-------------------------------------------------------------------------
 *
 * import_private.h
 *		A chat document being imported: what its files share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_IMPORT_PRIVATE_H
#define PENNY_IMPORT_PRIVATE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

/* Columns of messages, then of tool executions, as arrays. */
typedef enum PennyImportColumn
{
	PENNY_IMPORT_MESSAGE_ID,
	PENNY_IMPORT_MESSAGE_USER,
	PENNY_IMPORT_MESSAGE_ROLE,
	PENNY_IMPORT_MESSAGE_CONTENT,
	PENNY_IMPORT_MESSAGE_PARTS,
	PENNY_IMPORT_MESSAGE_MODEL,
	PENNY_IMPORT_MESSAGE_METADATA,
	PENNY_IMPORT_MESSAGE_TIME,
	PENNY_IMPORT_CALL_ID,
	PENNY_IMPORT_CALL_MESSAGE,
	PENNY_IMPORT_CALL_TOOL,
	PENNY_IMPORT_CALL_CALL,
	PENNY_IMPORT_CALL_STATUS,
	PENNY_IMPORT_CALL_INPUT,
	PENNY_IMPORT_CALL_OUTPUT,
	PENNY_IMPORT_CALL_STARTED,
	PENNY_IMPORT_CALL_FINISHED,
	PENNY_IMPORT_COLUMNS
} PennyImportColumn;

typedef struct PennyImport
{
	const pg_uuid_t *owner;
	int nmessages;
	int ncalls;
	int maxcalls;
	int message; /* number of the message at hand, for error messages */
	Datum *value[PENNY_IMPORT_COLUMNS];
	bool *isnull[PENNY_IMPORT_COLUMNS];
} PennyImport;

/* ---- import_json.c: members of the document --------------------------------- */

/* Raise PY400 about a place in the document. */
extern void penny_import_refuse(const PennyImport *import, const char *what, const char *where)
	pg_attribute_noreturn();
extern bool penny_import_is_word(const JsonbValue *string, const char *word);
extern bool penny_import_is_container(const JsonbValue *value, bool array);
extern Datum penny_import_text(const JsonbValue *string);
/* A member; NULL where it is missing or null. */
extern JsonbValue *penny_import_member(JsonbContainer *object, const char *name,
									   JsonbValue *buffer);
/* A member that must be a string if it is there. */
extern JsonbValue *penny_import_string(const PennyImport *import, JsonbContainer *object,
									   const char *name, JsonbValue *buffer);
/* When it was written; false where that is not said. */
extern bool penny_import_time(const PennyImport *import, JsonbContainer *object, TimestampTz *at);
/* A member as JSON, also where it is JSON in a string. */
extern bool penny_import_json(JsonbContainer *object, const char *name, Datum *json);

/* ---- import_message.c: messages and calls into columns ---------------------- */

/* Take the messages apart, with the calls of their tools. */
extern void penny_import_take(PennyImport *import, JsonbContainer *messages);

#endif /* PENNY_IMPORT_PRIVATE_H */
