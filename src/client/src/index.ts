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
import { PennyError } from "./errors.js";
import { Http, type HttpOptions } from "./http.js";
import { Room } from "./room.js";
import { Connection, type SocketState } from "./socket.js";
import { events } from "./sse.js";
import type { Conversation, JoinOptions, Message, NewMessage, Page, RoomEvent } from "./types.js";

export * from "./types.js";
export { PennyError } from "./errors.js";
export type { Room } from "./room.js";

export interface PennyOptions extends HttpOptions {
	WebSocket?: typeof WebSocket;
	/** Window in ms in which frames are gathered for this client; the server's when missing. */
	batchMs?: number;
	/** Told of every change of the connection. */
	onState?: (state: SocketState) => void;
}

const at = (id: string, ...more: string[]) => ["/api/v1/conversations", encodeURIComponent(id), ...more].join("/");

function query(values: Record<string, string | number | boolean | undefined>): string {
	const text = new URLSearchParams();
	for (const [name, value] of Object.entries(values)) if (value !== undefined) text.set(name, String(value));
	return text.size > 0 ? `?${text}` : "";
}

const written = (message: string | NewMessage): NewMessage => ({
	role: "user",
	client_id: crypto.randomUUID(),
	...(typeof message === "string" ? { content: message } : message),
});

export class Penny {
	private readonly http: Http;
	private readonly connection: Connection;

	constructor(options: PennyOptions) {
		this.http = new Http(options);
		const Socket = options.WebSocket ?? globalThis.WebSocket;
		if (!Socket) throw new PennyError(0, "network", "there is no WebSocket here", "Give one as the option WebSocket.");
		this.connection = new Connection(this.http, Socket, options);
	}

	/** The state of the WebSocket. */
	get state(): SocketState {
		return this.connection.state;
	}

	/** A page of the caller's conversations, newest activity first. */
	conversations(options: { limit?: number; cursor?: string; archived?: boolean } = {}): Promise<Page<Conversation>> {
		return this.http.json("GET", `/api/v1/conversations${query(options)}`);
	}

	/** A conversation with its newest messages, and the position to join from. */
	conversation(id: string, options: { messages?: number } = {}): Promise<Conversation> {
		return this.http.json("GET", at(id) + query(options));
	}

	/** A page of history by seq, both bounds exclusive, ascending. */
	messages(id: string, options: { before?: number; after?: number; limit?: number } = {}): Promise<Page<Message>> {
		return this.http.json("GET", at(id, "messages") + query(options));
	}

	createConversation(body: { title?: string; metadata?: Record<string, unknown>; messages?: NewMessage[] } = {}): Promise<Conversation> {
		return this.http.json("POST", "/api/v1/conversations", body);
	}

	updateConversation(id: string, body: Record<string, unknown>): Promise<Conversation> {
		return this.http.json("PATCH", at(id), body);
	}

	deleteConversation(id: string): Promise<void> {
		return this.http.json("DELETE", at(id));
	}

	/** Store a message; repeated by itself when the answer is lost, stored once. */
	send(id: string, message: string | NewMessage): Promise<Message> {
		return this.http.json("POST", at(id, "messages"), written(message), true);
	}

	updateMessage(id: string, messageId: string, body: Record<string, unknown>): Promise<Message> {
		return this.http.json("PATCH", at(id, "messages", encodeURIComponent(messageId)), body);
	}

	deleteMessage(id: string, messageId: string): Promise<void> {
		return this.http.json("DELETE", at(id, "messages", encodeURIComponent(messageId)));
	}

	/** Join a room; what happens in it comes by iterating over the result. */
	join(name: string, options: JoinOptions = {}): Room {
		const room = new Room(this.connection, name, options);
		this.connection.join(room);
		return room;
	}

	/** Store a message and follow the answer to it, as it grows, to its end. */
	async *ask(id: string, message: string | NewMessage, signal?: AbortSignal): AsyncGenerator<RoomEvent> {
		const headers = { accept: "text/event-stream" };
		const answer = await this.http.call("POST", `${at(id, "messages")}?stream=true`, written(message), true, headers, signal);
		for await (const event of events(answer)) yield JSON.parse(event.data) as RoomEvent;
	}

	/** Close the WebSocket; rooms end. */
	close(): void {
		this.connection.close();
	}
}
