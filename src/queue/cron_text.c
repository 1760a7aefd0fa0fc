/*-------------------------------------------------------------------------
 *
 * cron_text.c
 *		Reading cron text; what it may be is in cron.h.
 *
 * One pass over the bytes, which may be anything; nothing is allocated.  The
 * result is sets of bits.  A text that is refused says what and where.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "queue/cron.h"

typedef struct Reader
{
	const char *text;
	size_t len;
	size_t at;
	const char *bad; /* what is wrong */
} Reader;

typedef struct Field
{
	const char *name;
	int min;
	int max;
	const char *names; /* of three letters each, from min on; or NULL */
} Field;

static const Field second_field = {"a second is 0 to 59", 0, 59, NULL};
static const Field minute_field = {"a minute is 0 to 59", 0, 59, NULL};
static const Field hour_field = {"an hour is 0 to 23", 0, 23, NULL};
static const Field day_field = {"a day is 1 to 31, or L", 1, 31, NULL};
static const Field month_field = {"a month is 1 to 12, or jan to dec", 1, 12,
								  "janfebmaraprmayjunjulaugsepoctnovdec"};
static const Field weekday_field = {"a weekday is 0 to 7, or sun to sat", 0, 7,
									"sunmontuewedthufrisat"};

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char) (c - 'A' + 'a') : c;
}

static bool
is_space(char c)
{
	return c == ' ' || c == '\t';
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static char
peek(const Reader *in)
{
	return in->at < in->len ? in->text[in->at] : '\0';
}

static bool
take(Reader *in, char c)
{
	if (in->at >= in->len || in->text[in->at] != c)
		return false;
	in->at++;
	return true;
}

static void
skip_space(Reader *in)
{
	while (in->at < in->len && is_space(in->text[in->at]))
		in->at++;
}

static bool
refuse(Reader *in, const char *why)
{
	if (in->bad == NULL)
		in->bad = why;
	return false;
}

/* A number of up to six digits. */
static bool
take_number(Reader *in, int *number)
{
	size_t first = in->at;

	*number = 0;
	while (in->at < in->len && is_digit(in->text[in->at]) && in->at - first < 6)
		*number = *number * 10 + (in->text[in->at++] - '0');
	return in->at > first && !(in->at < in->len && is_digit(in->text[in->at]));
}

/* A value of the field: a number, or a name. */
static bool
take_value(Reader *in, const Field *field, int *value)
{
	size_t first = in->at;

	if (is_digit(peek(in)))
	{
		if (take_number(in, value) && *value >= field->min && *value <= field->max)
			return true;
	}
	else if (field->names != NULL && in->len - in->at >= 3)
	{
		for (const char *name = field->names; *name != '\0'; name += 3)
			if (lower(in->text[in->at]) == name[0] && lower(in->text[in->at + 1]) == name[1] &&
				lower(in->text[in->at + 2]) == name[2])
			{
				in->at += 3;
				*value = field->min + (int) (name - field->names) / 3;
				return true;
			}
	}
	in->at = first;
	return refuse(in, field->name);
}

static bool
take_step(Reader *in, int *step)
{
	*step = 1;
	if (!take(in, '/'))
		return true;
	if (take_number(in, step) && *step > 0)
		return true;
	return refuse(in, "a step is a number above 0");
}

/* What only weekdays have after a value: L, or # and a number.  False: neither, or refused. */
static bool
take_weekday_of_month(Reader *in, PennyCron *cron, int value)
{
	int nth;

	if (take(in, 'L') || take(in, 'l'))
	{
		cron->last_weekday |= (uint8_t) (1 << value % 7);
		return true;
	}
	if (!take(in, '#'))
		return false;
	if (!take_number(in, &nth) || nth < 1 || nth > 5)
		return refuse(in, "after # comes a number from 1 to 5");
	cron->nth[value % 7] |= (uint8_t) (1 << nth);
	return true;
}

/* One item of a list. */
static bool
take_item(Reader *in, const Field *field, PennyCron *cron, uint64_t *bits)
{
	int from = field->min;
	int to = field == &weekday_field ? 6 : field->max;
	int step;

	if (field == &day_field && (take(in, 'L') || take(in, 'l') || take(in, '$')))
	{
		cron->last_day = true;
		return true;
	}
	if (!take(in, '*') && !take(in, '?'))
	{
		if (!take_value(in, field, &from))
			return false;
		if (field == &weekday_field && take_weekday_of_month(in, cron, from))
			return true;
		if (in->bad != NULL)
			return false;
		if (take(in, '-'))
		{
			if (!take_value(in, field, &to))
				return false;
			if (field == &weekday_field && to == 0 && from > 0)
				to = 7; /* fri-sun */
			if (to < from)
				return refuse(in, "a range ends before it begins");
		}
		else if (peek(in) != '/')
			to = from;
	}
	if (!take_step(in, &step))
		return false;
	for (int i = from; i <= to; i += step)
		*bits |= UINT64_C(1) << i;
	return true;
}

/* A field: a list of items, and a blank or the end after it. */
static bool
take_field(Reader *in, const Field *field, PennyCron *cron, uint64_t *bits, bool *star)
{
	*bits = 0;
	skip_space(in);
	*star = peek(in) == '*' || peek(in) == '?';
	do
	{
		if (!take_item(in, field, cron, bits))
			return false;
	} while (take(in, ','));
	if (in->at < in->len && !is_space(in->text[in->at]))
		return refuse(in, field->name);
	return true;
}

static int
count_fields(Reader in)
{
	int n = 0;

	for (;;)
	{
		skip_space(&in);
		if (in.at == in.len)
			return n;
		n++;
		while (in.at < in.len && !is_space(in.text[in.at]))
			in.at++;
	}
}

static bool
take_calendar(Reader *in, PennyCron *cron)
{
	int fields = count_fields(*in);
	uint64_t bits;
	bool star[3] = {false};

	if (fields != 5 && fields != 6)
		return refuse(in, "it has five fields, or six with seconds first");
	cron->second = 1;
	if (fields == 6 && !take_field(in, &second_field, cron, &cron->second, &star[0]))
		return false;
	if (!take_field(in, &minute_field, cron, &cron->minute, &star[1]) ||
		!take_field(in, &hour_field, cron, &bits, &star[2]))
		return false;
	cron->hour = (uint32_t) bits;
	cron->moving = star[0] || star[1] || star[2];
	if (!take_field(in, &day_field, cron, &bits, &cron->day_star))
		return false;
	cron->day = (uint32_t) bits;
	if (!take_field(in, &month_field, cron, &bits, &star[0]))
		return false;
	cron->month = (uint32_t) bits;
	if (!take_field(in, &weekday_field, cron, &bits, &cron->weekday_star))
		return false;
	cron->weekday = (uint8_t) (bits | bits >> 7) & 0x7F;
	return true;
}

/* The rest of the text is this word, in any case. */
static bool
is_word(const Reader *in, const char *word)
{
	size_t len = strlen(word);

	if (in->len - in->at != len)
		return false;
	for (size_t i = 0; i < len; i++)
		if (lower(in->text[in->at + i]) != word[i])
			return false;
	return true;
}

/* A number and a unit: 90s, 5m, 2h, 1d, 30 seconds. */
static bool
take_every(Reader *in, PennyCron *cron)
{
	static const struct
	{
		const char *word;
		int seconds;
	} units[] = {{"s", 1},        {"second", 1}, {"seconds", 1}, {"m", 60},       {"minute", 60},
				 {"minutes", 60}, {"h", 3600},   {"hour", 3600}, {"hours", 3600}, {"d", 86400}};
	size_t first = in->at;
	int number;

	if (take_number(in, &number) && number > 0)
	{
		skip_space(in);
		for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
			if (is_word(in, units[i].word) &&
				(int64_t) number * units[i].seconds <= INT64_C(366) * 86400)
			{
				cron->every = (int64_t) number * units[i].seconds;
				return true;
			}
	}
	in->at = first;
	return refuse(in, "a period is a number and s, m, h or d, up to a year");
}

static bool
take_nickname(Reader *in, PennyCron *cron)
{
	static const char *const names[][2] = {{"@yearly", "0 0 1 1 *"},  {"@annually", "0 0 1 1 *"},
										   {"@monthly", "0 0 1 * *"}, {"@weekly", "0 0 * * 0"},
										   {"@daily", "0 0 * * *"},   {"@midnight", "0 0 * * *"},
										   {"@hourly", "0 * * * *"}};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (is_word(in, names[i][0]))
		{
			Reader known = {names[i][1], strlen(names[i][1]), 0, NULL};

			return take_calendar(&known, cron);
		}
	if (in->len - in->at > 7 && memcmp(in->text + in->at, "@every ", 7) == 0)
	{
		in->at += 7;
		skip_space(in);
		return take_every(in, cron);
	}
	return refuse(in, "there is @yearly, @monthly, @weekly, @daily, @hourly and @every");
}

/*
 * Read a text.
 */
const char *
penny_cron_parse(const char *text, size_t len, PennyCron *cron, size_t *where)
{
	Reader in = {text, len, 0, NULL};
	bool good;

	memset(cron, 0, sizeof(*cron));
	*where = 0;
	if (len > PENNY_CRON_TEXT_MAX)
		return "it is too long";
	while (in.len > 0 && is_space(text[in.len - 1]))
		in.len--;
	skip_space(&in);
	if (peek(&in) == '@')
		good = take_nickname(&in, cron);
	else if (count_fields(in) == 2 && is_digit(peek(&in)))
		good = take_every(&in, cron);
	else
		good = take_calendar(&in, cron);
	if (good && cron->every == 0 && penny_cron_match(cron, 0) == PENNY_CRON_NEVER)
	{
		in.at = 0;
		good = refuse(&in, "there is no such day in any year");
	}
	*where = in.at;
	return good ? NULL : in.bad;
}
