/*-------------------------------------------------------------------------
 *
 * input.h
 *		What connection.c needs of input.c; the rest is in connection.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_INPUT_H
#define PENNY_EDGE_INPUT_H

#include "edge/connection.h"

/* Give back what was kept of a connection's input. */
extern void penny_input_release(PennyConnection *connection);

#endif /* PENNY_EDGE_INPUT_H */
