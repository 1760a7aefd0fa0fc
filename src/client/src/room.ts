/**
 * A room that was joined: an async iterable of what happens in it.
 *
 * The position moves on as events are handed out, so that after a reconnect the
 * server tells exactly what the reader has not seen. Events wait here until
 * they are read, at most QUEUE_MAX of them: past that they are dropped, and the
 * room is joined again from the last one that was read. Streams are put
 * together by their index; a hole makes the room join again, too.
 */
import type { Connection } from "./socket.js";
import type { PennyError } from "./errors.js";
import type { Frame, JoinOptions, NewMessage, Position, RoomEvent } from "./types.js";

const QUEUE_MAX = 1000;

interface Waiting {
	resolve(result: IteratorResult<RoomEvent>): void;
	reject(error: unknown): void;
}

export class Room implements AsyncIterable<RoomEvent> {
	/** Up to where everything was handed out; undefined before joining. */
	position: Position | undefined;
	/** Who is there, with the number of their devices; for rooms joined with presence. */
	readonly present = new Map<string, number>();
	/** Settles with the first answer to joining. */
	readonly joined: Promise<this>;

	private queue: RoomEvent[] = [];
	private waiting: Waiting[] = [];
	private ended = false;
	private failure: PennyError | undefined;
	private overflowed = false;
	private epoch = "";
	private readonly streams = new Map<string, { next: number; text: string }>();
	private settle!: { resolve(room: Room): void; reject(error: unknown): void };
	private isSettled = false;

	/** @internal */
	constructor(
		private readonly connection: Connection,
		readonly name: string,
		readonly options: JoinOptions,
	) {
		this.position = options.since;
		this.joined = new Promise<Room>((resolve, reject) => {
			this.settle = { resolve, reject };
		}) as Promise<this>;
		this.joined.catch(() => undefined);
	}

	// ---- for its user ------------------------------------------------------

	/** Store a message; settles when its transaction is committed. */
	send(message: string | NewMessage): Promise<{ id: string; seq: number; version: number }> {
		const body = typeof message === "string" ? { content: message } : message;
		return this.connection.store(this.name, { client_id: crypto.randomUUID(), ...body });
	}

	/** Tell the others something that is not stored: typing and the like. */
	signal(event: Record<string, unknown>): void {
		this.connection.tell({ type: "signal", room: this.name, event });
	}

	leave(): void {
		this.connection.forget(this);
		this.end();
	}

	[Symbol.asyncIterator](): AsyncIterator<RoomEvent> {
		return {
			next: () => this.next(),
			return: () => {
				this.leave();
				return Promise.resolve({ done: true, value: undefined });
			},
		};
	}

	// ---- for the connection ------------------------------------------------

	/** @internal The frame that joins it, from where its reader is. */
	joining(): Record<string, unknown> {
		const { types, presence, conflate } = this.options;
		this.queue = [];
		this.overflowed = false;
		return {
			type: "join",
			room: this.name,
			ref: this.name,
			...(this.position && { since: this.position }),
			...(types && { filter: { types } }),
			...(presence && { presence }),
			...(conflate && { conflate }),
		};
	}

	/** @internal */
	take(frame: Frame): void {
		switch (frame.type) {
			case "joined":
				return this.takeJoined(frame as Frame & { position: Position; recovered: boolean; reset?: string });
			case "stream":
				return this.takeStream(frame as Frame & { message_id: string; index: number; delta?: string; text?: string });
			case "presence":
				return this.takePresence(frame);
			case "position":
				if (this.queue.length === 0) this.advance(frame);
				return;
			default:
				this.push(frame as RoomEvent);
		}
	}

	/** @internal */
	end(error?: PennyError): void {
		this.ended = true;
		this.failure = error;
		if (!this.isSettled) this.settle.reject(error ?? new DOMException("the room was left", "AbortError"));
		for (const reader of this.waiting.splice(0)) {
			if (error) reader.reject(error);
			else reader.resolve({ done: true, value: undefined });
		}
	}

	// ---- inside --------------------------------------------------------------

	private takeJoined(frame: { position: Position; recovered: boolean; reset?: string | null }): void {
		const before = this.position;
		this.epoch = frame.position.epoch;
		this.streams.clear();
		this.present.clear();
		if (!this.isSettled) {
			this.isSettled = true;
			this.settle.resolve(this);
		}
		if (before && !frame.recovered) {
			this.push({ type: "reset", room: this.name, reason: frame.reset ?? "position", position: frame.position });
			this.position = frame.position;
		} else if (!before) this.position = frame.position;
	}

	private takeStream(frame: { message_id: string; index: number; delta?: string; text?: string }): void {
		const known = this.streams.get(frame.message_id);
		if (frame.text !== undefined) {
			const text = frame.text;
			this.streams.set(frame.message_id, { next: frame.index, text });
			this.push({ type: "stream", room: this.name, message_id: frame.message_id, delta: known ? text.slice(known.text.length) : text, text });
		} else if (frame.delta !== undefined) {
			const stream = known ?? { next: 0, text: "" };
			if (frame.index < stream.next) return;
			if (frame.index > stream.next) return this.connection.rejoin(this);
			stream.next++;
			stream.text += frame.delta;
			this.streams.set(frame.message_id, stream);
			this.push({ type: "stream", room: this.name, message_id: frame.message_id, delta: frame.delta, text: stream.text });
		}
	}

	private takePresence(frame: Frame): void {
		type Member = { user_id: string; devices: number };
		const { members, joined = [], left = [] } = frame as unknown as { members?: Member[]; joined?: Member[]; left?: Member[] };
		if (members) this.present.clear();
		for (const member of members ?? joined) this.present.set(member.user_id, member.devices);
		for (const member of left) this.present.delete(member.user_id);
		const ids = (list: Member[]) => list.map((member) => member.user_id);
		this.push({ type: "presence", room: this.name, joined: ids(members ?? joined), left: ids(left) });
	}

	private push(event: RoomEvent): void {
		if (this.ended || this.overflowed) return;
		const reader = this.waiting.shift();
		if (reader) {
			this.advance(event);
			reader.resolve({ done: false, value: event });
		} else if (this.queue.push(event) > QUEUE_MAX) {
			this.queue = [];
			this.overflowed = true;
		}
	}

	private advance(event: object): void {
		const { version } = event as { version?: unknown };
		if (typeof version === "number" && version > 0) this.position = { epoch: this.epoch, version };
	}

	private next(): Promise<IteratorResult<RoomEvent>> {
		const event = this.queue.shift();
		if (event) {
			this.advance(event);
			return Promise.resolve({ done: false, value: event });
		}
		if (this.failure) return Promise.reject(this.failure);
		if (this.ended) return Promise.resolve({ done: true, value: undefined });
		if (this.overflowed) this.connection.rejoin(this);
		return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
	}
}
