/*-------------------------------------------------------------------------
 *
 * edge_jobs.c
 *		Runs the tests of edge_jobs.py: requests that wait, and workers.  The
 *		gateway is the program fake_gateway beside this one.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
	const char *program = getenv("PENNY_EDGE_PROGRAM");
	const char *slash = strrchr(argv[0], '/');
	char gateway[4096];

	(void) argc;
	if (program == NULL || program[0] == '\0')
		program = access("./penny-edge", X_OK) == 0 ? "./penny-edge" : "penny-edge";
	snprintf(gateway, sizeof(gateway), "%.*sfake_gateway",
			 slash != NULL ? (int) (slash + 1 - argv[0]) : 0, argv[0]);
	execlp("python3", "python3", "-B", "test/unit/t_edge.py", gateway, program, "--jobs",
		   (char *) NULL);
	fprintf(stderr, "edge_jobs: python3: %s\n", strerror(errno));
	return 1;
}
