/*-------------------------------------------------------------------------
 *
 * layout.h
 *		What lies where in the plane, and who may write it.
 *
 * The plane is the shared memory in which PostgreSQL and penny-edge meet.
 * The postmaster makes it beside its own shared memory, before it forks:
 *
 *	region P   written by PostgreSQL's processes only; the edge maps it
 *			   read-only, and the seals keep it from changing that
 *	region E   one for each edge, written by that edge; PostgreSQL distrusts
 *			   every word of it
 *	region S   written by all edges, which count their clients there, so that
 *			   a limit holds over all of them (share.h); PostgreSQL reads
 *			   nothing from it
 *
 * One writing side per word; no read-modify-write crosses the border.  In
 * region P several processes of PostgreSQL may write one word; they then use
 * compare-and-swap among themselves, and so do the edges in region S.  In
 * region E the edge is one thread, and while no edge runs, its gateway takes
 * the edge's place (penny_plane_sweep), in region S likewise.
 *
 * Everything here is rebuildable: a crash restart makes a new plane.  Nothing
 * here is a pointer, a descriptor or a handle of a process.
 *
 * Offsets and sizes are computed from PennyPlaneConfig by both sides with the
 * same function, and each side keeps its own copy of the result: no bound is
 * ever read out of memory that the other side can write.
 *
 * Plain C: no PostgreSQL headers here, since the edge compiles it too.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PLANE_LAYOUT_H
#define PENNY_PLANE_LAYOUT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PENNY_PLANE_MAGIC UINT64_C(0x70656e6e79706c31)
#define PENNY_PLANE_LAYOUT 7 /* raise with every change of this file */

#define PENNY_MAX_EDGES 8
#define PENNY_MAX_EXECUTORS 64
#define PENNY_MAX_SLOTS 64 /* per edge, so that a mask fits one word */
#define PENNY_SUB_RING 64  /* >= slots: an honest edge never laps itself */
#define PENNY_ORIGINS_SIZE 2048
#define PENNY_ORIGIN_MAX 255 /* bytes of one origin */
#define PENNY_HOSTS_SIZE 1024
#define PENNY_SHARED_ADDRESSES 16384 /* client addresses counted over all edges */
#define PENNY_INTEREST_BITS 65536    /* of rooms in which an edge has members, interest.h */
#define PENNY_SHARED_USERS 8192      /* users whose requests are counted over all edges */
#define PENNY_CACHE_LINE 64

/*
 * Sizes fixed at server start.  The postmaster fills this from the settings;
 * an edge reads it once while attaching, checks it, and keeps its copy.
 */
typedef struct PennyPlaneConfig
{
	uint32_t edges;            /* 1 .. PENNY_MAX_EDGES */
	uint32_t executors;        /* 1 .. PENNY_MAX_EXECUTORS */
	uint32_t slots;            /* calls in flight per edge, 1 .. PENNY_MAX_SLOTS */
	uint32_t request_size;     /* bytes of one request, a multiple of 64 */
	uint32_t response_size;    /* bytes of one piece of an answer, likewise */
	uint32_t events;           /* descriptors of the event ring, a power of two */
	uint32_t event_bytes;      /* bytes of the event ring, a power of two */
	uint32_t cache_stamps;     /* stamps of tags, a power of two */
	uint32_t cache_entries;    /* entries, a power of two */
	uint32_t cache_chunks;     /* chunks of 1 kB of the arena, 0 = no cache */
	uint32_t cache_max_object; /* bytes of one body */
} PennyPlaneConfig;

/* Content codings of HTTP. */
typedef enum PennyCoding
{
	PENNY_IDENTITY,
	PENNY_BR,
	PENNY_GZIP,
	PENNY_DEFLATE,
	PENNY_CODINGS
} PennyCoding;

/*
 * What the edge must know of the settings.  Written by the gateway at start
 * and on reload under the sequence word before it (odd while writing); read
 * by the edge with penny_plane_settings().
 */
typedef struct PennyEdgeSettings
{
	uint32_t max_connections; /* open sockets in total */
	uint32_t max_connections_per_address;
	uint32_t header_size;             /* bytes of request line and headers */
	uint32_t target_size;             /* bytes of the request target */
	uint32_t body_size;               /* bytes of a request body */
	uint32_t header_timeout;          /* ms until the headers are there */
	uint32_t body_timeout;            /* ms until the body is there */
	uint32_t write_timeout;           /* ms without progress of a write */
	uint32_t keepalive_timeout;       /* ms between requests */
	uint32_t acquire_timeout;         /* ms a call may wait for an executor */
	uint32_t auth_timeout;            /* ms until a WebSocket is signed in */
	uint32_t websocket_message_size;  /* bytes of one message */
	uint32_t websocket_messages;      /* messages a second and socket */
	uint32_t heartbeat_interval;      /* ms between pings, 0 = none */
	uint32_t rooms_per_connection;    /* joined rooms of one socket */
	uint32_t batch_window;            /* ms in which frames of a room gather */
	uint32_t stream_timeout;          /* ms without a frame that end a followed answer */
	uint32_t websocket_compression;   /* 1: permessage-deflate is agreed to */
	uint32_t drain_timeout;           /* ms for running requests at an end */
	uint32_t queue_size;              /* calls waiting in the edge */
	uint32_t min_body_rate;           /* bytes a second of a body, 0 = any */
	uint32_t connections_per_second;  /* of one address, 0 = no limit */
	uint32_t requests_per_second;     /* of one address, 0 = no limit */
	uint32_t compression_min_size;    /* bytes of a body that is compressed */
	uint32_t compression_cache_size;  /* kB of compressed bodies kept, 0 = none */
	uint8_t codings[PENNY_CODINGS];   /* PennyCoding, best first, ended by PENNY_IDENTITY */
	char origins[PENNY_ORIGINS_SIZE]; /* allowed Origins, space separated */
	char hosts[PENNY_HOSTS_SIZE];     /* allowed Hosts, likewise; empty = any */
} PennyEdgeSettings;

/* ---- region P -------------------------------------------------------- */

/*
 * One for each edge, in region P.
 *
 * sub_head: next entry of the edge's submission ring to take; executors CAS.
 * woken: the sleep word of the edge that was last woken; wakers CAS it from
 *		the value read, and only the winner writes the eventfd.
 * incarnation: counts the edges started on this region; gateway only.  An
 *		executor that waits for an edge to take a piece of an answer gives up
 *		when it changes.
 */
typedef struct PennyEdgeControl
{
	_Alignas(PENNY_CACHE_LINE) _Atomic uint64_t sub_head;
	_Alignas(PENNY_CACHE_LINE) _Atomic uint64_t woken;
	_Alignas(PENNY_CACHE_LINE) _Atomic uint64_t incarnation;
} PennyEdgeControl;

/*
 * A process that an edge can wake: an executor, or the supervisor (the last
 * entry).  The word is odd while its owner sleeps; the owner alone writes it.
 */
typedef struct PennySleeper
{
	_Alignas(PENNY_CACHE_LINE) _Atomic uint64_t word;
	_Atomic uint32_t present; /* a process serves this entry */
} PennySleeper;

/*
 * State of a call as PostgreSQL sees it: generation << 8 | state.  See call.h
 * for the life cycle.
 */
typedef struct PennySlotWord
{
	_Alignas(PENNY_CACHE_LINE) _Atomic uint64_t word;
	_Atomic uint64_t part; /* pieces of the answer written so far */
} PennySlotWord;

/*
 * Who an executor found the token of a request to be: what the edge must know
 * to answer the next request of that token from the cache.  An edge is trusted
 * with delivery alone, and could deliver what it likes anyway.
 */
typedef struct PennyViewer
{
	uint8_t user[16];    /* PennyCacheViewer of cache/cache.h: whose for scope user */
	uint8_t role[16];    /* whose for scope role */
	uint64_t id_hash;    /* of the user's id, to count requests of a user by */
	uint64_t until;      /* seconds since 1970 at which the token ends, 0 = does not */
	uint64_t keys_stamp; /* of the plane, read before the token was verified */
	uint64_t all_seq;    /* of PENNY_STAMP_ALL likewise: roles and settings; holds while equal */
	uint64_t stamp_seq;  /* of the stamp, read before the token was looked up */
	uint32_t stamp_slot; /* that revokes the token (sessions); PENNY_STAMP_NONE: none */
	uint32_t access;     /* greatest PennyAccess that the role has */
	uint32_t known;      /* 1: all this is filled in; 0: nobody, or not to be kept */
	uint32_t reserved;
} PennyViewer;

/* What became of a GET of a route that may be cached. */
typedef enum PennyCacheMark
{
	PENNY_MARK_NONE,   /* the route is not cached */
	PENNY_MARK_MISS,   /* built now */
	PENNY_MARK_HIT,    /* an executor found it; `age` says how old */
	PENNY_MARK_BYPASS, /* built now, and not kept */
	PENNY_MARKS
} PennyCacheMark;

/* Head of an answer; the bytes follow: head first, then body. */
typedef struct PennyResponseHead
{
	uint32_t status;    /* HTTP status; for other calls see call.h */
	uint32_t head_len;  /* bytes of header lines, whole in the first piece */
	uint32_t total_len; /* bytes of head and body together */
	uint32_t piece_len; /* bytes in this piece */
	uint32_t mark;      /* PennyCacheMark */
	uint32_t age;       /* seconds, for PENNY_MARK_HIT */
	PennyViewer viewer; /* in the first piece */
} PennyResponseHead;

/*
 * Descriptor of one event.  Writers reserve by fetch-and-add, fill, and set
 * seq to the number of the event plus one; see event.h.
 */
typedef struct PennyEventSlot
{
	_Alignas(PENNY_CACHE_LINE) _Atomic uint64_t seq;
	uint64_t room_hash;     /* penny_hash() of the room's name */
	uint64_t version;       /* of the conversation, 0 = not versioned */
	uint64_t committed;     /* CLOCK_MONOTONIC ns of the commit, for latency */
	uint64_t data;          /* position in the byte ring, never reduced */
	uint32_t kind;          /* PennyEventKind */
	uint32_t room_len;      /* bytes of the room's name, first in the bytes */
	uint32_t frame_len;     /* bytes of the frame that follow it, 0 = none */
	uint8_t user[16];       /* LEFT: who lost access; PUBLISH: see event.h */
	uint32_t head_checksum; /* over the fields above */
	uint32_t data_checksum; /* over the bytes */
} PennyEventSlot;

typedef struct PennyPlaneHeader
{
	uint64_t magic;
	uint32_t layout;
	uint32_t reserved;
	uint64_t generation; /* random, one for each plane */
	PennyPlaneConfig config;
	_Alignas(PENNY_CACHE_LINE) _Atomic uint64_t settings_seq;
	PennyEdgeSettings settings;
	_Alignas(PENNY_CACHE_LINE) _Atomic uint64_t routes_stamp; /* raised when routes change */
	_Alignas(PENNY_CACHE_LINE) _Atomic uint64_t keys_stamp;   /* raised when keys of tokens do */
	_Alignas(PENNY_CACHE_LINE) _Atomic uint64_t ev_tail;      /* next event number */
	_Alignas(PENNY_CACHE_LINE) _Atomic uint64_t ev_data;      /* next byte position */
	PennyEdgeControl edge[PENNY_MAX_EDGES];
	PennySleeper sleeper[PENNY_MAX_EXECUTORS + 1]; /* [config.executors] = supervisor */
} PennyPlaneHeader;

/* ---- region E -------------------------------------------------------- */

/* State of a call as the edge sees it; cancel and ack hold a generation. */
typedef struct PennyEdgeSlot
{
	_Alignas(PENNY_CACHE_LINE) _Atomic uint64_t word;
	_Atomic uint64_t cancel; /* = generation: nobody waits for the answer */
	_Atomic uint64_t ack;    /* pieces of the answer taken so far */
} PennyEdgeSlot;

/* What a request carries; the bytes of the fields follow in this order. */
typedef enum PennyField
{
	PENNY_FIELD_TARGET,     /* HTTP: path and query as received; else the room */
	PENNY_FIELD_HEADERS,    /* HTTP: "name: value\n" lines, names in lower case */
	PENNY_FIELD_TOKEN,      /* bearer token, may be empty */
	PENNY_FIELD_BODY,       /* HTTP: the body; WebSocket: the client's frame */
	PENNY_FIELD_REQUEST_ID, /* as told to the client */
	PENNY_FIELD_PEER,       /* address of the client, text */
	PENNY_FIELDS
} PennyField;

typedef struct PennyRequestHead
{
	uint32_t op;     /* PennyOp, see call.h */
	uint32_t method; /* PennyMethod for PENNY_OP_HTTP */
	uint32_t flags;  /* PENNY_REQUEST_* */
	uint32_t len[PENNY_FIELDS];
} PennyRequestHead;

/* Counters of an edge, kept over its restarts; names as in penny.stats(). */
typedef enum PennyCounter
{
	PENNY_COUNT_ACCEPTED,      /* connections accepted */
	PENNY_COUNT_REFUSED,       /* connections refused by a limit */
	PENNY_COUNT_CONNECTIONS,   /* open now (gauge) */
	PENNY_COUNT_WEBSOCKETS,    /* open WebSockets now (gauge) */
	PENNY_COUNT_ROOMS,         /* rooms with members now (gauge) */
	PENNY_COUNT_MEMBERS,       /* memberships now (gauge) */
	PENNY_COUNT_REQUESTS,      /* HTTP requests answered */
	PENNY_COUNT_ERRORS,        /* of them with status 5xx */
	PENNY_COUNT_MALFORMED,     /* input refused as malformed */
	PENNY_COUNT_CALLS,         /* calls submitted to executors */
	PENNY_COUNT_WAITING,       /* calls waiting in the edge now (gauge) */
	PENNY_COUNT_TIMEOUTS,      /* calls that found no executor in time */
	PENNY_COUNT_FRAMES_IN,     /* WebSocket messages received */
	PENNY_COUNT_FRAMES_OUT,    /* WebSocket messages sent */
	PENNY_COUNT_EVENTS,        /* events read from the ring */
	PENNY_COUNT_RESYNCS,       /* rooms read from the table after a gap */
	PENNY_COUNT_CACHE_HITS,    /* requests answered from the cache by the edge */
	PENNY_COUNT_CACHE_MISSES,  /* requests of a cached route that were not there */
	PENNY_COUNT_NOT_MODIFIED,  /* requests answered with 304 */
	PENNY_COUNT_GATHERED,      /* requests that waited for the answer to an equal one */
	PENNY_COUNT_COMPRESSED,    /* bytes given to a compressor */
	PENNY_COUNT_VARIANT_BYTES, /* of compressed bodies kept now (gauge) */
	PENNY_COUNT_SLOW,          /* members put out, or that skipped, for being too far behind */
	PENNY_COUNT_EVENT_STREAMS, /* open event streams now (gauge) */
	PENNY_COUNT_HELD,          /* requests that wait for an event now (gauge) */
	PENNY_COUNTERS
} PennyCounter;

typedef struct PennyEdgeHeader
{
	uint64_t magic;
	_Alignas(PENNY_CACHE_LINE) _Atomic uint64_t sleep_word; /* odd = asleep */
	_Alignas(PENNY_CACHE_LINE) _Atomic uint64_t sub_tail;
	_Atomic uint32_t sub[PENNY_SUB_RING];
	_Alignas(PENNY_CACHE_LINE) _Atomic uint64_t counter[PENNY_COUNTERS];
	PennyEdgeSlot slot[PENNY_MAX_SLOTS];
	_Alignas(PENNY_CACHE_LINE) _Atomic uint64_t interest[PENNY_INTEREST_BITS / 64];
} PennyEdgeHeader;

/* ---- region S -------------------------------------------------------- */

/*
 * A client address that has connections, or had some a moment ago.  See
 * share.h for who may take an entry, and how.
 */
typedef struct PennySharedAddress
{
	_Alignas(PENNY_CACHE_LINE) _Atomic uint64_t key;
	_Atomic uint64_t connects_at;           /* us: when its new connections are all forgotten */
	_Atomic uint64_t requests_at;           /* us: likewise its requests */
	_Atomic uint32_t open[PENNY_MAX_EDGES]; /* connections, each edge its own word */
} PennySharedAddress;

/* The requests a second of one user; see share.h. */
typedef struct PennySharedUser
{
	_Atomic uint64_t key;         /* 0 = none yet */
	_Atomic uint64_t requests_at; /* us: when they are all forgotten */
} PennySharedUser;

typedef struct PennySharedHeader
{
	uint64_t magic;
	uint64_t seed;                                                     /* of the keys, random */
	_Alignas(PENNY_CACHE_LINE) _Atomic uint32_t open[PENNY_MAX_EDGES]; /* connections */
	_Atomic uint32_t serving[PENNY_MAX_EDGES];                         /* the edge accepts */
	PennySharedAddress address[PENNY_SHARED_ADDRESSES];
	PennySharedUser user[PENNY_SHARED_USERS];
} PennySharedHeader;

/* Offsets of the parts that follow the headers, and the whole sizes. */
typedef struct PennyPlaneSizes
{
	size_t slot_words; /* P: PennySlotWord[edges][slots] */
	size_t responses;  /* P: [edges][slots] of response_stride bytes */
	size_t response_stride;
	size_t events;      /* P: PennyEventSlot[config.events] */
	size_t event_bytes; /* P: config.event_bytes bytes */
	size_t cache;       /* P: parts of the cache, see cache_layout.h */
	size_t cache_stamps;
	size_t cache_marks;
	size_t cache_entries;
	size_t cache_bodies;
	size_t cache_index;
	size_t cache_ghosts;
	size_t cache_links;
	size_t cache_arena; /* P: its memory is allocated when it is needed */
	size_t p_size;
	size_t requests; /* E: [slots] of request_stride bytes */
	size_t request_stride;
	size_t hints; /* E: a word for each body of the cache */
	size_t e_size;
} PennyPlaneSizes;

#endif /* PENNY_PLANE_LAYOUT_H */
