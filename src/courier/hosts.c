/*-------------------------------------------------------------------------
 *
 * hosts.c
 *		/etc/hosts, read once: inside the sandbox there are no files.
 *
 * The worker starts another courier when the file has changed.  At most
 * HOSTS_MAX names are kept, in the order of the file, which is enough for
 * hosts of one's own and bounds the memory of block lists.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "courier/courier.h"
#include "courier/names.h"

#define HOSTS_MAX 4096
#define LINE 4096
#define BLANK " \t\r\n"

typedef struct Host
{
	char *name;
	PennyAddress address;
} Host;

static Host *hosts;
static int nhosts;

/* "address name name ... # comment" */
static void
take_line(char *line)
{
	char *save = NULL;
	char *word;
	PennyAddress address;
	PennyAddress literal;
	char name[PENNY_WEBHOOK_HOST_MAX + 1];
	bool is_literal;

	line[strcspn(line, "#")] = '\0';
	word = strtok_r(line, BLANK, &save);
	if (word == NULL || !penny_address_parse(word, strlen(word), &address))
		return;
	while ((word = strtok_r(NULL, BLANK, &save)) != NULL && nhosts < HOSTS_MAX)
	{
		if (penny_webhook_host_parse(word, strlen(word), name, &is_literal, &literal) != NULL ||
			is_literal)
			continue;
		hosts[nhosts].name = strdup(name);
		hosts[nhosts].address = address;
		if (hosts[nhosts].name != NULL)
			nhosts++;
	}
}

void
penny_hosts_read(const char *path)
{
	FILE *file = fopen(path, "re");
	char line[LINE];

	if (file == NULL)
		return;
	hosts = calloc(HOSTS_MAX, sizeof(Host));
	while (hosts != NULL && nhosts < HOSTS_MAX && fgets(line, sizeof(line), file) != NULL)
		take_line(line);
	fclose(file);
	if (nhosts == HOSTS_MAX)
		penny_log(PENNY_LOG_LOG, "of %s only the first %d names are used", path, HOSTS_MAX);
}

const PennyAddresses *
penny_hosts_find(const char *host)
{
	static PennyAddresses found;

	found.n = 0;
	for (int i = 0; i < nhosts && found.n < PENNY_ADDRESSES_MAX; i++)
	{
		if (strcmp(hosts[i].name, host) == 0)
			found.address[found.n++] = hosts[i].address;
	}
	return found.n > 0 ? &found : NULL;
}
