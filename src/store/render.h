/*-------------------------------------------------------------------------
 *
 * render.h
 *		Rows of schema chat as JSON text, and as jsonb.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_RENDER_H
#define PENNY_RENDER_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "store/shape.h"
#include "store/tables.h"

#define PENNY_VALUE_TEXT (MAXDATELEN + 1) /* a UUID or a timestamp, and a terminator */

/* Write characters without quotes or terminator; gives their number. */
extern int penny_timestamp_write(char *to, TimestampTz at);

/* Append JSON text. */
extern void penny_render_string(StringInfo out, const char *text, int len);
extern void penny_render_uuid(StringInfo out, const pg_uuid_t *uuid);
extern void penny_render_text(StringInfo out, PennyShape *shape, const PennyRow *row);
/* Write a whole jsonb value into an empty buffer. */
extern void penny_render_jsonb(StringInfo out, PennyShape *shape, const PennyRow *row);

#endif /* PENNY_RENDER_H */
