/*-------------------------------------------------------------------------
 *
 * read_statements.h
 *		The statements that read conversations, and the kinds of their rows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_READ_STATEMENTS_H
#define PENNY_READ_STATEMENTS_H

#include "postgres.h"

#include "store/statement.h"

/* The first column of each row; rows of one kind stand together. */
typedef enum PennyRowKind
{
	PENNY_ROW_CONVERSATION = 1,
	PENNY_ROW_MESSAGE,
	PENNY_ROW_TOOL_EXECUTION,
	PENNY_ROW_ARTIFACT,
	PENNY_ROW_ARTIFACT_VERSION,
	PENNY_ROW_PARTICIPANT,
	PENNY_ROW_TOMBSTONE,
	PENNY_ROW_USER,
	PENNY_ROW_MODEL,
	PENNY_ROW_KINDS
} PennyRowKind;

/* $1 conversation, $2 messages at most, $3 zero */
extern PennyStatement penny_read_eager_fetch;
/* $1 conversation, $2 after which seq, $3 before which seq, $4 messages at most */
extern PennyStatement penny_read_older_page;
extern PennyStatement penny_read_newer_page;
/* $1 conversation */
extern PennyStatement penny_read_artifact_bodies;
/* no parameter */
extern PennyStatement penny_read_all_models;
/* $1 message */
extern PennyStatement penny_read_one_message;
/* $1 user, $2 conversations at most, $3 archived, $4 and $5 the place before the first */
extern PennyStatement penny_read_list_page;
/* $1 conversation, $2 since which version, $3 changes at most */
extern PennyStatement penny_read_changes_since;

#endif /* PENNY_READ_STATEMENTS_H */
