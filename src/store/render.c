/*-------------------------------------------------------------------------
 *
 * render.c
 *		Rows of schema chat as JSON text.
 *
 * Written by hand, since a fetch of fifty messages renders more than a
 * thousand values: strings are copied in runs, timestamps are always UTC with
 * six digits (so that a text does not depend on the session's time zone), and
 * nothing is looked up.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/jsonb.h"

#include "base/epoch.h"
#include "store/render.h"
#include "store/uuid.h"

#define NEEDS_ESCAPE(c) ((unsigned char) (c) < 0x20 || (c) == '"' || (c) == '\\')

static inline void
put(StringInfo out, const char *text, int len)
{
	appendBinaryStringInfoNT(out, text, len);
}

#define PUT(out, literal) put(out, literal, sizeof(literal) - 1)

static void
escape_char(StringInfo out, unsigned char c)
{
	switch (c)
	{
		case '"':
			PUT(out, "\\\"");
			break;
		case '\\':
			PUT(out, "\\\\");
			break;
		case '\n':
			PUT(out, "\\n");
			break;
		case '\r':
			PUT(out, "\\r");
			break;
		case '\t':
			PUT(out, "\\t");
			break;
		default:
			appendStringInfo(out, "\\u%04x", c);
			break;
	}
}

/*
 * Write a JSON string.
 */
void
penny_render_string(StringInfo out, const char *text, int len)
{
	const char *end = text + len;
	const char *run = text;

	enlargeStringInfo(out, len + 2);
	PUT(out, "\"");
	for (; text < end; text++)
		if (unlikely(NEEDS_ESCAPE(*text)))
		{
			put(out, run, text - run);
			escape_char(out, *text);
			run = text + 1;
		}
	put(out, run, text - run);
	PUT(out, "\"");
}

/*
 * Write a UUID in quotes.
 */
void
penny_render_uuid(StringInfo out, const pg_uuid_t *uuid)
{
	char text[PENNY_UUID_TEXT + 2];

	text[0] = text[PENNY_UUID_TEXT + 1] = '"';
	penny_uuid_write(text + 1, uuid);
	put(out, text, sizeof(text));
}

static void
put_int(StringInfo out, int64 number)
{
	char text[MAXINT8LEN + 1];

	put(out, text, pg_lltoa(number, text));
}

/* Write a number with leading zeros. */
static inline char *
put_digits(char *to, int number, int width)
{
	int i;

	for (i = width - 1; i >= 0; i--)
	{
		to[i] = '0' + number % 10;
		number /= 10;
	}
	return to + width;
}

/*
 * Write a timestamp as 2026-01-31T12:34:56.123456Z; gives its length.
 */
int
penny_timestamp_write(char *to, TimestampTz at)
{
	char *start = to;
	int64 days;
	int64 usec;
	int year;
	int month;
	int day;

	if (TIMESTAMP_NOT_FINITE(at))
		return sprintf(to, TIMESTAMP_IS_NOBEGIN(at) ? "-infinity" : "infinity");
	days = at / USECS_PER_DAY;
	usec = at % USECS_PER_DAY;
	if (usec < 0)
	{
		usec += USECS_PER_DAY;
		days--;
	}
	j2date((int) (days + POSTGRES_EPOCH_JDATE), &year, &month, &day);
	if (year < 1 || year > 9999)
	{
		struct pg_tm tm;
		fsec_t fsec;

		if (timestamp2tm(at, NULL, &tm, &fsec, NULL, NULL) != 0)
			ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
							errmsg("timestamp out of range")));
		EncodeDateTime(&tm, fsec, false, 0, NULL, USE_ISO_DATES, to);
		return strlen(to);
	}
	to = put_digits(to, year, 4);
	*to++ = '-';
	to = put_digits(to, month, 2);
	*to++ = '-';
	to = put_digits(to, day, 2);
	*to++ = 'T';
	to = put_digits(to, usec / USECS_PER_HOUR, 2);
	*to++ = ':';
	to = put_digits(to, usec / USECS_PER_MINUTE % 60, 2);
	*to++ = ':';
	to = put_digits(to, usec / USECS_PER_SEC % 60, 2);
	*to++ = '.';
	to = put_digits(to, usec % USECS_PER_SEC, 6);
	*to++ = 'Z';
	return to - start;
}

static void
put_timestamp(StringInfo out, TimestampTz at)
{
	char text[PENNY_VALUE_TEXT + 2];
	int len = penny_timestamp_write(text + 1, at);

	text[0] = text[len + 1] = '"';
	put(out, text, len + 2);
}

/* Write the value of a column, whatever it is; null for NULL. */
static void
put_value(StringInfo out, const PennyRow *row, PennyColumn column)
{
	Datum value = row->value[column];

	if (row->isnull[column])
		PUT(out, "null");
	else if (column <= PENNY_U3)
		penny_render_uuid(out, DatumGetUUIDP(value));
	else if (column <= PENNY_N4)
		put_int(out, DatumGetInt64(value));
	else if (column <= PENNY_S6)
	{
		text *string = DatumGetTextPP(value);

		penny_render_string(out, VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
		if ((Pointer) string != DatumGetPointer(value))
			pfree(string);
	}
	else if (column <= PENNY_J1)
	{
		Jsonb *json = DatumGetJsonbP(value);

		(void) JsonbToCString(out, &json->root, VARSIZE(json));
		if ((Pointer) json != DatumGetPointer(value))
			pfree(json);
	}
	else
		put_timestamp(out, DatumGetTimestampTz(value));
}

static void
put_list(StringInfo out, const PennyMember *member, const PennyRowList *list)
{
	int i;

	PUT(out, "[");
	for (i = 0; i < list->n; i++)
	{
		if (i > 0)
			PUT(out, ",");
		penny_render_text(out, member->shape, &list->rows[i]);
	}
	PUT(out, "]");
}

/* Write the value of a member. */
static void
put_member(StringInfo out, const PennyMember *member, const PennyRow *row)
{
	const char *epoch;

	switch (member->kind)
	{
		case PENNY_MEMBER_BOOLEAN:
			if (DatumGetInt64(row->value[member->from]) != 0)
				PUT(out, "true");
			else
				PUT(out, "false");
			break;
		case PENNY_MEMBER_EPOCH:
			epoch = penny_epoch_text();
			penny_render_string(out, epoch, strlen(epoch));
			break;
		case PENNY_MEMBER_OBJECT:
		case PENNY_MEMBER_OPTIONAL_OBJECT:
			if (penny_shape_is_null(member->shape, row))
				PUT(out, "null");
			else
				penny_render_text(out, member->shape, row);
			break;
		case PENNY_MEMBER_LIST:
			put_list(out, member, &row->list[member->from]);
			break;
		case PENNY_MEMBER_FIRST:
			if (row->list[member->from].n == 0)
				PUT(out, "null");
			else
				penny_render_text(out, member->shape, row->list[member->from].rows);
			break;
		case PENNY_MEMBER_VALUE:
		case PENNY_MEMBER_OPTIONAL:
			put_value(out, row, member->from);
			break;
	}
}

/*
 * Append a row as JSON text.
 */
void
penny_render_text(StringInfo out, PennyShape *shape, const PennyRow *row)
{
	char separator = '{';
	int i;

	for (i = 0; i < shape->n; i++)
	{
		const PennyMember *member = &shape->members[i];

		if (!penny_shape_has(member, row))
			continue;
		enlargeStringInfo(out, 1 + PENNY_SHAPE_NAME);
		out->data[out->len++] = separator;
		memcpy(out->data + out->len, member->text, PENNY_SHAPE_NAME);
		out->len += member->len + strlen("\"\":");
		if (member->kind <= PENNY_MEMBER_OPTIONAL)
			put_value(out, row, member->from);
		else
			put_member(out, member, row);
		separator = ',';
	}
	PUT(out, "}");
}
