/**
 * Client of penny: fetch a conversation in one call, join it without a gap,
 * send, and stay joined whatever the network does.
 *
 *	const penny = new Penny({ url: "http://127.0.0.1:3000", token });
 *	const chat = await penny.conversation(id);
 *	const room = penny.join(`conversation:${id}`, { since: chat.position });
 *	for await (const event of room) ...
 *
 * For browsers and Node 20 or later; where there is no global WebSocket (Node
 * before 22), give one: new Penny({ ..., WebSocket }).
 */
import { closed, network, PennyError } from "./errors.js";
import { backoff, Http, type HttpOptions, sleep } from "./http.js";
import { Room } from "./room.js";
import { Connection, type SocketOptions, type SocketState, written } from "./socket.js";
import { events } from "./sse.js";
import { Streams } from "./streams.js";
import type { Conversation, Frame, JoinOptions, Message, NewMessage, Page, RoomEvent } from "./types.js";

export * from "./types.js";
export { PennyError } from "./errors.js";
export type { TokenSource } from "./http.js";
export type { Room } from "./room.js";
export type { SocketState } from "./socket.js";

export interface PennyOptions extends HttpOptions, SocketOptions {}

const ASKS = 5; /* times that the same question is asked until its answer has come whole */

const at = (id: string, ...more: string[]) => ["/api/v1/conversations", ...[id, ...more].map(encodeURIComponent)].join("/");

function query(values: Record<string, string | number | boolean | undefined>): string {
	const text = new URLSearchParams();
	for (const [name, value] of Object.entries(values)) if (value !== undefined) text.set(name, String(value));
	return `?${text}`.replace(/^\?$/, "");
}

export class Penny {
	private readonly http: Http;
	private readonly connection: Connection;

	constructor(options: PennyOptions) {
		this.http = new Http(options);
		this.connection = new Connection(this.http, options);
	}

	/** The state of the WebSocket. */
	get state(): SocketState {
		return this.connection.state;
	}

	/** A page of the caller's conversations, newest activity first. */
	conversations(options: { limit?: number; cursor?: string; archived?: boolean } = {}): Promise<Page<Conversation>> {
		return this.request("GET", `/api/v1/conversations${query(options)}`);
	}

	/** A conversation with its newest messages, and the position to join from. */
	conversation(id: string, options: { messages?: number } = {}): Promise<Conversation> {
		return this.request("GET", at(id) + query(options));
	}

	/** A page of history by seq, both bounds exclusive, ascending. */
	messages(id: string, options: { before?: number; after?: number; limit?: number } = {}): Promise<Page<Message>> {
		return this.request("GET", at(id, "messages") + query(options));
	}

	createConversation(body: { title?: string; metadata?: Record<string, unknown>; messages?: NewMessage[] } = {}): Promise<Conversation> {
		return this.request("POST", "/api/v1/conversations", body);
	}

	updateConversation(id: string, body: Record<string, unknown>): Promise<Conversation> {
		return this.request("PATCH", at(id), body);
	}

	deleteConversation(id: string): Promise<void> {
		return this.request("DELETE", at(id));
	}

	/** Store a message; repeated by itself when the answer is lost, stored once. */
	send(id: string, message: string | NewMessage): Promise<Message> {
		return this.http.json("POST", at(id, "messages"), written(message), true);
	}

	updateMessage(id: string, messageId: string, body: Record<string, unknown>): Promise<Message> {
		return this.request("PATCH", at(id, "messages", messageId), body);
	}

	deleteMessage(id: string, messageId: string): Promise<void> {
		return this.request("DELETE", at(id, "messages", messageId));
	}

	/**
	 * For agents: let a message of status "streaming" grow by a piece, or end it
	 * ({ finish: "completed" } or { error }). Numbered pieces (index: 1, 2, ...)
	 * are safe to repeat, and repeated when the answer is lost.
	 */
	chunk(id: string, messageId: string, body: { delta?: string; index?: number; finish?: string; error?: string; [more: string]: unknown }): Promise<Record<string, unknown>> {
		return this.http.json("POST", at(id, "messages", messageId, "chunks"), body, body.delta === undefined || body.index !== undefined);
	}

	/** Any request, such as to a route of your own; a GET is repeated while the server is busy. */
	request<T>(method: string, path: string, body?: unknown): Promise<T> {
		return this.http.json(method, path, body);
	}

	/** Join a room; what happens in it comes by iterating over the result. */
	join(name: string, options: JoinOptions = {}): Room {
		const room = new Room(this.connection, name, options);
		this.connection.join(room);
		return room;
	}

	/**
	 * Store a message and follow the answer to it, as it grows, to its end. When
	 * the connection breaks, the same is asked again: what was told is not repeated.
	 */
	async *ask(id: string, message: string | NewMessage, signal?: AbortSignal): AsyncGenerator<RoomEvent> {
		const body = written(message);
		const streams = new Streams();
		let last = 0;
		let asked: Message | undefined;
		let answer: string | undefined;
		let ended = false;
		for (let n = 0; ; ) {
			try {
				const response = await this.http.call("POST", `${at(id, "messages")}?stream=true`, body, { again: true, headers: { accept: "text/event-stream" }, signal: signal ?? new AbortController().signal });
				for await (const data of events(response)) {
					const frame = JSON.parse(data) as Frame;
					if (frame.type === "joined" || frame.type === "position") continue;
					if (frame.type === "left") throw closed(frame.reason);
					const event = frame.type === "stream" ? streams.take(frame) : frame;
					if (event === "hole") throw network("a piece of the answer is missing");
					if (!event || ("version" in event && event.version && event.version <= last)) continue;
					n = 0;
					last = frame.version ?? last;
					streams.told(frame);
					/* the answer is the first one behind the question that is no user's */
					const { id, role, seq = 0, status } = (frame.message ?? frame.event?.message ?? frame.event ?? {}) as Partial<Message>;
					asked ??= frame.message;
					if (frame.message && role !== "user" && seq > asked!.seq) answer ??= id;
					ended ||= answer !== undefined && id === answer && !/^(streaming|pending)$/.test(status!);
					yield event as RoomEvent;
				}
				/* a server that stops ends the stream in good order, too */
				if (ended) return;
				throw network("the stream ended before the answer");
			} catch (cause) {
				if (signal?.aborted || (cause instanceof PennyError && !cause.retryable)) throw cause;
				if (++n >= ASKS) throw cause instanceof PennyError ? cause : network("the answer was cut off", String(cause));
				await sleep(backoff(n), signal);
			}
		}
	}

	/** Close the WebSocket; rooms end, and messages that wait are refused. */
	close(): void {
		this.connection.close();
	}
}
