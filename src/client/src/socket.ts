/**
 * The WebSocket behind the rooms: one, opened when it is needed and closed when
 * nothing was for a while.
 *
 *	idle -> opening (token, handshake, signing in) -> open -> waiting -> opening ...
 *
 * When it is lost, it comes back after a pause that doubles and is random, and
 * not before the time that the server named ({"retry_after_ms"} as the reason of
 * the close), so that clients do not come all at once; at once when the network
 * or the page comes back. Every room then joins from where it is.
 *
 * What is to be said is found anew each time (pump): rooms that are to be left,
 * rooms that are not in and due, the first message of the outbox. So nothing is
 * said twice or forgotten over a reconnect, whenever it comes. Messages go one
 * at a time: that keeps their order when one has to be repeated (its client_id
 * makes that safe) and tells which one it was when the server ends the socket.
 * No more than RATE frames a second go out; the server allows 50.
 *
 * A room or a message that is refused ends alone. All end, with a PennyError,
 * when the origin is not allowed, or the token is refused and cannot be renewed.
 */
import { closed, network, PennyError, problem } from "./errors.js";
import { backoff, type Http } from "./http.js";
import type { Room } from "./room.js";
import type { Ack, Frame, NewMessage } from "./types.js";

const SILENCE = 40_000; /* ms without a frame until the server is asked */
const PATIENCE = 10_000; /* ms for its answer, and for opening */
const STEADY = 5_000; /* ms that a socket must have been open for pauses to be short again */
const RATE = 40; /* frames a second */
const OUTBOX_MAX = 1000; /* messages that wait */
const TRIES = 8; /* of a message that the server is too busy for */

export type SocketState = "idle" | "opening" | "open" | "waiting" | "closed";

export interface SocketOptions {
	/** Where there is no global one: Node before 22. */
	WebSocket?: new (url: string, protocols: string[]) => unknown;
	/** Window in ms in which frames are gathered for this client, 0 to 500; the server's when missing. */
	batchMs?: number;
	/** Longest pause in ms between tries to connect, 30,000 when missing. */
	maxPause?: number;
	/** Told of every change of the connection. */
	onState?: (state: SocketState) => void;
}

interface Outgoing {
	frame: Record<string, unknown>;
	ref: string; /* empty: not sent on this socket */
	due: number;
	tries: number;
	resolve(ack: Ack): void;
	reject(error: unknown): void;
}

/** As v4 of crypto.randomUUID(), which pages without TLS do not have. */
export function uuid(): string {
	const bytes = [...crypto.getRandomValues(new Uint8Array(16))];
	bytes[6] = (bytes[6]! & 15) | 64;
	bytes[8] = (bytes[8]! & 63) | 128;
	return bytes.map((byte, i) => ([4, 6, 8, 10].includes(i) ? "-" : "") + byte.toString(16).padStart(2, "0")).join("");
}

/** The body of a message, with a client_id. */
export const written = (message: string | NewMessage): NewMessage => {
	const body = typeof message === "string" ? { content: message } : message;
	return { ...body, role: body.role ?? "user", client_id: body.client_id ?? uuid() };
};

export class Connection {
	state: SocketState = "idle";
	private socket: WebSocket | undefined;
	private attempt = 0;
	private timer: ReturnType<typeof setTimeout> | undefined;
	private pumping: ReturnType<typeof setTimeout> | undefined;
	private readonly rooms = new Map<string, Room>();
	private readonly leaving = new Set<string>();
	private readonly outbox: Outgoing[] = [];
	private refs = 0;
	private failures = 0;
	private expired = false;
	private opened = Infinity;
	private heard = 0;
	private probed = 0;
	private budget = RATE;
	private counted = 0;

	constructor(
		private readonly http: Http,
		private readonly options: SocketOptions,
	) {}

	// ---- for rooms -------------------------------------------------------------

	join(room: Room): void {
		if (this.rooms.has(room.name)) throw new PennyError(409, "PY409", `room ${room.name} is joined already`);
		this.rooms.set(room.name, room);
		this.need();
	}

	forget(room: Room): void {
		if (this.rooms.get(room.name) !== room) return;
		this.rooms.delete(room.name);
		this.pause(room);
		if (this.state === "waiting" && this.unneeded) this.rest();
	}

	/** Hear nothing of a room until it asks again. */
	pause(room: Room): void {
		this.leaving.add(room.name);
		this.pump();
	}

	/** Send now, or not at all. */
	tell(frame: Record<string, unknown>): void {
		if (this.state === "open" && this.wait() === 0) this.write(frame);
	}

	store(room: string, message: string | NewMessage): Promise<Ack> {
		return new Promise((resolve, reject) => {
			if (this.outbox.length >= OUTBOX_MAX) throw new PennyError(429, "PY429", "too many messages wait to be sent");
			/* as it is now; what cannot be written is refused at once */
			const frame = JSON.parse(JSON.stringify({ ...written(message), type: "message", room }));
			this.outbox.push({ frame, ref: "", due: 0, tries: 0, resolve, reject });
			this.need();
		});
	}

	close(): void {
		this.finish(undefined);
	}

	/** Say what is to be said now, and come back for what is due later. */
	pump(): void {
		clearTimeout(this.pumping);
		if (this.state !== "open") return;
		const now = Date.now();
		let next = Infinity;
		const ready = (due: number): boolean => {
			const wait = Math.max(due - now, this.wait());
			next = Math.min(next, wait || Infinity);
			return wait === 0;
		};
		for (const room of this.leaving) {
			if (!ready(0)) break;
			this.leaving.delete(room);
			this.write({ type: "leave", room });
		}
		for (const room of this.rooms.values()) {
			if (room.phase === "out" && !this.leaving.has(room.name) && ready(room.due)) this.write(room.joining(`j${++this.refs}`));
		}
		const first = this.outbox[0];
		if (first && !first.ref && ready(first.due)) {
			first.ref = `m${++this.refs}`;
			this.write({ ...first.frame, ref: first.ref });
		}
		if (next < Infinity) this.pumping = setTimeout(() => this.pump(), next);
	}

	// ---- life --------------------------------------------------------------------

	private need(): void {
		if (this.state === "idle" || this.state === "closed") this.open();
		else this.pump();
	}

	private set(state: SocketState): void {
		if (this.state === state) return;
		this.state = state;
		this.options.onState?.(state);
	}

	private after(ms: number, then: () => void): void {
		clearTimeout(this.timer);
		this.timer = setTimeout(then, ms);
	}

	/** The network, or the page, is back: timers may have slept meanwhile. */
	private readonly wake = (): void => {
		if (globalThis.document?.visibilityState === "hidden") return;
		if (this.state === "waiting") this.open();
		else if (this.state === "open") this.probe();
	};

	private watch(how: "addEventListener" | "removeEventListener"): void {
		globalThis[how]?.("online", this.wake);
		globalThis.document?.[how]("visibilitychange", this.wake);
	}

	private get unneeded(): boolean {
		return this.rooms.size === 0 && this.outbox.length === 0;
	}

	private open(): void {
		clearTimeout(this.timer);
		const attempt = ++this.attempt;
		if (this.unneeded) return this.rest();
		this.watch("addEventListener");
		this.set("opening");
		/* whoever was told may have closed */
		const ours = () => attempt === this.attempt;
		if (!ours()) return;
		this.http.token(this.expired).then(
			(token) => ours() && this.connect(token),
			(cause) => {
				if (!ours()) return;
				if (cause instanceof PennyError && !cause.retryable) this.finish(cause);
				else this.retry("");
			},
		);
	}

	private connect(token: string | undefined): void {
		let socket: WebSocket;
		try {
			const Socket = (this.options.WebSocket ?? globalThis.WebSocket) as typeof WebSocket;
			socket = new Socket(`${this.http.url.replace(/^http/, "ws")}/ws`, ["penny.v1"]);
		} catch (cause) {
			return this.finish(network("there can be no WebSocket", String(cause)));
		}
		this.socket = socket;
		this.opened = Infinity; /* not yet */
		this.budget = RATE;
		this.after(PATIENCE, () => this.lost(socket, 1006, ""));
		socket.onopen = () => {
			if (token === undefined) this.ready();
			else this.write({ type: "auth", token, ref: "auth" });
		};
		socket.onmessage = (event) => socket === this.socket && this.receive(String(event.data));
		socket.onclose = (event) => this.lost(socket, event.code, event.reason);
		socket.onerror = () => undefined;
	}

	private ready(): void {
		this.opened = this.heard = Date.now();
		this.expired = false;
		this.leaving.clear();
		this.listen();
		this.set("open");
		if (this.options.batchMs !== undefined) this.tell({ type: "options", batch_ms: this.options.batchMs });
		this.pump();
	}

	/** Hear from the server within SILENCE, or ask it. */
	private listen(): void {
		this.after(Math.max(0, this.heard + SILENCE - Date.now()), () => {
			if (Date.now() < this.heard + SILENCE) this.listen();
			else if (this.unneeded) this.rest();
			else this.probe();
		});
	}

	/** Ask it, and hear within PATIENCE, or give it up. */
	private probe(): void {
		const { socket } = this;
		if (this.probed > this.heard) return;
		this.probed = Date.now();
		this.write({ type: "ping" });
		this.after(PATIENCE, () => (this.heard >= this.probed ? this.listen() : this.lost(socket!, 1006, "")));
	}

	private rest(): void {
		this.drop();
		this.watch("removeEventListener");
		this.set("idle");
	}

	private drop(): void {
		const { socket } = this;
		clearTimeout(this.timer);
		clearTimeout(this.pumping);
		this.socket = undefined;
		if (!socket) return;
		socket.onopen = socket.onmessage = socket.onclose = null;
		socket.close(1000);
	}

	private lost(socket: WebSocket, code: number, reason: string): void {
		if (socket !== this.socket) return;
		this.drop();
		if (Date.now() - this.opened > STEADY) this.failures = 0;
		const first = this.outbox[0];
		const error = (title: string) => new PennyError(code - 4000, `PY${code - 4000}`, title, reason);
		/* the message under way is what the server could not take, or there is a mistake here */
		const culprit = (code === 4400 || code === 4413) && first?.ref;
		if (culprit) this.outbox.shift()!.reject(error("the message cannot be taken"));
		else if (first) first.ref = "";
		if (code === 4403 || (code === 4400 && !culprit)) return this.finish(error(code === 4403 ? "this origin is not allowed" : "a frame was malformed"));
		if (code === 4401) {
			if (!this.http.renews || this.expired) return this.finish(error("the token was refused"));
			this.expired = true;
		}
		this.retry(reason);
		for (const room of this.rooms.values()) room.again(0);
	}

	private retry(reason: string): void {
		let pause = backoff(this.failures++, this.options.maxPause);
		try {
			pause = Math.max(pause, Number(JSON.parse(reason).retry_after_ms) || 0);
		} catch {
			/* it names no time */
		}
		if (this.unneeded) return this.rest();
		this.after(pause, () => this.open());
		this.set("waiting");
	}

	private finish(error: PennyError | undefined): void {
		this.attempt++;
		this.drop();
		this.watch("removeEventListener");
		this.failures = 0;
		this.expired = false;
		const rooms = [...this.rooms.values()];
		const outbox = this.outbox.splice(0);
		this.rooms.clear();
		this.set("closed");
		for (const room of rooms) room.end(error);
		for (const { reject } of outbox) reject(error ?? network("the client was closed"));
	}

	// ---- frames ------------------------------------------------------------------

	/** ms until a frame may be sent. */
	private wait(): number {
		const now = Date.now();
		this.budget = Math.min(RATE, this.budget + ((now - this.counted) * RATE) / 1000);
		this.counted = now;
		return this.budget >= 1 ? 0 : Math.ceil(((1 - this.budget) * 1000) / RATE);
	}

	private write(frame: Record<string, unknown>): void {
		this.budget--;
		/* one that closes already takes nothing and says so by its close */
		if (this.socket?.readyState === 1) this.socket.send(JSON.stringify(frame));
	}

	private receive(text: string): void {
		const frame = JSON.parse(text) as Frame & { messages?: Frame[] };
		this.heard = Date.now();
		if (frame.type === "batch") for (const one of frame.messages ?? []) this.dispatch(one);
		this.dispatch(frame);
	}

	private dispatch(frame: Frame): void {
		const room = this.rooms.get(frame.room);
		const first = this.outbox[0];
		const ours = first?.ref && frame.ref === first.ref ? first : undefined;
		if (frame.ref === "auth" && this.state === "opening") {
			if (frame.type === "ack") this.ready();
			else this.finish(problem(0, frame));
		} else if (frame.type === "ack" && ours) {
			this.outbox.shift();
			ours.resolve(frame as unknown as Ack);
			this.pump();
		} else if (frame.type === "error") {
			const error = problem(0, frame);
			if (ours) this.refusedMessage(ours, error);
			else for (const asked of this.rooms.values()) if (asked.phase === "asked" && asked.ref === frame.ref) this.refusedRoom(asked, error);
		} else if (room && frame.type === "left") this.left(room, frame.reason as string | undefined);
		else room?.take(frame);
	}

	/** When the server is only busy, it waits a moment, and keeps its client_id. */
	private refusedMessage(message: Outgoing, error: PennyError): void {
		if (error.retryable && message.tries < TRIES) {
			message.ref = "";
			message.due = Date.now() + backoff(message.tries++);
		} else {
			this.outbox.shift();
			message.reject(error);
		}
		this.pump();
	}

	/** A room that was in comes back when the server can; 429 may also say that there are too many. */
	private refusedRoom(room: Room, error: PennyError): void {
		if (error.status === 409 || (error.retryable && (room.wasIn || error.status !== 429))) return room.again();
		this.rooms.delete(room.name);
		room.end(error);
	}

	private left(room: Room, reason: string | undefined): void {
		if (room.phase !== "in" || reason === undefined) return;
		/* joining again tells where it stands, or why it may not */
		if (reason !== "revoked" && reason !== "deleted") return room.again(0);
		this.rooms.delete(room.name);
		room.end(closed(reason));
	}
}
