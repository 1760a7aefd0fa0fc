// A server that does what a test says: WebSocket frames as objects, and HTTP
// answers by a function. What the client sends is kept and can be waited for.
import { createServer } from "node:http";
import { once } from "node:events";
import { WebSocketServer } from "./client.mjs";

/** Ask until it is true; fails after `limit` ms. */
export async function until(condition, limit = 10_000, what = condition.toString()) {
	const end = Date.now() + limit;
	for (;;) {
		const value = await condition();
		if (value) return value;
		if (Date.now() > end) throw new Error(`not in ${limit} ms: ${what}`);
		await new Promise((done) => setTimeout(done, 5));
	}
}

export class Fake {
	/** Sockets in the order in which they came; each has `got`, the frames from its client. */
	sockets = [];
	requests = [];
	/** Called with (frame, socket) for what is not answered here; true: it is answered. */
	onFrame = () => undefined;
	/** Called with (request, response, body). */
	onRequest = (request, response) => response.writeHead(404).end("{}");
	epoch = "e1";
	version = 10;

	static async start() {
		const fake = new Fake();
		fake.server = createServer(async (request, response) => {
			let body = "";
			for await (const piece of request) body += piece;
			fake.requests.push({ method: request.method, url: request.url, headers: request.headers, body });
			fake.onRequest(request, response, body);
		});
		const sockets = new WebSocketServer({ server: fake.server, path: "/ws", handleProtocols: () => "penny.v1" });
		sockets.on("connection", (socket) => fake.#come(socket));
		fake.server.listen(0, "127.0.0.1");
		await once(fake.server, "listening");
		fake.url = `http://127.0.0.1:${fake.server.address().port}`;
		return fake;
	}

	#come(socket) {
		socket.got = [];
		socket.tell = (...frames) => frames.forEach((frame) => socket.send(JSON.stringify(frame)));
		socket.on("message", (text) => {
			const frame = JSON.parse(text);
			socket.got.push(frame);
			if (this.onFrame(frame, socket)) return;
			if (frame.type === "auth") socket.tell({ type: "ack", ref: frame.ref });
			else if (frame.type === "join") socket.tell(this.joined(frame));
			else if (frame.type === "leave") socket.tell({ type: "left", room: frame.room });
			else if (frame.type === "message") socket.tell({ type: "ack", ref: frame.ref, id: `id-${frame.content}`, seq: 1, version: ++this.version });
			else if (frame.type === "ping") socket.tell({ type: "pong" });
		});
		this.sockets.push(socket);
	}

	joined({ room, ref, since }, more = {}) {
		const recovered = since?.epoch === this.epoch;
		return { type: "joined", ref, room, position: { epoch: this.epoch, version: this.version }, recovered, ...(since && !recovered && { reset: "epoch" }), ...more };
	}

	/** The socket that came last, once there were so many. */
	async socket(number = 1) {
		return until(() => this.sockets.length >= number && this.sockets.at(-1), 10_000, `socket ${number}`);
	}

	/** The frames of this type that came over all sockets. */
	got(type) {
		return this.sockets.flatMap((socket) => socket.got).filter((frame) => frame.type === type);
	}

	async waitFor(type, count = 1) {
		return until(() => this.got(type).length >= count && this.got(type)[count - 1], 10_000, `${count} frames ${type}`);
	}

	async stop() {
		for (const socket of this.sockets) socket.terminate();
		this.server.closeAllConnections();
		this.server.close();
	}
}

/** The next events of a room. */
export async function take(room, count) {
	const reader = room[Symbol.asyncIterator]();
	const events = [];
	while (events.length < count) {
		const { done, value } = await reader.next();
		if (done) break;
		events.push(value);
	}
	return events;
}

export const message = (room, version, more = {}) => ({ type: "message", room, version, message: { id: `m${version}`, seq: version, status: "completed", content: `c${version}`, ...more } });
