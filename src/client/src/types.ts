/**
 * What penny sends and takes, as its HTTP and WebSocket contracts say.
 * Members that a server may add are kept: objects are not sealed.
 */

/** Where a conversation stands: everything up to `version` of this `epoch`. */
export interface Position {
	epoch: string;
	version: number;
}

export interface User {
	id: string;
	name: string | null;
	[more: string]: unknown;
}

export interface Message {
	id: string;
	conversation_id: string;
	seq: number;
	version: number;
	role: string;
	status: string;
	content: string | null;
	user?: User | null;
	[more: string]: unknown;
}

export interface Conversation {
	id: string;
	title: string | null;
	version: number;
	messages: Message[];
	artifacts: Record<string, unknown>[];
	position: Position;
	[more: string]: unknown;
}

export interface Page<T> {
	data: T[];
	has_more: boolean;
	next_cursor?: string | null;
}

/** A message to write; `client_id` is made when missing, so that sending is safe to repeat. */
export interface NewMessage {
	role?: string;
	content?: string;
	parts?: unknown[];
	client_id?: string;
	head?: string;
	[more: string]: unknown;
}

export interface JoinOptions {
	/** Go on from here; else from the moment of joining. */
	since?: Position;
	/** Types of frames, or of the events in them, that are wanted; all when missing. */
	types?: string[];
	/** Tell who is there. */
	presence?: boolean;
	/** When this client is too slow, skip to the newest state instead of being cut. */
	conflate?: boolean;
}

/** A frame of a room, as the server sent it. */
export interface Frame {
	type: string;
	room: string;
	version?: number;
	message?: Message;
	event?: { type: string; [more: string]: unknown };
	[more: string]: unknown;
}

/** What a room gives to who iterates over it. */
export type RoomEvent =
	| (Frame & { type: "message"; message: Message })
	| (Frame & { type: "event"; event: { type: string; [more: string]: unknown } })
	/** An answer that grows: `delta` is new, `text` all there is so far. */
	| { type: "stream"; room: string; message_id: string; delta: string; text: string }
	/** Who is there has changed; the whole of it is `room.present`. */
	| { type: "presence"; room: string; joined: string[]; left: string[] }
	/** What was missed cannot be told: fetch anew, then go on reading. */
	| { type: "reset"; room: string; reason: string; position: Position }
	| Frame;
