/**
 * A room that was joined: an async iterable of what happens in it.
 *
 *	head		up to where everything was received: where joining goes on from
 *	queue		what was received and not yet read, each with its position
 *	position	up to where everything was read
 *
 * A frame at or below head is a duplicate and dropped; one without a version is
 * passed on and moves nothing. Frames count only between the answer to the
 * join that was asked last and the next time it is asked, so what is still on
 * its way from before cannot come in between. When the queue is full, the room
 * is left, and joined again from head once everything was read: memory is
 * bounded and nothing is lost but what has no version.
 */
import { backoff } from "./http.js";
import type { Connection } from "./socket.js";
import type { PennyError } from "./errors.js";
import { Streams } from "./streams.js";
import type { Ack, Frame, JoinOptions, NewMessage, Position, RoomEvent } from "./types.js";

interface Reader {
	resolve(result: IteratorResult<RoomEvent>): void;
	reject(error: unknown): void;
}
type Member = string | { user_id: string; devices?: number };

const END = { done: true, value: undefined } as const;

export class Room implements AsyncIterable<RoomEvent> {
	/** Up to where everything was read; undefined before joining. */
	position: Position | undefined;
	/** Who is there, with the number of their devices; for rooms joined with presence. */
	readonly present = new Map<string, number>();
	/** May one write here? Known once joined. */
	writable = true;
	/** Settles when it was joined the first time, or cannot be. */
	readonly joined: Promise<this>;

	/** @internal Does the connection have to ask for it, is it asked for, is it in; or full? */
	phase: "out" | "asked" | "in" | "full" = "out";
	/** @internal Not to be asked for before this time. */
	due = 0;
	/** @internal Of the join that counts. */
	ref = "";
	/** @internal Was it ever in? */
	wasIn = false;

	private head: Position | undefined;
	private queue: [RoomEvent, Position | undefined][] = [];
	private readers: Reader[] = [];
	private ended = false;
	private failure: PennyError | undefined;
	private tries = 0;
	private streams = new Streams();
	private settle!: { resolve(room: Room): void; reject(error: unknown): void };

	/** @internal */
	constructor(
		private readonly connection: Connection,
		readonly name: string,
		readonly options: JoinOptions,
	) {
		this.position = this.head = options.since;
		this.joined = new Promise<Room>((resolve, reject) => {
			this.settle = { resolve, reject };
		}) as Promise<this>;
		this.joined.catch(() => undefined);
	}

	// ---- for its user ------------------------------------------------------

	/** Store a message; settles when its transaction is committed. Messages are stored in order. */
	send(message: string | NewMessage): Promise<Ack> {
		return this.connection.store(this.name, message);
	}

	/** Tell the others something that is not stored, now or not at all: typing and the like. */
	signal(event: Record<string, unknown>): void {
		this.connection.tell({ type: "signal", room: this.name, event });
	}

	/** Everything up to here is known, by a fetch: it is not told any more. */
	seek(position: Position): void {
		const { head } = this;
		if (head?.epoch !== position.epoch) {
			this.queue = [];
			this.position = this.head = position;
			this.again(0);
			return;
		}
		this.queue = this.queue.filter(([event]) => !("version" in event && event.version! <= position.version));
		if (head.version < position.version) this.head = position;
		if (this.position?.epoch !== position.epoch || this.position.version < position.version) this.position = position;
	}

	/** Iterating ends. A loop that is left leaves the room, too. */
	leave(): void {
		this.connection.forget(this);
		this.queue = [];
		this.end();
	}

	[Symbol.asyncIterator](): AsyncIterator<RoomEvent> {
		return {
			next: () => this.next(),
			return: async () => {
				this.leave();
				return END;
			},
		};
	}

	// ---- for the connection ------------------------------------------------

	/** @internal The frame that joins it, from where it is. */
	joining(ref: string): Record<string, unknown> {
		const { types, presence, conflate } = this.options;
		this.phase = "asked";
		this.ref = ref;
		return {
			type: "join",
			room: this.name,
			ref,
			...(this.head && { since: this.head }),
			...(types && { filter: { types } }),
			...(presence && { presence }),
			...(conflate && { conflate }),
		};
	}

	/** @internal Ask for it again, at once or after a pause that grows. */
	again(pause = backoff(this.tries++)): void {
		if (this.ended || this.phase === "full") return;
		this.phase = "out";
		this.due = Date.now() + pause;
		this.connection.pump();
	}

	/** @internal */
	take(frame: Frame): void {
		const { version } = frame;
		if (frame.type === "joined" && frame.ref === this.ref && this.phase === "asked") return this.takeJoined(frame);
		if (this.phase !== "in" || (version && version <= this.head!.version)) return;
		switch (frame.type) {
			case "position":
			case "batch":
				return this.advance(version);
			case "stream": {
				const event = this.streams.take(frame);
				if (event === "hole") this.again();
				else if (event) this.push(event);
				return;
			}
			case "presence":
				return this.takePresence(frame);
		}
		this.push(frame as RoomEvent, version);
		if (this.streams.told(frame)) this.again();
	}

	/** @internal */
	end(error?: PennyError): void {
		if (this.ended) return;
		this.ended = true;
		this.failure = error;
		this.settle.reject(error ?? new DOMException("the room was left", "AbortError"));
		for (const reader of this.readers.splice(0)) {
			if (error) reader.reject(error);
			else reader.resolve(END);
		}
	}

	// ---- inside --------------------------------------------------------------

	private takeJoined(frame: Frame): void {
		const { position, recovered, reset, write } = frame as unknown as { position: Position; recovered: boolean; reset?: string | null; write?: boolean };
		this.phase = "in";
		this.wasIn = true;
		this.writable = write !== false;
		if (!this.head) this.position = this.head = position;
		else if (!recovered) {
			const reason = reset ?? (position.epoch === this.head.epoch ? "position" : "epoch");
			this.streams = new Streams();
			/* only when it finds a place is it the new head */
			this.push({ type: "reset", room: this.name, reason, position }, 0, position);
		}
		this.settle.resolve(this);
	}

	private takePresence(frame: Frame): void {
		const { members, joined = [], left = [], count } = frame as unknown as { members?: Member[]; joined?: Member[]; left?: Member[]; count?: number };
		const id = (member: Member) => (typeof member === "string" ? member : member.user_id);
		const came = members ?? joined;
		if (members) this.present.clear();
		for (const member of came) this.present.set(id(member), (typeof member === "string" ? undefined : member.devices) ?? 1);
		for (const member of left) this.present.delete(id(member));
		this.push({ type: "presence", room: this.name, joined: came.map(id), left: left.map(id), count: count ?? this.present.size });
	}

	private push(event: RoomEvent, version?: number, position?: Position): void {
		if (this.ended) return;
		const reader = this.readers.shift();
		if (!reader && this.queue.length >= (this.options.queue ?? 1000)) {
			this.phase = "full";
			return this.connection.pause(this);
		}
		this.tries = 0;
		if (position) this.head = position;
		else if (version) this.head = { epoch: this.head!.epoch, version };
		if (!reader) this.queue.push([event, this.head]);
		else {
			this.position = this.head;
			reader.resolve({ done: false, value: event });
		}
	}

	/** Everything up to here was passed on, or is not wanted. */
	private advance(version: number | undefined): void {
		if (!version) return;
		this.head = { epoch: this.head!.epoch, version };
		const last = this.queue.at(-1);
		if (last) last[1] = this.head;
		else this.position = this.head;
	}

	private async next(): Promise<IteratorResult<RoomEvent>> {
		const first = this.queue.shift();
		if (this.phase === "full" && this.queue.length === 0) {
			this.phase = "out";
			this.again(0);
		}
		if (first) {
			this.position = first[1];
			return { done: false, value: first[0] };
		}
		if (this.failure) throw this.failure;
		if (this.ended) return END;
		return new Promise((resolve, reject) => this.readers.push({ resolve, reject }));
	}
}
