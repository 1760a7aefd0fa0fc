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
	/** Events that may wait to be read, 1,000 when missing; then the room is left until they are read. */
	queue?: number;
}

/** Of a message that was stored. */
export interface Ack {
	id: string;
	seq: number;
	version: number;
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
	| { type: "message"; room: string; version: number; message: Message }
	/** With a version: a change. Without: a signal (`user_id` says whose), or what was published. */
	| { type: "event"; room: string; version?: number; user_id?: string; event: { type?: string; [more: string]: unknown } }
	/** A message that grows: `text` is all there is so far, `delta` what came to it; null: take `text` as it is. */
	| { type: "stream"; room: string; message_id: string; delta: string | null; text: string }
	/** Who came, or has another number of devices, and who went; `room.present` has who is there, of `count` users. */
	| { type: "presence"; room: string; joined: string[]; left: string[]; count: number }
	/** What was missed cannot be told: fetch anew, room.seek() to what was fetched, go on reading. */
	| { type: "reset"; room: string; reason: string; position: Position }
	/** Versions between these were skipped; what they changed came, or comes, in its newest state. */
	| { type: "conflated"; room: string; from: number; to: number };
