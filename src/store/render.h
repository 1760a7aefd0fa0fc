/*-------------------------------------------------------------------------
 *
 * render.h
 *		Rows of schema chat as JSON text.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_RENDER_H
#define PENNY_RENDER_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "store/tables.h"

extern void penny_render_string(StringInfo out, const char *text, int len);
extern void penny_render_uuid(StringInfo out, const pg_uuid_t *uuid);
extern void penny_render_int(StringInfo out, int64 number);
extern void penny_render_timestamp(StringInfo out, TimestampTz at);

/* The members of a conversation's object, without the braces. */
extern void penny_render_conversation(StringInfo out, const PennyRow *row);
/* A message; `tools` are the executions it called. */
extern void penny_render_message(StringInfo out, const PennyRow *row, const PennyRow *tools,
								 int ntools);
extern void penny_render_tool_execution(StringInfo out, const PennyRow *row);
extern void penny_render_artifact(StringInfo out, const PennyRow *row);
/* The user that a row carries along: {"id","name","avatar_url"}, or null. */
extern void penny_render_user(StringInfo out, const PennyRow *row);

#endif /* PENNY_RENDER_H */
