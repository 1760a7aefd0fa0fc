/*-------------------------------------------------------------------------
 *
 * webhook_rules.c
 *		The list of hosts that webhooks may call.  See webhook_url.h.
 *
 * Pure: no allocation, no I/O.
 *
 *-------------------------------------------------------------------------
 */
#include "plane/webhook_url.h"

#include <string.h>

/* A network so wide that it says nothing is a mistake. */
#define LEAST_BITS_4 8
#define LEAST_BITS_6 7

static const char *take_rule(const char *text, size_t len, PennyWebhookRule *rule);
static const char *take_host(const char *text, size_t len, PennyWebhookRule *rule);
static const char *take_network(const char *text, size_t len, PennyWebhookRule *rule);
static bool applies(const PennyWebhookRule *rule, const PennyWebhookUrl *url);

const char *
penny_webhook_rules_parse(const char *list, PennyWebhookRules *rules, const char **entry,
						  size_t *entry_len)
{
	const char *next = list;

	rules->n = 0;
	*entry = list;
	*entry_len = 0;
	if (strlen(list) > PENNY_WEBHOOK_LIST_MAX)
		return "The list is too long.";
	for (;;)
	{
		const char *end;
		const char *wrong;

		next += strspn(next, " \t\r\n");
		end = next + strcspn(next, ",");
		*entry = next;
		*entry_len = (size_t) (end - next);
		while (*entry_len > 0 && strchr(" \t\r\n", next[*entry_len - 1]) != NULL)
			(*entry_len)--;
		if (*entry_len == 0)
			return *end == '\0' && rules->n == 0 ? NULL : "An entry is empty.";
		if (rules->n == PENNY_WEBHOOK_RULES_MAX)
			return "The list has too many entries.";
		wrong = take_rule(*entry, *entry_len, &rules->rule[rules->n]);
		if (wrong != NULL)
			return wrong;
		rules->n++;
		if (*end == '\0')
			return NULL;
		next = end + 1;
	}
}

/* [scheme://]host[:port][=network] */
static const char *
take_rule(const char *text, size_t len, PennyWebhookRule *rule)
{
	const char *network = memchr(text, '=', len);
	size_t host_len = network != NULL ? (size_t) (network - text) : len;
	const char *wrong;
	bool scheme = true;

	memset(rule, 0, sizeof(*rule));
	if (host_len >= 8 && strncasecmp(text, "https://", 8) == 0)
	{
		rule->https = true;
		wrong = take_host(text + 8, host_len - 8, rule);
	}
	else if (host_len >= 7 && strncasecmp(text, "http://", 7) == 0)
	{
		rule->http = true;
		wrong = take_host(text + 7, host_len - 7, rule);
	}
	else
	{
		scheme = false;
		rule->https = true;
		wrong = take_host(text, host_len, rule);
	}
	if (wrong == NULL && network != NULL)
		wrong = take_network(network + 1, len - host_len - 1, rule);
	/* within a network of one's own certificates are rare */
	if (!scheme && (rule->literal || rule->at_network))
		rule->http = true;
	return wrong;
}

static const char *
take_host(const char *text, size_t len, PennyWebhookRule *rule)
{
	const char *bracket = memchr(text, ']', len);
	const char *after = bracket != NULL ? bracket : text;
	const char *port = memchr(after, ':', len - (size_t) (after - text));
	const char *wrong;

	if (port != NULL)
	{
		rule->port = penny_webhook_port_parse(port + 1, len - (size_t) (port + 1 - text));
		if (rule->port == 0)
			return "The port must be a number from 1 to 65535.";
		len = (size_t) (port - text);
	}
	if (len == 1 && text[0] == '*')
	{
		rule->below = true;
		return NULL;
	}
	if (len > 2 && text[0] == '*' && text[1] == '.')
	{
		rule->below = true;
		text += 2;
		len -= 2;
	}
	wrong = penny_webhook_host_parse(text, len, rule->host, &rule->literal, &rule->address);
	if (wrong != NULL)
		return wrong;
	if (rule->literal && rule->below)
		return "Names below an address there are none.";
	if (rule->literal && penny_address_class(&rule->address) == PENNY_ADDRESS_NEVER)
		return "This is not an address of a host.";
	return NULL;
}

static const char *
take_network(const char *text, size_t len, PennyWebhookRule *rule)
{
	PennyNetwork *network = &rule->network;

	if (rule->literal)
		return "An address needs no network.";
	if (rule->below && rule->host[0] == '\0')
		return "Not every name may be in a network of one's own: name the hosts.";
	if (!penny_network_parse(text, len, network))
		return "The network must be written as address/bits, with no bits set behind those.";
	if (network->bits < (network->base.ipv6 ? LEAST_BITS_6 : LEAST_BITS_4))
		return "The network is too wide.";
	rule->at_network = true;
	return NULL;
}

/* Is the rule about this URL? */
static bool
applies(const PennyWebhookRule *rule, const PennyWebhookUrl *url)
{
	size_t len = strlen(url->host);
	size_t rule_len = strlen(rule->host);
	uint16_t port = rule->port != 0 ? rule->port : url->https ? 443 : 80;

	if ((url->https ? !rule->https : !rule->http) || port != url->port ||
		rule->literal != url->literal)
		return false;
	if (rule->literal)
		return penny_address_equal(&rule->address, &url->address);
	if (!rule->below)
		return strcmp(rule->host, url->host) == 0;
	return rule_len == 0 || (len > rule_len + 1 && url->host[len - rule_len - 1] == '.' &&
							 strcmp(url->host + len - rule_len, rule->host) == 0);
}

bool
penny_webhook_permits_url(const PennyWebhookRules *rules, const PennyWebhookUrl *url)
{
	for (int i = 0; i < rules->n; i++)
	{
		if (applies(&rules->rule[i], url))
			return true;
	}
	return false;
}

bool
penny_webhook_permits_address(const PennyWebhookRules *rules, const PennyWebhookUrl *url,
							  const PennyAddress *address)
{
	PennyAddressClass class = penny_address_class(address);

	if (class == PENNY_ADDRESS_NEVER)
		return false;
	for (int i = 0; i < rules->n; i++)
	{
		const PennyWebhookRule *rule = &rules->rule[i];

		if (!applies(rule, url))
			continue;
		if (rule->literal      ? penny_address_equal(&rule->address, address)
			: rule->at_network ? penny_network_holds(&rule->network, address)
							   : class == PENNY_ADDRESS_PUBLIC)
			return true;
	}
	return false;
}
