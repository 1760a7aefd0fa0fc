/*-------------------------------------------------------------------------
 *
 * shape.h
 *		What rows of schema chat look like as JSON: one description for all
 *		that renders them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_SHAPE_H
#define PENNY_SHAPE_H

#include "postgres.h"

#include "store/tables.h"

#define PENNY_SHAPE_MEMBERS 24 /* of one object at most */
#define PENNY_SHAPE_NAME 24 /* of a member's name with quotes and colon; a fixed size copies fast */

typedef enum PennyMemberKind
{
	PENNY_MEMBER_VALUE,           /* a column, null or not */
	PENNY_MEMBER_OPTIONAL,        /* a column, left out when it is null */
	PENNY_MEMBER_BOOLEAN,         /* a column of numbers: not zero */
	PENNY_MEMBER_EPOCH,           /* penny.epoch() */
	PENNY_MEMBER_OBJECT,          /* an object of the same row; null when all in it is null */
	PENNY_MEMBER_OPTIONAL_OBJECT, /* the same, left out then */
	PENNY_MEMBER_LIST,            /* an array of the rows of a list */
	PENNY_MEMBER_FIRST            /* the first row of a list; null if there is none */
} PennyMemberKind;

typedef struct PennyMember
{
	char text[PENNY_SHAPE_NAME]; /* the name in quotes, and the colon */
	int len;                     /* of the name alone */
	PennyMemberKind kind;
	int from;                 /* column, or number of the list */
	struct PennyShape *shape; /* of objects, and of the rows of lists */
} PennyMember;

typedef struct PennyShape
{
	const PennyMember *members; /* in the order of the text */
	int n;
	const PennyMember *sorted[PENNY_SHAPE_MEMBERS]; /* in jsonb's; by penny_shape_sort() */
} PennyShape;

extern PennyShape penny_shape_user;
extern PennyShape penny_shape_tool_execution;
extern PennyShape penny_shape_message;  /* lists: tool executions */
extern PennyShape penny_shape_artifact; /* with the number of its newest version */
extern PennyShape penny_shape_conversation;
extern PennyShape penny_shape_whole_conversation; /* lists: messages, artifacts */
extern PennyShape penny_shape_message_page;       /* lists: messages; PENNY_PAGE_* */
extern PennyShape penny_shape_conversation_page;  /* lists: conversations; PENNY_PAGE_* */
extern PennyShape penny_shape_artifact_list;      /* lists: artifacts with bodies */
extern PennyShape penny_shape_model_list;         /* lists: models */
extern PennyShape penny_shape_session_list;       /* lists: sessions */

/* Columns of the row that a page is. */
#define PENNY_PAGE_MORE PENNY_N0
#define PENNY_PAGE_CURSOR PENNY_S0

/* Has an object nothing but nulls? */
extern bool penny_shape_is_null(const PennyShape *shape, const PennyRow *row);
/* Know the members in jsonb's order. */
extern void penny_shape_sort(PennyShape *shape);

/* Is a member there at all? */
static inline bool
penny_shape_has(const PennyMember *member, const PennyRow *row)
{
	if (member->kind == PENNY_MEMBER_OPTIONAL)
		return !row->isnull[member->from];
	if (member->kind == PENNY_MEMBER_OPTIONAL_OBJECT)
		return !penny_shape_is_null(member->shape, row);
	return true;
}

#endif /* PENNY_SHAPE_H */
