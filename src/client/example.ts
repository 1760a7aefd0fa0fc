/**
 * A chat in a terminal: <url> <token> <conversation>. Every build checks it
 * against the types of the built client.
 */
import { Penny, PennyError, type Position, type RoomEvent } from "./dist/index.js";

declare const process: { argv: string[] };
declare class WebSocketOfSomeLibrary {
	constructor(url: string | URL, protocols?: string | string[], options?: object);
}

const [, , url = "http://127.0.0.1:3000", token = "", id = ""] = process.argv;

export function line(event: RoomEvent): string | undefined {
	switch (event.type) {
		case "message":
			return `${event.message.user?.name ?? event.message.role}: ${event.message.content ?? ""}`;
		case "stream":
			return event.delta ?? event.text;
		case "event":
			return event.version === undefined ? `(${event.user_id ?? "server"} signals)` : `(${event.event.type ?? "changed"})`;
		case "presence":
			return `(+${event.joined.length} -${event.left.length})`;
		case "conflated":
			return `(${event.from} to ${event.to} skipped)`;
		case "reset":
			return undefined;
	}
}

export async function chat(): Promise<Position | undefined> {
	const penny = new Penny({ url, token: (expired) => (expired ? Promise.reject(new PennyError(401, "PY401", "signed out")) : token), onState: (state) => console.log(`[${state}]`) });
	const { messages, position } = await penny.conversation(id, { messages: 20 });
	for (const { role, content } of messages.reverse()) console.log(`${role}: ${content ?? ""}`);
	const room = penny.join(`conversation:${id}`, { since: position, presence: true });
	try {
		for await (const event of room) {
			if (event.type === "reset") room.seek((await penny.conversation(id)).position);
			console.log(line(event) ?? "");
		}
	} catch (error) {
		if (error instanceof PennyError) console.error(error.status, error.code, error.message, error.retryable);
		else throw error;
	}
	return room.position;
}

export const withLibrary = () => new Penny({ url, WebSocket: WebSocketOfSomeLibrary });

if (id) await chat();
