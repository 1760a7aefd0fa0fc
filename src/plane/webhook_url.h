/*-------------------------------------------------------------------------
 *
 * webhook_url.h
 *		The URL of a webhook, and the list of those that may be called.
 *
 * A URL is taken apart by one parser, and what is called is put together anew
 * from its parts, so that no other parser can see another host in it.  It has
 * a scheme (http, https), a host, perhaps a port, a path and a query; no user,
 * no fragment; printable ASCII only.  A host is a name, or an address written
 * as penny_address_parse() wants it; what merely could be an address is refused.
 *
 * The list (penny.webhook_allow) has entries with commas between:
 *
 *	hooks.example.com				https, port 443, at public addresses
 *	hooks.example.com:8443			https, that port
 *	http://hooks.example.com		http alone, port 80; https:// likewise
 *	*.example.com					all names below it, not itself
 *	*								every name (at public addresses)
 *	127.0.0.1:9000, [::1]:9000		this address, http and https
 *	hooks.lan=10.1.0.0/16			the name, when it is in this network; http too
 *
 * An entry without a port stands for the scheme's own.  An entry of a name
 * permits public addresses; with a network it permits those in the network
 * instead, and several entries permit what each permits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_WEBHOOK_URL_H
#define PENNY_WEBHOOK_URL_H

#include "plane/webhook_address.h"

#define PENNY_WEBHOOK_URL_MAX 2048 /* bytes of a URL */
#define PENNY_WEBHOOK_HOST_MAX 253 /* bytes of a host's name */
#define PENNY_WEBHOOK_RULES_MAX 256
#define PENNY_WEBHOOK_LIST_MAX 16384 /* bytes of the list */

typedef struct PennyWebhookUrl
{
	bool https;
	bool literal; /* the host is an address */
	uint16_t port;
	PennyAddress address;                  /* when literal */
	char host[PENNY_WEBHOOK_HOST_MAX + 1]; /* in lower case, without brackets */
	const char *path; /* in the text that was parsed: path and query; may be empty */
	size_t path_len;
} PennyWebhookUrl;

typedef struct PennyWebhookRule
{
	bool http;
	bool https;
	bool below;   /* every name that ends in "." and the host; host "": every name */
	bool literal; /* the host is an address */
	bool at_network;
	uint16_t port; /* 0: the scheme's own */
	PennyAddress address;
	PennyNetwork network;
	char host[PENNY_WEBHOOK_HOST_MAX + 1];
} PennyWebhookRule;

typedef struct PennyWebhookRules
{
	int n;
	PennyWebhookRule rule[PENNY_WEBHOOK_RULES_MAX];
} PennyWebhookRules;

/* Take a URL apart; NULL, or what is wrong as a sentence. */
extern const char *penny_webhook_url_parse(const char *text, size_t len, PennyWebhookUrl *url);
/* Put it together; the length, at most PENNY_WEBHOOK_URL_MAX + 16. */
extern size_t penny_webhook_url_text(const PennyWebhookUrl *url,
									 char text[PENNY_WEBHOOK_URL_MAX + 17]);

/* Read the list; NULL, or what is wrong as a sentence, and the entry that is. */
extern const char *penny_webhook_rules_parse(const char *list, PennyWebhookRules *rules,
											 const char **entry, size_t *entry_len);
/* May the URL be called, as far as its text says? */
extern bool penny_webhook_permits_url(const PennyWebhookRules *rules, const PennyWebhookUrl *url);
/* And at this address? */
extern bool penny_webhook_permits_address(const PennyWebhookRules *rules,
										  const PennyWebhookUrl *url, const PennyAddress *address);

/* Host name or address, [address] for IPv6; NULL, or what is wrong as a sentence. */
extern const char *penny_webhook_host_parse(const char *text, size_t len, char *host, bool *literal,
											PennyAddress *address);
/* A port of 1 to 65535 in decimal; 0 when it is none. */
extern uint16_t penny_webhook_port_parse(const char *text, size_t len);

#endif /* PENNY_WEBHOOK_URL_H */
