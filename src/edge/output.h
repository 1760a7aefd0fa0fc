/*-------------------------------------------------------------------------
 *
 * output.h
 *		What connection.c and output.c share; for nobody else.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_OUTPUT_H
#define PENNY_EDGE_OUTPUT_H

#include "edge/connection.h"

#define PENNY_WRITE_MAX (256 * 1024) /* bytes of one write, before TLS */

extern void penny_connection_set_reading(PennyConnection *connection);
extern void penny_connection_set_timer(PennyConnection *connection);
extern uint64_t penny_connection_acknowledged(const PennyConnection *connection);
extern PennyConnection *penny_connections_slowest(void);
extern void penny_connection_start_linger(PennyConnection *connection);
/*
 * Hand one write to libwebsockets, as it is to go over the wire; false when the
 * connection was cut.
 */
extern bool penny_output_send(PennyConnection *connection, const char *bytes, size_t len);
/* Drop the queue, take the connection off the list of those to flush. */
extern void penny_output_release(PennyConnection *connection);

#endif /* PENNY_EDGE_OUTPUT_H */
