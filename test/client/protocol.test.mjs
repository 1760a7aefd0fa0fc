// The client against a server that misbehaves on command: every rule of the
// contract, also those that a real server shows rarely.
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { after, afterEach, beforeEach, test } from "node:test";
import { Penny, PennyError, WebSocket } from "./lib/client.mjs";
import { Fake, message, take, until } from "./lib/fake.mjs";

const R = "conversation:1";
const strays = [];
process.on("unhandledRejection", (reason) => strays.push(reason));
after(() => assert.deepEqual(strays, [], "no rejection is left unhandled"));

let fake;
let penny;
const states = [];
const connect = (more = {}) => (penny = new Penny({ url: fake.url, token: "t", WebSocket, maxPause: 20, onState: (state) => states.push(state), ...more }));

beforeEach(async () => {
	fake = await Fake.start();
	states.length = 0;
	connect();
});
afterEach(async () => {
	penny.close();
	await fake.stop();
});

const refused = (status, code) => (error) => error instanceof PennyError && error.status === status && (!code || error.code === code);
const contents = (events) => events.map((event) => event.message?.content ?? event.type);

// ---- joining and resuming ----------------------------------------------------------

test("signs in, says its options, joins with everything that was asked for", async () => {
	penny.close();
	states.length = 0;
	connect({ batchMs: 0 });
	const room = await penny.join(R, { since: { epoch: "e1", version: 4 }, types: ["message"], presence: true, conflate: true }).joined;
	const [auth, options, join] = (await fake.socket()).got;
	assert.deepEqual(auth, { type: "auth", token: "t", ref: "auth" });
	assert.deepEqual(options, { type: "options", batch_ms: 0 });
	assert.deepEqual({ ...join, ref: 0 }, { type: "join", room: R, ref: 0, since: { epoch: "e1", version: 4 }, filter: { types: ["message"] }, presence: true, conflate: true });
	assert.deepEqual(room.position, { epoch: "e1", version: 4 }, "nothing was read yet");
	assert.deepEqual(states, ["opening", "open"]);
});

test("the position is what was read; joining goes on from what was received", async () => {
	const room = await penny.join(R).joined;
	const socket = await fake.socket();
	socket.tell(message(R, 11), message(R, 12), message(R, 13));
	assert.deepEqual(contents(await take(room, 1)), ["c11"]);
	assert.equal(room.position.version, 11);
	await new Promise((done) => setTimeout(done, 30));
	socket.terminate();
	const join = await fake.waitFor("join", 2);
	assert.deepEqual(join.since, { epoch: "e1", version: 13 });
	(await fake.socket(2)).tell(message(R, 14));
	assert.deepEqual(contents(await take(room, 3)), ["c12", "c13", "c14"]);
	assert.equal(room.position.version, 14);
});

test("a repeated version is dropped, one without a version passed on", async () => {
	const room = await penny.join(R).joined;
	(await fake.socket()).tell(message(R, 10), message(R, 11), message(R, 11), { type: "event", room: R, event: { kind: "typing" } }, { type: "event", version: 0, room: R, event: { kind: "zero" } }, message(R, 12));
	const events = await take(room, 4);
	assert.deepEqual(events.map((event) => event.event?.kind ?? event.version), [11, "typing", "zero", 12]);
	assert.equal(room.position.version, 12);
});

test("batches: in order, their version is a position, also when the socket ends after one", async () => {
	const room = await penny.join(R).joined;
	const socket = await fake.socket();
	socket.tell({ type: "batch", room: R, version: 15, messages: [message(R, 11), message(R, 13)] });
	assert.deepEqual(contents(await take(room, 2)), ["c11", "c13"]);
	assert.equal(room.position.version, 15, "14 and 15 were filtered out");
	socket.tell({ type: "batch", room: R, messages: [message(R, 16), { type: "position", room: R, version: 20 }] });
	await take(room, 1);
	socket.terminate();
	assert.equal((await fake.waitFor("join", 2)).since.version, 20);
});

test("position frames move on what is waiting to be read, not what is not", async () => {
	const room = await penny.join(R).joined;
	const socket = await fake.socket();
	socket.tell(message(R, 11), { type: "position", room: R, version: 30 }, { type: "position", room: R, version: 29 });
	await until(() => room.head.version === 30);
	assert.equal(room.position.version, 10);
	await take(room, 1);
	assert.equal(room.position.version, 30);
});

test("what is still on its way from an earlier join cannot come in between", async () => {
	const room = await penny.join(R).joined;
	const socket = await fake.socket();
	fake.onFrame = (frame) => {
		if (frame.type !== "join") return false;
		socket.tell(message(R, 50), { type: "left", room: R, reason: "revoked" }, { ...fake.joined(frame), ref: "other" }, message(R, 51));
		socket.tell(fake.joined(frame), message(R, 12), message(R, 13));
		return true;
	};
	socket.tell(message(R, 11), { type: "left", room: R, reason: "reset" });
	assert.deepEqual(contents(await take(room, 3)), ["c11", "c12", "c13"]);
});

test("another epoch: what was received is read, then reset with its reason, then on", async () => {
	const room = await penny.join(R).joined;
	let socket = await fake.socket();
	socket.tell(message(R, 11));
	await until(() => room.head.version === 11);
	fake.epoch = "e2";
	fake.version = 3;
	socket.tell({ type: "left", room: R, reason: "reset" });
	await fake.waitFor("join", 2);
	socket.tell(message(R, 4));
	const events = await take(room, 3);
	assert.deepEqual(contents(events), ["c11", "reset", "c4"]);
	assert.deepEqual(events[1], { type: "reset", room: R, reason: "epoch", position: { epoch: "e2", version: 3 } });
	assert.deepEqual(room.position, { epoch: "e2", version: 4 });
	socket.terminate();
	assert.deepEqual((await fake.waitFor("join", 3)).since, { epoch: "e2", version: 4 });
});

test("seek: what a fetch knows is not told again", async () => {
	const room = await penny.join(R).joined;
	const socket = await fake.socket();
	socket.tell(message(R, 11), { type: "event", room: R, event: { kind: "x" } }, message(R, 12), message(R, 13));
	await until(() => room.head.version === 13);
	room.seek({ epoch: "e1", version: 12 });
	assert.deepEqual(contents(await take(room, 2)), ["event", "c13"]);
	room.seek({ epoch: "e1", version: 15 });
	socket.tell(message(R, 14), message(R, 15), message(R, 16));
	assert.deepEqual(contents(await take(room, 1)), ["c16"]);
	room.seek({ epoch: "e9", version: 1 });
	assert.deepEqual((await fake.waitFor("join", 2)).since, { epoch: "e9", version: 1 });
	assert.equal((await take(room, 1))[0].type, "reset");
});

test("skipped versions are told as such", async () => {
	const room = await penny.join(R, { conflate: true }).joined;
	(await fake.socket()).tell({ type: "conflated", room: R, from: 11, to: 90 }, message(R, 88), message(R, 90));
	assert.deepEqual(contents(await take(room, 3)), ["conflated", "c88", "c90"]);
});

test("a full queue leaves the room and joins again where it stopped", async () => {
	const room = await penny.join(R, { queue: 3 }).joined;
	const socket = await fake.socket();
	socket.tell({ type: "batch", room: R, version: 16, messages: [11, 12, 13, 14, 15, 16].map((n) => message(R, n)) });
	await fake.waitFor("leave");
	fake.onFrame = (frame) => {
		if (frame.type === "join") socket.tell(fake.joined(frame), message(R, 14), message(R, 15), message(R, 16));
		return frame.type === "join";
	};
	assert.equal(fake.got("join").length, 1, "not before it was read");
	assert.deepEqual(contents(await take(room, 6)), ["c11", "c12", "c13", "c14", "c15", "c16"]);
	assert.equal(fake.got("join")[1].since.version, 13);
});

test("a full queue over a reconnect", async () => {
	const room = await penny.join(R, { queue: 2 }).joined;
	const other = penny.join("conversation:2");
	const socket = await fake.socket();
	socket.tell(message(R, 11), message(R, 12), message(R, 13));
	await fake.waitFor("leave");
	socket.terminate();
	await fake.waitFor("join", 3);
	assert.equal((await fake.socket(2)).got.filter((frame) => frame.room === R).length, 0, "the full one stays out");
	await take(room, 2);
	assert.equal((await fake.waitFor("join", 4)).since.version, 12);
	other.leave();
});

// ---- refusals ----------------------------------------------------------------------

test("a busy server costs the one room a pause, not the socket", async () => {
	let refusals = 3;
	fake.onFrame = (frame, socket) => {
		if (frame.type !== "join" || frame.room !== R || refusals-- <= 0) return false;
		socket.tell({ type: "error", ref: frame.ref, code: ["PY503", "53200", "PY409"][refusals], title: "busy" });
		return true;
	};
	const other = await penny.join("conversation:2").joined;
	const room = await penny.join(R).joined;
	assert.equal(fake.sockets.length, 1);
	assert.equal(fake.got("join").length, 5);
	other.leave();
	room.leave();
});

test("a room that is refused ends alone, typed", async () => {
	fake.onFrame = (frame, socket) => {
		if (frame.type !== "join" || frame.room === R) return false;
		socket.tell({ type: "error", ref: frame.ref, code: frame.room === "many" ? "PY429" : "PY404", title: "room not found", detail: "d" });
		return true;
	};
	const room = await penny.join(R).joined;
	await assert.rejects(penny.join("conversation:2").joined, refused(404, "PY404"));
	await assert.rejects(penny.join("many").joined, refused(429));
	await assert.rejects(take(penny.join("conversation:2"), 1), refused(404));
	const socket = await fake.socket();
	socket.tell(message(R, 11), { type: "left", room: R, reason: "revoked" });
	const reader = room[Symbol.asyncIterator]();
	assert.equal((await reader.next()).value.version, 11, "what came before is read");
	await assert.rejects(reader.next(), refused(403));
	assert.equal(fake.sockets.length, 1);
});

test("joining twice is refused, leaving and joining again is not", async () => {
	const room = penny.join(R);
	assert.throws(() => penny.join(R), refused(409));
	await room.joined;
	room.leave();
	const again = await penny.join(R).joined;
	(await fake.socket()).tell(message(R, 11));
	assert.deepEqual(contents(await take(again, 1)), ["c11"]);
	assert.deepEqual((await take(room, 1)), [], "the first one is over");
	assert.deepEqual(fake.got("leave").length, 1);
});

test("a loop that is left leaves the room", async () => {
	const room = penny.join(R);
	await room.joined;
	(await fake.socket()).tell(message(R, 11), message(R, 12));
	for await (const event of room) {
		assert.equal(event.version, 11);
		break;
	}
	await fake.waitFor("leave");
	assert.deepEqual(await take(room, 1), []);
});

// ---- connection --------------------------------------------------------------------

test("leaving while waiting: the socket is not opened for nothing", async () => {
	const room = await penny.join(R).joined;
	(await fake.socket()).close(1012, '{"retry_after_ms":60000}');
	await until(() => penny.state === "waiting");
	room.leave();
	assert.equal(penny.state, "idle");
	await penny.join(R).joined.then((again) => again.leave());
	assert.equal(fake.sockets.length, 2);
	await until(() => fake.got("leave").length === 1);
	fake.sockets[1].close(1012, '{"retry_after_ms":60000}');
	await until(() => penny.state === "idle");
	assert.deepEqual(states.slice(-3), ["opening", "open", "idle"], "without waiting for nothing");
});

test("the pause that the server names is kept", async () => {
	await penny.join(R).joined;
	const began = Date.now();
	(await fake.socket()).close(4420, '{"retry_after_ms":300,"reason":"slow"}');
	await fake.socket(2);
	assert.ok(Date.now() - began >= 295);
	assert.ok(Date.now() - began < 2000);
});

test("closing while opening, and opening again, leaves one socket", async () => {
	penny.close();
	let give;
	const asked = [];
	connect({ token: (expired) => (asked.push(expired), new Promise((done) => (give = done))) });
	const first = penny.join(R);
	await until(() => give);
	const giveFirst = give;
	penny.close();
	await assert.rejects(first.joined, { name: "AbortError" });
	const second = penny.join(R);
	await until(() => asked.length === 2);
	giveFirst("t1");
	give("t2");
	await second.joined;
	assert.equal(fake.sockets.length, 1);
	assert.equal(fake.got("auth")[0].token, "t2");
	penny.close();
	assert.equal(penny.state, "closed");
	penny.join(R);
	penny.close();
	give("t3");
	await new Promise((done) => setTimeout(done, 50));
	assert.deepEqual([penny.state, fake.sockets.length], ["closed", 1], "closed is closed");
});

test("closing in onState, in each state, stays closed", async () => {
	for (const when of ["opening", "open", "waiting"]) {
		penny.close();
		connect({ onState: (state) => state === when && penny.close() });
		const before = fake.sockets.length;
		const room = penny.join(R);
		if (when === "waiting") (await fake.socket(before + 1)).close(1012);
		assert.deepEqual(await take(room, 1), []);
		if (when !== "waiting") await assert.rejects(room.joined, { name: "AbortError" });
		await new Promise((done) => setTimeout(done, 50));
		assert.equal(penny.state, "closed", when);
		assert.equal(fake.sockets.length, before + (when === "opening" ? 0 : 1), when);
	}
});

test("4401: a new token is asked for, and everything goes on", async () => {
	penny.close();
	const asked = [];
	connect({ token: async (expired) => (asked.push(expired), expired ? "fresh" : "old") });
	const room = await penny.join(R).joined;
	(await fake.socket()).close(4401, "the token has ended");
	assert.equal((await fake.waitFor("auth", 2)).token, "fresh");
	await fake.waitFor("join", 2);
	fake.onFrame = (frame, socket) => frame.type === "auth" && (socket.close(4401), true);
	(await fake.socket(2)).close(4401);
	await assert.rejects(take(room, 1), refused(401));
	assert.deepEqual(asked, [false, true, true], "one that was fresh and refused is not asked for again");
});

test("4401 without a way to renew, and 4403: the rooms end", async () => {
	const one = await penny.join(R).joined;
	(await fake.socket()).close(4401);
	await assert.rejects(take(one, 1), refused(401));
	const two = await penny.join(R).joined;
	(await fake.socket(2)).close(4403);
	await assert.rejects(take(two, 1), refused(403));
	assert.equal(penny.state, "closed");
});

test("a token source that fails is asked again, unless it says never", async () => {
	penny.close();
	let calls = 0;
	connect({
		token: () => {
			if (calls++ < 2) throw new Error("offline");
			return "t";
		},
	});
	await penny.join(R).joined;
	assert.equal(calls, 3);
	penny.close();
	connect({ token: () => Promise.reject(new PennyError(401, "PY401", "signed out")) });
	await assert.rejects(penny.join(R).joined, refused(401));
});

test("a server that is away is tried less and less often", async (t) => {
	t.mock.method(Math, "random", () => 1);
	const room = await penny.join(R).joined;
	penny.close();
	connect({ maxPause: 10_000 });
	await penny.join(R).joined;
	states.length = 0;
	const began = Date.now();
	await fake.stop();
	await until(() => states.filter((state) => state === "opening").length === 3);
	assert.ok(Date.now() - began >= 1700, "after 250, 500 and 1000 ms");
	room.leave();
});

test("no WebSocket at all is said, not thrown at nobody", async () => {
	penny.close();
	connect({ WebSocket: class { constructor() { throw new Error("forbidden"); } } });
	await assert.rejects(penny.join(R).joined, refused(0, "network"));
});

test("no more frames a second than the server allows", async () => {
	fake.onFrame = (frame) => frame.type === "leave";
	const rooms = Array.from({ length: 60 }, (_, n) => penny.join(`conversation:${n}`));
	await Promise.all(rooms.map((room) => room.joined));
	const socket = await fake.socket();
	const began = Date.now();
	socket.terminate();
	await until(() => fake.sockets.length === 2 && fake.sockets[1].got.length >= 61);
	assert.ok(Date.now() - began > 400, "61 frames are more than one second's worth");
	for (let n = 0; n < 200; n++) rooms[0].signal({ n });
	await new Promise((done) => setTimeout(done, 100));
	assert.ok(fake.got("signal").length < 30, "signals that are too many are dropped");
});

test("the network comes back, the page is looked at again: at once", async (t) => {
	const document = new EventTarget();
	const page = new EventTarget();
	document.visibilityState = "hidden";
	globalThis.document = document;
	for (const how of ["addEventListener", "removeEventListener"]) globalThis[how] = page[how].bind(page);
	t.after(() => {
		for (const name of ["document", "addEventListener", "removeEventListener"]) delete globalThis[name];
	});
	await penny.join(R).joined;
	for (const [target, type, sockets] of [[page, "online", 2], [document, "visibilitychange", 3]]) {
		(await fake.socket()).close(1012, '{"retry_after_ms":60000}');
		await until(() => penny.state === "waiting");
		document.visibilityState = "hidden";
		target.dispatchEvent(new Event(type));
		assert.equal(penny.state, "waiting", "not while nobody looks");
		document.visibilityState = "visible";
		target.dispatchEvent(new Event(type));
		await fake.socket(sockets);
		await fake.waitFor("join", sockets);
		await until(() => penny.state === "open");
	}
	document.dispatchEvent(new Event("visibilitychange"));
	await fake.waitFor("ping");
	penny.close();
	assert.deepEqual([page, document].flatMap((target) => ["online", "visibilitychange"].map((type) => getEventListeners(target, type).length)), [0, 0, 0, 0], "nobody listens any more");
});

// ---- messages ----------------------------------------------------------------------

test("messages: in order, one at a time, again after a reconnect, with the same client_id", async () => {
	const room = await penny.join(R).joined;
	let swallowed;
	fake.onFrame = (frame, socket) => {
		if (frame.type !== "message" || swallowed) return false;
		swallowed = frame;
		socket.terminate();
		return true;
	};
	const acks = await Promise.all([room.send("a"), room.send({ content: "b", client_id: "mine" }), room.send({ content: "c", client_id: undefined })]);
	assert.deepEqual(acks.map((ack) => ack.id), ["id-a", "id-b", "id-c"]);
	const sent = fake.got("message");
	assert.deepEqual(sent.map((frame) => frame.content), ["a", "a", "b", "c"]);
	assert.equal(sent[0].client_id, sent[1].client_id);
	assert.match(sent[0].client_id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
	assert.equal(sent[2].client_id, "mine");
	assert.ok(sent[3].client_id);
});

test("a message that finds a busy server keeps its place; one that is refused goes", async () => {
	const room = await penny.join(R).joined;
	let busy = 2;
	fake.onFrame = (frame, socket) => {
		if (frame.type !== "message") return false;
		const code = frame.content === "bad" ? "PY409" : busy-- > 0 ? "PY503" : undefined;
		if (code) socket.tell({ type: "error", ref: frame.ref, code, title: "no" });
		return code !== undefined;
	};
	const bad = room.send("bad");
	const good = room.send("good");
	const last = room.send("last");
	await assert.rejects(bad, refused(409));
	assert.equal((await good).id, "id-good");
	assert.equal((await last).id, "id-last");
	assert.deepEqual(fake.got("message").map((frame) => frame.content), ["bad", "good", "good", "good", "last"]);
});

test("a message that the socket dies of goes, the rooms and the others stay", async () => {
	const room = await penny.join(R).joined;
	fake.onFrame = (frame, socket) => {
		if (frame.content !== "large" && frame.content !== "odd") return false;
		socket.close(frame.content === "large" ? 4413 : 4400);
		return true;
	};
	const results = await Promise.allSettled([room.send("large"), room.send("odd"), room.send("fine")]);
	assert.equal(results[0].reason.status, 413);
	assert.equal(results[1].reason.status, 400);
	assert.equal(results[2].value.id, "id-fine");
	(await fake.socket()).tell(message(R, 99));
	assert.deepEqual(contents(await take(room, 1)), ["c99"]);
	(await fake.socket()).close(4400);
	await assert.rejects(take(room, 1), refused(400));
});

test("what cannot be written is refused at once, and is in nobody's way", async () => {
	const room = await penny.join(R).joined;
	const circle = {};
	circle.circle = circle;
	await assert.rejects(room.send({ metadata: circle }), TypeError);
	await assert.rejects(room.send({ content: 1n }), TypeError);
	await assert.rejects(penny.send("a", { metadata: circle }), TypeError);
	const later = { content: "then" };
	const sent = room.send(later);
	later.content = "now";
	assert.equal((await sent).id, "id-then");
});

test("sending opens the socket by itself, and its queue has an end", async () => {
	penny.close();
	let give;
	connect({ token: () => new Promise((done) => (give = done)) });
	const room = penny.join(R);
	const sent = Array.from({ length: 1000 }, (_, n) => room.send(`${n}`));
	sent.forEach((one) => one.catch(() => undefined));
	await assert.rejects(room.send("one more"), refused(429));
	penny.close();
	for (const one of [sent[0], sent[999]]) await assert.rejects(one, refused(0, "network"));
	connect();
	const other = penny.join(R);
	await other.joined;
	other.leave();
	(await fake.socket()).terminate();
	await until(() => penny.state === "idle");
	assert.equal((await other.send("after leaving")).id, "id-after leaving");
});

// ---- presence and streams -------------------------------------------------------------

test("presence: the list, then who came and went", async () => {
	const room = await penny.join(R, { presence: true }).joined;
	(await fake.socket()).tell(
		{ type: "presence", room: R, members: [{ user_id: "a", devices: 2 }, { user_id: "b", devices: 1 }] },
		{ type: "presence", room: R, joined: [{ user_id: "c", devices: 1 }], left: ["a"] },
		{ type: "presence", room: R, joined: [], left: [{ user_id: "b" }] },
	);
	const events = await take(room, 3);
	assert.deepEqual(events.map(({ joined, left }) => [joined, left]), [[["a", "b"], []], [["c"], ["a"]], [[], ["b"]]]);
	assert.deepEqual([...room.present], [["c", 1]]);
});

const piece = (index, delta, id = "s") => ({ type: "stream", room: R, message_id: id, index, delta });
const state = (index, text, id = "s") => ({ type: "stream", room: R, message_id: id, index, text });
const told = (events) => events.map((event) => (event.type === "stream" ? [event.delta, event.text] : event.type));

test("streams: from the beginning, with what it begins with", async () => {
	const room = await penny.join(R).joined;
	const socket = await fake.socket();
	socket.tell(message(R, 11, { id: "s", status: "streaming", content: "So: " }), piece(1, "a"), piece(1, "a"), piece(2, "b"), piece(3, "c"));
	assert.deepEqual(told(await take(room, 4)), ["message", ["a", "So: a"], ["b", "So: ab"], ["c", "So: abc"]]);
	socket.tell({ type: "event", room: R, version: 12, event: { type: "message.updated", message: { id: "s", status: "completed", content: "So: abc" } } });
	await take(room, 1);
	socket.tell(state(1, "x", "t"), { type: "event", room: R, version: 13, event: { type: "message.deleted", id: "t" } }, { type: "event", room: R, event: { id: "u", status: "streaming", content: "by anybody" } });
	await take(room, 3);
	assert.equal(room.streams.open.size, 0, "nothing is kept of what has ended or is gone");
});

test("streams: a late joiner gets the text so far and goes on", async () => {
	const room = await penny.join(R).joined;
	(await fake.socket()).tell(state(7, "so far"), piece(7, "far"), piece(8, "!"), state(0, "", "t"), piece(1, "x", "t"));
	assert.deepEqual(told(await take(room, 4)), [[null, "so far"], ["!", "so far!"], [null, ""], ["x", "x"]]);
});

test("streams: over a reconnect only what is new is told; lost text replaces", async () => {
	const room = await penny.join(R).joined;
	let socket = await fake.socket();
	socket.tell(state(2, "ab"), piece(3, "c"));
	await take(room, 2);
	socket.terminate();
	await fake.waitFor("join", 2);
	socket = await fake.socket(2);
	socket.tell(state(3, "abc"), piece(4, "d"), state(6, "abcdef"), state(5, "abc"));
	assert.deepEqual(told(await take(room, 3)), [["d", "abcd"], ["ef", "abcdef"], [null, "abc"]]);
});

test("streams: a hole is never told; the room is asked again, not in a rush", async () => {
	const room = await penny.join(R).joined;
	const socket = await fake.socket();
	let joins = 0;
	fake.onFrame = (frame) => {
		if (frame.type !== "join") return false;
		joins++;
		socket.tell(fake.joined(frame), joins < 4 ? piece(9, "hole") : state(9, "whole"));
		return true;
	};
	socket.tell(state(1, "w"), piece(3, "o"));
	assert.deepEqual(told(await take(room, 2)), [[null, "w"], ["hole", "whole"]].map((row) => (row[0] === "hole" ? ["hole", "whole"] : row)));
	assert.equal(joins, 4);
});

test("streams: text that was replaced while it grows is asked for", async () => {
	const room = await penny.join(R).joined;
	const socket = await fake.socket();
	const updated = (version, content) => ({ type: "event", room: R, version, event: { type: "message.updated", message: { id: "s", status: "streaming", content } } });
	socket.tell(state(3, "abc"), updated(11, "ab"), updated(12, "abc"), piece(4, "d"), updated(13, "New"));
	await take(room, 5);
	assert.equal((await fake.waitFor("join", 2)).since.version, 13, "behind is not replaced");
	socket.tell(state(4, "New"), piece(5, "er"));
	assert.deepEqual(told(await take(room, 2)), [[null, "New"], ["er", "Newer"]]);
});

// ---- HTTP ----------------------------------------------------------------------------

const answer = (response, status, body, headers = {}) => response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));

test("requests: what is safe is repeated, what is not is not, errors are typed", async () => {
	let failures = 2;
	fake.onRequest = (request, response) => (failures-- > 0 ? answer(response, 503, { code: "PY503", title: "busy" }) : answer(response, 200, { id: "x" }));
	assert.equal((await penny.conversation("a/b", { messages: 3 })).id, "x");
	assert.deepEqual(fake.requests.map(({ url }) => url), Array(3).fill("/api/v1/conversations/a%2Fb?messages=3"));
	failures = 1;
	await assert.rejects(penny.createConversation({ title: "t" }), (error) => refused(503, "PY503")(error) && error.retryable);
	failures = 1;
	assert.equal((await penny.send("a", { content: "c", client_id: undefined })).id, "x");
	const bodies = fake.requests.slice(-2).map(({ body }) => JSON.parse(body));
	assert.equal(bodies[0].client_id, bodies[1].client_id);
	assert.equal(bodies[0].role, "user");
	failures = 1;
	await penny.chunk("a", "m", { delta: "x", index: 3 });
	failures = 1;
	await assert.rejects(penny.chunk("a", "m", { delta: "x" }), refused(503));
	fake.onRequest = (request, response) => answer(response, 404, { code: "PY404", title: "not found", detail: "d", hint: "h", request_id: "r" });
	await assert.rejects(penny.conversation("a"), (error) => refused(404, "PY404")(error) && error.detail === "d" && error.hint === "h" && error.requestId === "r" && !error.retryable);
	fake.onRequest = (request, response) => answer(response, 429, {}, { "retry-after": "3600" });
	const began = Date.now();
	await assert.rejects(penny.conversation("a"), (error) => refused(429)(error) && error.retryAfter === 3600);
	assert.ok(Date.now() - began < 1000, "nobody waits for an hour");
	fake.onRequest = (request, response) => response.writeHead(204).end();
	assert.equal(await penny.deleteMessage("a", "m"), undefined);
	fake.onRequest = (request, response) => response.writeHead(200, { "content-length": "100" }).write("{") && setTimeout(() => response.destroy(), 20);
	await assert.rejects(penny.conversation("a"), refused(0, "network"));
});

test("requests: a server that says nothing is given up", async () => {
	penny.close();
	connect({ timeout: 50 });
	fake.onRequest = () => undefined;
	await assert.rejects(penny.createConversation(), refused(0, "network"));
});

test("requests: an ended token is replaced once, by one renewal for all", async () => {
	penny.close();
	let renewals = 0;
	connect({ token: async (expired) => (expired ? (renewals++, await new Promise((done) => setTimeout(done, 30)), "fresh") : "old") });
	fake.onRequest = (request, response) => answer(response, request.headers.authorization === "Bearer fresh" ? 200 : 401, { id: "x" });
	await Promise.all([penny.conversation("a"), penny.conversation("b"), penny.conversation("c")]);
	assert.equal(renewals, 1);
	fake.onRequest = (request, response) => answer(response, 401, { code: "PY401" });
	await assert.rejects(penny.conversation("a"), refused(401));
	assert.equal(renewals, 2);
});

const sse = (response, ...frames) => frames.forEach((frame) => response.write(`id: e1:${frame.version ?? ""}\nevent: ${frame.type}\ndata: ${JSON.stringify(frame)}\n\n`));

test("ask: the stored message, the answer as it grows, its end; cut off it is asked again", async () => {
	let asks = 0;
	fake.onRequest = (request, response) => {
		response.writeHead(200, { "content-type": "text/event-stream" });
		sse(response, message(R, 11, { role: "user", content: "question" }), { type: "joined", room: R, position: {}, recovered: true });
		if (++asks < 3) {
			sse(response, message(R, 12, { role: "assistant", id: "s", status: "streaming", content: "" }), piece(1, "a\r\nb"), { type: "position", room: R, version: 12 });
			/* cut off, and ended in good order by a server that stops */
			if (asks === 1) setTimeout(() => response.destroy(), 30);
			else response.end("retry: 10\n\n");
		} else {
			response.write(": heartbeat\n\n");
			sse(response, message(R, 12, { role: "assistant", id: "s", status: "streaming", content: "a\r\nbc" }), state(2, "a\r\nbc"), piece(3, "d"));
			sse(response, { type: "event", room: R, version: 13, event: { type: "message.updated", message: { id: "s", status: "completed", content: "a\r\nbcd" } } });
			response.end();
		}
	};
	const events = [];
	for await (const event of penny.ask("1", "question")) events.push(event);
	assert.deepEqual(told(events), ["message", "message", ["a\r\nb", "a\r\nb"], ["c", "a\r\nbc"], ["d", "a\r\nbcd"], "event"]);
	assert.equal(asks, 3);
	assert.match(fake.requests[0].url, /\?stream=true$/);
	assert.equal(fake.requests[0].headers.accept, "text/event-stream");
	assert.equal(JSON.parse(fake.requests[0].body).client_id, JSON.parse(fake.requests[1].body).client_id);
});

test("ask: ended by the caller, refused by the server, left by the loop", async () => {
	let closed = 0;
	fake.onRequest = (request, response) => {
		response.on("close", () => closed++);
		response.writeHead(200, { "content-type": "text/event-stream" });
		sse(response, message(R, 11));
	};
	const stop = new AbortController();
	const events = penny.ask("1", "q", stop.signal);
	await events.next();
	setTimeout(() => stop.abort(), 20);
	await assert.rejects(events.next(), { name: "AbortError" });
	for await (const event of penny.ask("1", "q")) {
		assert.equal(event.version, 11);
		break;
	}
	await until(() => closed === 2);
	fake.onRequest = (request, response) => {
		response.writeHead(200, { "content-type": "text/event-stream" });
		sse(response, message(R, 11, { role: "user" }), { type: "left", room: R, reason: "revoked" });
		response.end();
	};
	const revoked = penny.ask("1", "q");
	await revoked.next();
	await assert.rejects(revoked.next(), refused(403));
	fake.onRequest = (request, response) => answer(response, 403, { code: "42501", title: "no" });
	await assert.rejects(penny.ask("1", "q").next(), refused(403, "42501"));
});
