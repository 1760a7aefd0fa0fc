/*-------------------------------------------------------------------------
 *
 * certificate.c
 *		The certificate in force, and how an edge gets it.
 *
 * The gateway reads the files, at start and at every reload, and keeps what it
 * last found good: each edge that it starts gets that, whatever has become of
 * the files.  An edge that runs takes a new one for new connections and keeps
 * those it has, so a reload drops nothing.
 *
 * It goes as one message over a socket that only the gateway writes to; it
 * never lies in a file or in shared memory.  Its page is left out of core
 * dumps.
 *
 * TLS that is wanted and cannot be had is never answered by plain HTTP: tokens
 * would travel in the clear.  Without anything that was in force before, the
 * port stays closed, and the files are looked at again from time to time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#include "auth/certificate.h"
#include "gateway/certificate.h"

#define PAGE 4096
#define ROUNDED ((sizeof(PennyCertificate) + PAGE - 1) / PAGE * PAGE)
#define WHY_SIZE 256

/* Whole pages, so that they alone are left out of core dumps. */
static union
{
	PennyCertificate certificate;
	char pages[ROUNDED];
} in_force __attribute__((aligned(PAGE))), fresh __attribute__((aligned(PAGE)));

static PennyTls state = PENNY_TLS_OFF;
static bool loaded = false; /* settings were looked at before */
static char reported[WHY_SIZE] = "";

static void report(const char *why, const char *remedy);
static bool take(PennyTls to);

bool
penny_gateway_certificate_load(void)
{
	char why[WHY_SIZE];
	const char *remedy;
	time_t until;
	bool changed = false;

	(void) madvise(&in_force, sizeof(in_force), MADV_DONTDUMP);
	(void) madvise(&fresh, sizeof(fresh), MADV_DONTDUMP);
	if (!penny_certificate_wanted())
	{
		penny_certificate_forget(&fresh.certificate);
		changed = take(PENNY_TLS_OFF);
	}
	else if (penny_certificate_read(&fresh.certificate, &until, why, sizeof(why), &remedy))
	{
		changed = take(PENNY_TLS_ON);
		if (changed && until != 0 && until < time(NULL))
			ereport(LOG, (errcode(ERRCODE_CONFIG_FILE_ERROR),
						  errmsg("the certificate of penny has ended"),
						  errhint("Clients refuse it: give a new one and reload.")));
	}
	else
	{
		report(why, remedy);
		if (!loaded)
			state = PENNY_TLS_MISSING;
	}
	loaded = true;
	penny_certificate_forget(&fresh.certificate);
	return changed;
}

/* The same complaint is made once, until something worked again. */
static void
report(const char *why, const char *remedy)
{
	if (strcmp(why, reported) == 0)
		return;
	strlcpy(reported, why, sizeof(reported));
	ereport(LOG, (errcode(ERRCODE_CONFIG_FILE_ERROR),
				  errmsg("penny cannot use its certificate: %s", why),
				  !loaded || state == PENNY_TLS_MISSING
					  ? errdetail("Nothing listens until it can.")
					  : errdetail("What was in force stays: %s.",
								  state == PENNY_TLS_ON ? "the certificate before" : "plain HTTP"),
				  errhint("%s", remedy)));
}

/* Put what was read in force; false when it is in force already. */
static bool
take(PennyTls to)
{
	size_t size = penny_certificate_size(&fresh.certificate);

	reported[0] = '\0';
	if (loaded && state == to && penny_certificate_size(&in_force.certificate) == size &&
		memcmp(&in_force, &fresh, size) == 0)
		return false;
	state = to;
	penny_certificate_forget(&in_force.certificate);
	memcpy(&in_force, &fresh, size);
	if (to == PENNY_TLS_ON)
		ereport(LOG, (errmsg("penny uses the certificate of \"penny.tls_cert_file\"")));
	return true;
}

PennyTls
penny_gateway_tls(void)
{
	return state;
}

bool
penny_gateway_certificate_send(int fd)
{
	size_t size = penny_certificate_size(&in_force.certificate);

	/* An edge that has gone gets it when it is started again. */
	return send(fd, &in_force, size, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t) size ||
		   errno == EPIPE || errno == ECONNRESET;
}
