/*-------------------------------------------------------------------------
 *
 * route.c
 *		The compiled route table.
 *
 * A trie of path segments in one piece of memory: a node is a segment, its
 * children are a list of literal ones and at most one parameter.  A parameter's
 * name belongs to the route, not to the node, so that routes with different
 * names for the same place share it; names are read out of the pattern when
 * they are asked for.  Lines are taken apart in route_line.c.
 *
 * Being a tree, it is walked with each node entered at most once per match,
 * and recursion is bounded by PENNY_MAX_ROUTE_SEGMENTS.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "plane/route_private.h"

typedef struct Node
{
	PennySpan literal;            /* the segment; unused for parameters */
	int32_t next;                 /* sibling, -1 = last */
	int32_t children;             /* first literal child, -1 = none */
	int32_t parameter;            /* child for a parameter, -1 = none */
	int32_t entry[PENNY_METHODS]; /* routes that end here, -1 = none */
} Node;

struct PennyRoutes
{
	int entries;
	int nodes;
	PennyRouteLine *entry; /* at most PENNY_MAX_ROUTES, by line */
	Node *node;            /* [0] is the root */
};

/* What a walk carries. */
typedef struct Walk
{
	const PennyRoutes *routes;
	PennyMethod method;
	int segments;
	PennySpan segment[PENNY_MAX_ROUTE_SEGMENTS];
	int params;
	int entry;
	PennyRouteMatch *match;
} Walk;

/* ---- compiling ------------------------------------------------------- */

/* Count a byte in the text. */
static size_t
occurrences(PennySpan text, char byte)
{
	size_t n = 0;

	for (size_t i = 0; i < text.len; i++)
		n += text.data[i] == byte;
	return n;
}

/* Entries a text can give. */
static size_t
entries_of(PennySpan text)
{
	size_t lines = occurrences(text, '\n') + 1;

	return lines < PENNY_MAX_ROUTES ? lines : PENNY_MAX_ROUTES;
}

static size_t
rounded(size_t size)
{
	return (size + 15) & ~(size_t) 15;
}

size_t
penny_routes_size(PennySpan text)
{
	/* every segment of a pattern starts with a slash, and makes one node at most */
	return rounded(sizeof(PennyRoutes)) + rounded(entries_of(text) * sizeof(PennyRouteLine)) +
		   (occurrences(text, '/') + 1) * sizeof(Node);
}

/* Add an empty node. */
static int32_t
add_node(PennyRoutes *routes, PennySpan literal)
{
	Node *node = &routes->node[routes->nodes];

	node->literal = literal;
	node->next = node->children = node->parameter = -1;
	for (int i = 0; i < PENNY_METHODS; i++)
		node->entry[i] = -1;
	return routes->nodes++;
}

/* The child of a node for this segment of a pattern, made when missing. */
static int32_t
child_for(PennyRoutes *routes, int32_t parent, PennySpan segment)
{
	int32_t child;

	if (penny_route_is_parameter(segment))
	{
		child = routes->node[parent].parameter;
		if (child < 0)
			child = routes->node[parent].parameter = add_node(routes, segment);
		return child;
	}
	for (child = routes->node[parent].children; child >= 0; child = routes->node[child].next)
	{
		if (penny_route_spans_equal(routes->node[child].literal, segment))
			return child;
	}
	child = add_node(routes, segment);
	routes->node[child].next = routes->node[parent].children;
	routes->node[parent].children = child;
	return child;
}

/* Add the route of a line; NULL or why it is refused. */
static const char *
add_line(PennyRoutes *routes, PennySpan line, int number)
{
	PennySpan segment[PENNY_MAX_ROUTE_SEGMENTS];
	PennyRouteLine entry;
	int32_t node = 0;
	int n;
	const char *wrong = penny_route_read_line(line, &entry, segment, &n);

	if (wrong != NULL)
		return wrong;
	if (routes->entries == PENNY_MAX_ROUTES)
		return "there are too many routes";
	for (int i = 0; i < n; i++)
		node = child_for(routes, node, segment[i]);
	if (routes->node[node].entry[entry.method] >= 0)
		return "an earlier route has the same method and shape";
	entry.line = number;
	routes->node[node].entry[entry.method] = routes->entries;
	routes->entry[routes->entries++] = entry;
	return NULL;
}

PennyRoutes *
penny_routes_compile(void *memory, PennySpan text, PennyRouteErrors *errors)
{
	PennyRoutes *routes = memory;
	PennySpan rest = text;
	PennySpan line;

	routes->entries = routes->nodes = 0;
	routes->entry = (PennyRouteLine *) ((char *) memory + rounded(sizeof(PennyRoutes)));
	routes->node =
		(Node *) ((char *) routes->entry + rounded(entries_of(text) * sizeof(PennyRouteLine)));
	*errors = (PennyRouteErrors){0, 0, NULL};
	add_node(routes, (PennySpan){text.data, 0});
	for (int number = 0; penny_route_next_part(&rest, '\n', &line); number++)
	{
		const char *wrong = line.len > 0 ? add_line(routes, line, number) : NULL;

		if (wrong == NULL)
			continue;
		if (errors->refused++ == 0)
		{
			errors->first_line = number;
			errors->reason = wrong;
		}
	}
	return routes;
}

int
penny_routes_count(const PennyRoutes *routes)
{
	return routes->entries;
}

/* ---- matching -------------------------------------------------------- */

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* Is a path's segment this literal text, once percent-decoded? */
static bool
literal_matches(PennySpan literal, PennySpan segment)
{
	size_t at = 0;

	for (size_t i = 0; i < literal.len; i++)
	{
		int c;

		if (at == segment.len)
			return false;
		c = (unsigned char) segment.data[at++];
		if (c == '%')
		{
			int high = segment.len - at >= 2 ? hex_value(segment.data[at]) : -1;
			int low = high >= 0 ? hex_value(segment.data[at + 1]) : -1;

			if (low < 0)
				return false;
			c = high << 4 | low;
			at += 2;
		}
		if (c != (unsigned char) literal.data[i])
			return false;
	}
	return at == segment.len;
}

/* The walk has used up the path at this node: is there a route? */
static bool
arrive(Walk *walk, const Node *node)
{
	int32_t entry = node->entry[walk->method];

	if (entry < 0 && walk->method == PENNY_HEAD)
		entry = node->entry[PENNY_GET];
	for (int i = 0; i < PENNY_METHODS; i++)
	{
		if (node->entry[i] >= 0)
			walk->match->allowed |= UINT32_C(1) << i;
	}
	if (node->entry[PENNY_GET] >= 0)
		walk->match->allowed |= UINT32_C(1) << PENNY_HEAD;
	if (entry < 0)
		return false;
	walk->entry = entry;
	return true;
}

/* Walk on from a node with the path's segments from `at`; literal ones first. */
static bool
step(Walk *walk, int32_t number, int at)
{
	const Node *node = &walk->routes->node[number];

	if (at == walk->segments)
		return arrive(walk, node);
	for (int32_t child = node->children; child >= 0; child = walk->routes->node[child].next)
	{
		if (!literal_matches(walk->routes->node[child].literal, walk->segment[at]))
			continue;
		if (step(walk, child, at + 1))
			return true;
		break;
	}
	if (node->parameter < 0 || walk->segment[at].len == 0)
		return false;
	walk->match->param[walk->params++] = walk->segment[at];
	if (step(walk, node->parameter, at + 1))
		return true;
	walk->params--;
	return false;
}

PennyRouteResult
penny_route_match(const PennyRoutes *routes, PennyMethod method, PennySpan path,
				  PennyRouteMatch *match)
{
	Walk walk;

	match->route = -1;
	match->allowed = 0;
	match->params = 0;
	match->access = PENNY_ACCESS_ADMIN;
	match->ttl = 0;
	match->scope = PENNY_SCOPE_USER;
	match->line = (PennySpan){"", 0};
	if (path.len == 0 || path.data[0] != '/' || (unsigned) method >= PENNY_METHODS)
		return PENNY_ROUTE_NOT_FOUND;
	walk.routes = routes;
	walk.method = method;
	walk.params = 0;
	walk.match = match;
	walk.segments = penny_route_split(path, walk.segment);
	if (walk.segments < 0)
		return PENNY_ROUTE_NOT_FOUND;
	if (!step(&walk, 0, 0))
		return match->allowed != 0 ? PENNY_ROUTE_METHOD_NOT_ALLOWED : PENNY_ROUTE_NOT_FOUND;
	match->route = routes->entry[walk.entry].line;
	match->access = routes->entry[walk.entry].access;
	match->ttl = routes->entry[walk.entry].ttl;
	match->scope = routes->entry[walk.entry].scope;
	match->line = routes->entry[walk.entry].key;
	match->params = walk.params;
	return PENNY_ROUTE_FOUND;
}

/* The entry of a line; entries are in the order of their lines. */
static const PennyRouteLine *
find_entry(const PennyRoutes *routes, int line)
{
	int low = 0;
	int high = routes->entries;

	while (low < high)
	{
		int middle = (low + high) / 2;

		if (routes->entry[middle].line < line)
			low = middle + 1;
		else
			high = middle;
	}
	return low < routes->entries && routes->entry[low].line == line ? &routes->entry[low] : NULL;
}

PennySpan
penny_route_param_name(const PennyRoutes *routes, int route, int param)
{
	const PennyRouteLine *entry = find_entry(routes, route);
	PennySpan segment[PENNY_MAX_ROUTE_SEGMENTS];
	int n = entry != NULL ? penny_route_split(entry->pattern, segment) : 0;

	for (int i = 0; i < n; i++)
	{
		if (penny_route_is_parameter(segment[i]) && param-- == 0)
			return penny_route_name_inside(segment[i]);
	}
	return (PennySpan){"", 0};
}

size_t
penny_route_allow(uint32_t allowed, char *out, size_t size)
{
	size_t len = 0;

	for (PennyMethod method = PENNY_GET; method < PENNY_METHODS; method++)
	{
		const char *name = penny_method_name(method);
		size_t need = strlen(name) + (len > 0 ? 2 : 0);

		if (!(allowed >> method & 1) || need > size - len)
			continue;
		if (len > 0)
		{
			memcpy(out + len, ", ", 2);
			len += 2;
		}
		memcpy(out + len, name, strlen(name));
		len += strlen(name);
	}
	return len;
}
