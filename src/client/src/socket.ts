/**
 * The WebSocket behind the rooms: one, opened with the first room and kept.
 *
 *	idle -> opening -> signing in -> open -> (lost) -> waiting -> opening ...
 *
 * When it is lost, every room joins again from where its reader is, after a
 * pause that the server named (close reason {"retry_after_ms"}) or one that
 * doubles and is jittered, so that clients do not come back all at once.
 * What ends it for good (a malformed frame, a forbidden origin, a token that
 * cannot be replaced) ends its rooms with a PennyError. Messages that were not
 * acknowledged are sent again: their client_id makes that safe.
 */
import { PennyError, problem } from "./errors.js";
import { type Http, backoff } from "./http.js";
import type { Room } from "./room.js";
import type { Frame } from "./types.js";

const SILENCE = 40_000; /* ms without a frame until the server is asked */
const PATIENCE = 10_000; /* ms for its answer, and for opening */
const FATAL: Record<number, string> = {
	4400: "a frame was malformed",
	4403: "this origin is not allowed",
	4413: "a frame was too large",
};

export type SocketState = "idle" | "opening" | "open" | "waiting" | "closed";
type Ack = { id: string; seq: number; version: number };

interface Unacked {
	frame: Record<string, unknown>;
	resolve(ack: Ack): void;
	reject(error: unknown): void;
}

export class Connection {
	state: SocketState = "idle";
	private socket: WebSocket | undefined;
	private readonly rooms = new Map<string, Room>();
	private readonly unacked = new Map<string, Unacked>();
	private timer: ReturnType<typeof setTimeout> | undefined;
	private lastRef = 0;
	private failures = 0;
	private expired = false;

	constructor(
		private readonly http: Http,
		private readonly Socket: typeof WebSocket,
		private readonly options: { batchMs?: number; onState?: (state: SocketState) => void },
	) {
		globalThis.addEventListener?.("online", () => this.state === "waiting" && this.open());
	}

	// ---- for rooms -------------------------------------------------------------

	join(room: Room): void {
		const old = this.rooms.get(room.name);
		if (old) throw new PennyError(409, "PY409", `room ${room.name} is joined already`);
		this.rooms.set(room.name, room);
		if (this.state === "open") this.write(room.joining());
		else if (this.state === "idle" || this.state === "closed") this.open();
	}

	forget(room: Room): void {
		if (this.rooms.get(room.name) !== room) return;
		this.rooms.delete(room.name);
		this.tell({ type: "leave", room: room.name });
	}

	/** Its frames do not follow on each other: leave and join from its position. */
	rejoin(room: Room): void {
		this.tell({ type: "leave", room: room.name });
		this.tell(room.joining());
	}

	/** Send now, or not at all. */
	tell(frame: Record<string, unknown>): void {
		if (this.state === "open") this.write(frame);
	}

	store(room: string, body: Record<string, unknown>): Promise<Ack> {
		const ref = `m${++this.lastRef}`;
		const frame = { ...body, type: "message", room, ref };
		return new Promise((resolve, reject) => {
			this.unacked.set(ref, { frame, resolve, reject });
			this.tell(frame);
		});
	}

	close(): void {
		this.finish(undefined);
	}

	// ---- life --------------------------------------------------------------------

	private set(state: SocketState): void {
		this.state = state;
		this.options.onState?.(state);
	}

	private after(ms: number, then: () => void): void {
		clearTimeout(this.timer);
		this.timer = setTimeout(then, ms);
	}

	private async open(): Promise<void> {
		this.set("opening");
		let token: string | undefined;
		try {
			token = await this.http.token(this.expired);
		} catch {
			return this.retry(undefined);
		}
		if (this.state !== "opening") return;
		const socket = new this.Socket(`${this.http.url.replace(/^http/, "ws")}/ws`, ["penny.v1"]);
		this.socket = socket;
		this.after(PATIENCE, () => this.lost(socket, 1006, ""));
		socket.onopen = () => {
			if (token !== undefined) this.write({ type: "auth", token, ref: "auth" });
			else this.ready();
		};
		socket.onmessage = (event) => this.receive(socket, String(event.data));
		socket.onclose = (event) => this.lost(socket, event.code, event.reason);
		socket.onerror = () => undefined;
	}

	private ready(): void {
		this.set("open");
		this.expired = false;
		this.listen();
		if (this.options.batchMs !== undefined) this.write({ type: "options", batch_ms: this.options.batchMs });
		for (const room of this.rooms.values()) this.write(room.joining());
		for (const { frame } of this.unacked.values()) this.write(frame);
	}

	/** Hear from the server within SILENCE, or ask; and then within PATIENCE, or give it up. */
	private listen(): void {
		const socket = this.socket!;
		this.after(SILENCE, () => {
			this.write({ type: "ping" });
			this.after(PATIENCE, () => this.lost(socket, 1006, ""));
		});
	}

	private lost(socket: WebSocket, code: number, reason: string): void {
		if (socket !== this.socket) return;
		this.socket = undefined;
		clearTimeout(this.timer);
		socket.onclose = socket.onmessage = null;
		socket.close();
		const fatal = FATAL[code];
		if (fatal) return this.finish(new PennyError(code - 4000, `PY${code - 4000}`, fatal, reason));
		if (code === 4401) {
			if (!this.http.renews || this.expired) return this.finish(new PennyError(401, "PY401", "the token was refused", reason));
			this.expired = true;
		}
		this.retry(reason);
	}

	private retry(reason: string | undefined): void {
		let pause = backoff(this.failures++);
		try {
			pause = Number(JSON.parse(reason ?? "").retry_after_ms ?? pause);
		} catch {
			/* no such hint */
		}
		if (this.rooms.size === 0 && this.unacked.size === 0) return this.set("idle");
		this.set("waiting");
		this.after(pause, () => void this.open());
	}

	private finish(error: PennyError | undefined): void {
		const { socket } = this;
		this.socket = undefined;
		clearTimeout(this.timer);
		this.set("closed");
		if (socket) {
			socket.onclose = socket.onmessage = null;
			socket.close(1000);
		}
		for (const room of this.rooms.values()) room.end(error);
		this.rooms.clear();
		for (const { reject } of this.unacked.values()) reject(error ?? new PennyError(0, "network", "the client was closed"));
		this.unacked.clear();
	}

	// ---- frames ------------------------------------------------------------------

	private write(frame: Record<string, unknown>): void {
		this.socket?.send(JSON.stringify(frame));
	}

	private receive(socket: WebSocket, text: string): void {
		if (socket !== this.socket) return;
		const frame = JSON.parse(text) as Frame & { messages?: Frame[] };
		this.failures = 0;
		if (this.state === "open") this.listen();
		for (const one of frame.type === "batch" ? (frame.messages ?? []) : [frame]) this.dispatch(one);
	}

	private dispatch(frame: Frame & { ref?: string }): void {
		const room = frame.room === undefined ? undefined : this.rooms.get(frame.room);
		if (frame.type === "ack" && frame.ref === "auth") this.ready();
		else if (frame.type === "ack") this.take(frame.ref)?.resolve(frame as unknown as Ack);
		else if (frame.type === "error") this.refused(frame);
		else if (frame.type === "left" && room) this.left(room, frame);
		else room?.take(frame);
	}

	private take(ref: string | undefined): Unacked | undefined {
		const unacked = this.unacked.get(ref ?? "");
		this.unacked.delete(ref ?? "");
		return unacked;
	}

	private refused(frame: Frame & { ref?: string; code?: string }): void {
		const error = problem(Number(/^PY(\d{3})$/.exec(frame.code ?? "")?.[1] ?? 500), frame);
		const room = this.rooms.get(frame.room ?? frame.ref ?? "");
		const unacked = this.take(frame.ref);
		if (unacked && error.retryable) this.again(unacked);
		else if (unacked) unacked.reject(error);
		else if (room && (error.retryable || error.status === 409)) this.after(backoff(this.failures++), () => this.restart());
		else if (room) {
			this.rooms.delete(room.name);
			room.end(error);
		} else if (frame.ref === "auth" && this.socket) this.lost(this.socket, 4401, error.message);
	}

	/** The server was busy: the message waits a moment, and keeps its client_id. */
	private again(unacked: Unacked): void {
		const ref = String(unacked.frame.ref);
		this.unacked.set(ref, unacked);
		setTimeout(() => this.unacked.has(ref) && this.tell(unacked.frame), backoff(this.failures++));
	}

	/** Join everything anew on a new socket. */
	private restart(): void {
		if (this.socket) this.lost(this.socket, 1012, "");
	}

	private left(room: Room, frame: Frame & { reason?: string }): void {
		if (frame.reason === undefined) return;
		if (frame.reason === "reset") return this.write(room.joining());
		this.rooms.delete(room.name);
		room.end(new PennyError(frame.reason === "deleted" ? 404 : 403, frame.reason === "deleted" ? "PY404" : "PY403", `the room was left: ${frame.reason}`));
	}
}
