/*-------------------------------------------------------------------------
 *
 * extension.c
 *		Sec-WebSocket-Extensions: what a client offers.
 *
 *	offers	= offer *( "," offer )
 *	offer	= token *( ";" token [ "=" ( token / quoted token ) ] )
 *
 * with blanks around all of them; offers may be empty, as in every list of HTTP,
 * and clients that want nothing do send an empty header.  A value that is not that is malformed
 * whole, as RFC 6455 9.1 demands.  An offer of permessage-deflate with a
 * parameter that is unknown, twice there, or has a value that it may not have,
 * is passed over, as RFC 7692 7 demands; the next may be met.
 *
 * Both sides give up their context after every message.  So one compressed
 * frame serves every client that reads permessage-deflate, and an idle
 * connection holds no memory for it.  Smaller windows are met by not
 * compressing what is longer than the window (packed.c).  The client's own
 * window does not matter, since 15 bits are unpacked.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/extension.h"

#include <stdio.h>
#include <string.h>

#define WINDOW_MIN 8
#define WINDOW_MAX 15

/* Parameters of permessage-deflate. */
enum
{
	SERVER_NO_TAKEOVER = 1,
	CLIENT_NO_TAKEOVER = 2,
	SERVER_WINDOW = 4,
	CLIENT_WINDOW = 8
};

typedef struct Reader
{
	const char *at;
	const char *end;
} Reader;

static bool
is_token_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		   (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static void
skip_blanks(Reader *reader)
{
	while (reader->at < reader->end && (*reader->at == ' ' || *reader->at == '\t'))
		reader->at++;
}

/* Take a character, and the blanks around it, if it is next. */
static bool
take(Reader *reader, char c)
{
	skip_blanks(reader);
	if (reader->at == reader->end || *reader->at != c)
		return false;
	reader->at++;
	skip_blanks(reader);
	return true;
}

static bool
take_token(Reader *reader, PennySpan *token)
{
	token->data = reader->at;
	while (reader->at < reader->end && is_token_char(*reader->at))
		reader->at++;
	token->len = (size_t) (reader->at - token->data);
	return token->len > 0;
}

/* A value: a token, or one in quotes (RFC 6455 9.1: a token after unquoting). */
static bool
take_value(Reader *reader, PennySpan *value)
{
	bool quoted = reader->at < reader->end && *reader->at == '"';

	reader->at += quoted;
	if (!take_token(reader, value))
		return false;
	if (!quoted)
		return true;
	if (reader->at == reader->end || *reader->at != '"')
		return false;
	reader->at++;
	return true;
}

/* Names of extensions and parameters: their case does not matter. */
static bool
is_name(PennySpan token, const char *name)
{
	return token.len == strlen(name) && strncasecmp(token.data, name, token.len) == 0;
}

/* 8 to 15 without leading zeroes; 0 when it is something else. */
static int
window_of(PennySpan value)
{
	if (value.len == 1 && (value.data[0] == '8' || value.data[0] == '9'))
		return value.data[0] - '0';
	if (value.len == 2 && value.data[0] == '1' && value.data[1] >= '0' && value.data[1] <= '5')
		return 10 + value.data[1] - '0';
	return 0;
}

/* Which parameter this is, if it may have that value; 0 = none.  A value of length 0: it has none. */
static int
parameter_of(PennySpan name, PennySpan value)
{
	if (is_name(name, "server_no_context_takeover"))
		return value.len == 0 ? SERVER_NO_TAKEOVER : 0;
	if (is_name(name, "client_no_context_takeover"))
		return value.len == 0 ? CLIENT_NO_TAKEOVER : 0;
	if (is_name(name, "server_max_window_bits"))
		return window_of(value) != 0 ? SERVER_WINDOW : 0;
	if (is_name(name, "client_max_window_bits"))
		return value.len == 0 || window_of(value) != 0 ? CLIENT_WINDOW : 0;
	return 0;
}

/* Read one offer; false when it is malformed, *good tells whether it can be met. */
static bool
read_offer(Reader *reader, bool *good, int *window_bits, bool *asked)
{
	PennySpan name;
	int seen = 0;

	*window_bits = WINDOW_MAX;
	*asked = false;
	if (!take_token(reader, &name))
		return false;
	*good = is_name(name, "permessage-deflate");
	while (take(reader, ';'))
	{
		PennySpan value = {NULL, 0};
		int which;

		if (!take_token(reader, &name))
			return false;
		if (take(reader, '=') && !take_value(reader, &value))
			return false;
		which = parameter_of(name, value);
		if (which == 0 || (seen & which))
			*good = false;
		seen |= which;
		if (which == SERVER_WINDOW)
		{
			*window_bits = window_of(value);
			*asked = true;
		}
	}
	return true;
}

PennyOffer
penny_extension_read(PennySpan value, int *window_bits, bool *asked)
{
	Reader reader = {value.data, value.data + value.len};
	PennyOffer found = PENNY_OFFER_NONE;

	*window_bits = WINDOW_MAX;
	*asked = false;
	for (;;)
	{
		int bits;
		bool named;
		bool good;

		while (take(&reader, ','))
			;
		if (reader.at == reader.end)
			return found;
		if (!read_offer(&reader, &good, &bits, &named))
			return PENNY_OFFER_MALFORMED;
		if (good && found == PENNY_OFFER_NONE)
		{
			found = PENNY_OFFER_DEFLATE;
			*window_bits = bits;
			*asked = named;
		}
		skip_blanks(&reader);
		if (reader.at < reader.end && *reader.at != ',')
			return PENNY_OFFER_MALFORMED;
	}
}

size_t
penny_extension_answer(char out[PENNY_EXTENSION_ANSWER], int window_bits, bool asked)
{
	char window[32] = "";

	if (asked)
		snprintf(window, sizeof(window), "; server_max_window_bits=%d", window_bits);
	return (size_t) snprintf(out, PENNY_EXTENSION_ANSWER,
							 "Sec-WebSocket-Extensions: permessage-deflate; "
							 "server_no_context_takeover; client_no_context_takeover%s\r\n",
							 window);
}
