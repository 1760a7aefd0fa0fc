// The client against a real server: fetch, join, send, errors, the end of rights
// and tokens, and faults of the network, the edge and PostgreSQL.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { PennyError, WebSocket } from "./lib/client.mjs";
import { take, until } from "./lib/fake.mjs";
import { Proxy } from "./lib/proxy.mjs";
import { act, addUser, client, killEdge, port, restart, skip, sql, stored, token, url, writer } from "./lib/server.mjs";

const refused = (status, code) => (error) => error instanceof PennyError && error.status === status && (!code || error.code === code);
const strays = [];
process.on("unhandledRejection", (reason) => strays.push(reason));
after(() => assert.deepEqual(strays, [], "no rejection is left unhandled"));

describe("a real server", { skip }, () => {
	let ada, bob, eve, talk, room;
	const clients = [];
	const connect = (...how) => clients[clients.push(client(...how)) - 1];

	before(async () => {
		[ada, bob, eve] = await Promise.all(["Ada", "Bob", "Eve"].map(addUser));
		const penny = connect(ada);
		talk = (await penny.createConversation({ title: "Dinner", messages: [{ role: "user", content: "Where?" }] })).id;
		room = `conversation:${talk}`;
		await act(ada, "penny_user", `SELECT penny.add_participant('${talk}', '${bob}')`);
	});
	after(() => clients.forEach((one) => one.close()));

	test("conversations and messages by HTTP", async () => {
		const penny = connect(ada);
		const sent = await penny.send(talk, "At the harbour \u{1f600}");
		assert.equal(sent.content, "At the harbour \u{1f600}");
		const again = await penny.send(talk, { content: "once", client_id: "c1" });
		assert.equal((await penny.send(talk, { content: "once", client_id: "c1" })).id, again.id);
		await assert.rejects(penny.send(talk, { content: "other", client_id: "c1" }), refused(409, "PY409"));
		const chat = await penny.conversation(talk, { messages: 2 });
		assert.deepEqual(chat.messages.map(({ id }) => id), [again.id, sent.id]);
		assert.equal(chat.position.version, chat.version);
		const page = await penny.messages(talk, { after: 0, limit: 2 });
		assert.deepEqual([page.data.length, page.has_more], [2, true]);
		assert.equal((await penny.conversations({ limit: 5 })).data[0].id, talk);
		assert.equal((await penny.updateMessage(talk, again.id, { content: "changed" })).content, "changed");
		assert.equal(await penny.deleteMessage(talk, again.id), undefined);
		assert.equal((await penny.updateConversation(talk, { title: "Supper" })).title, "Supper");
		await assert.rejects(connect(eve).conversation(talk), refused(404, "PY404"));
		await assert.rejects(penny.conversation(talk, { messages: 1000 }), (error) => refused(400)(error) && error.requestId !== undefined);
		await assert.rejects(connect(() => "nonsense").conversation(talk), refused(401));
		const other = await penny.createConversation();
		await penny.deleteConversation(other.id);
		await assert.rejects(penny.request("GET", `/api/v1/conversations/${other.id}`), refused(404));
	});

	test("fetch, join, and nothing between is lost or told twice", async () => {
		const [a, b] = [connect(ada), connect(bob)];
		const chat = await a.conversation(talk);
		await a.send(talk, "between");
		const mine = a.join(room, { since: chat.position });
		const his = await b.join(room).joined;
		const ack = await his.send("by socket");
		const events = await take(mine, 2);
		assert.deepEqual(events.map((event) => event.message.content), ["between", "by socket"]);
		assert.deepEqual([events[1].message.id, events[1].version], [ack.id, ack.version]);
		assert.deepEqual(mine.position, { epoch: chat.position.epoch, version: ack.version });
		his.signal({ kind: "typing" });
		const [signal] = await take(mine, 1);
		assert.deepEqual([signal.event, signal.user_id], [{ kind: "typing" }, bob]);
		await assert.rejects(his.send({ content: 7 }), refused(400));
		await assert.rejects(his.send({ content: "x", role: "assistant" }), refused(403));
		const odd = await Promise.allSettled([his.send("lone \ud800 surrogate"), his.send("x".repeat(1_200_000)), his.send("after")]);
		assert.ok([400, undefined].includes(odd[0].reason?.status), String(odd[0].reason));
		assert.ok(refused(413)(odd[1].reason), String(odd[1].reason));
		assert.equal(odd[2].status, "fulfilled", "one that cannot be taken harms no other");
	});

	test("a stranger, a room that is none, rights that end", async () => {
		const e = connect(eve);
		await assert.rejects(e.join(room).joined, refused(404));
		await assert.rejects(e.join("nonsense").joined, (error) => [400, 404].includes(error.status));
		const b = connect(bob);
		const his = await b.join(room).joined;
		await act(ada, "penny_user", `SELECT penny.remove_participant('${talk}', '${bob}')`);
		await assert.rejects(take(his, 5), (error) => [403, 404].includes(error.status));
		await act(ada, "penny_user", `SELECT penny.add_participant('${talk}', '${bob}')`);
		const again = await b.join(room).joined;
		await sql(`DELETE FROM chat.messages WHERE false`);
		await connect(ada).send(talk, "back");
		assert.equal((await take(again, 1))[0].message.content, "back");
	});

	test("a token that ends is replaced, and the room goes on", async () => {
		let renewals = 0;
		await sql("ALTER SYSTEM SET penny.jwt_leeway = 0");
		await sql("SELECT pg_reload_conf()");
		const states = [];
		const penny = connect((expired) => (renewals += expired, token(ada, "penny_user", expired ? 3600 : 3)), { onState: (state) => states.push(state) });
		const mine = await penny.join(room).joined;
		await until(() => renewals > 0 && penny.state === "open", 15_000);
		await penny.send(talk, "still here");
		const events = await take(mine, 1);
		assert.equal(events[0].message.content, "still here");
		assert.equal(renewals, 1);
		assert.deepEqual(states, ["opening", "open", "waiting", "opening", "open"]);
		const once = connect(() => Promise.resolve(token(ada, "penny_user", -60)));
		await assert.rejects(once.join(room).joined, refused(401));
		await sql("ALTER SYSTEM RESET penny.jwt_leeway");
		await sql("SELECT pg_reload_conf()");
	});

	test("an edge that stalls is given up when the page is looked at, or the network is back", async (t) => {
		const page = new EventTarget();
		for (const how of ["addEventListener", "removeEventListener"]) globalThis[how] = page[how].bind(page);
		t.after(() => ["addEventListener", "removeEventListener"].forEach((how) => delete globalThis[how]));
		const proxy = await Proxy.start(t, port);
		const penny = connect(ada, { url: proxy.url, maxPause: 50 });
		const mine = await penny.join(room).joined;
		proxy.stall();
		await connect(ada).send(talk, "while it stalls");
		page.dispatchEvent(new Event("online"));
		await until(() => penny.state !== "open", 15_000, "it is noticed");
		proxy.cut();
		assert.equal((await take(mine, 1))[0].message.content, "while it stalls");
	});

	test("a conversation that is deleted ends its room", async () => {
		const penny = connect(ada);
		const { id } = await penny.createConversation();
		const gone = await penny.join(`conversation:${id}`).joined;
		await penny.deleteConversation(id);
		await assert.rejects(take(gone, 5), refused(404));
	});

	/*
	 * The checker: writers commit and roll back while the readers' connections are
	 * cut again and again; every message comes exactly once and in order, to each
	 * reader, whatever it reads by; every message sent by the client is there once.
	 */
	async function check(t, name, { lines, writers, spoil, fetchFirst, epochs = false, sends = 20 }) {
		const penny = connect(ada);
		const { id } = await penny.createConversation();
		await act(ada, "penny_user", `SELECT penny.add_participant('${id}', '${bob}')`);
		const proxy = await Proxy.start(t, port);
		const readers = [];
		for (const [n, user] of [ada, bob, bob].entries()) {
			const reader = connect(user, { url: proxy.url, maxPause: 100 });
			const since = n === 0 && fetchFirst ? (await reader.conversation(id)).position : undefined;
			const joined = reader.join(`conversation:${id}`, { ...(since && { since }), queue: n === 2 ? 20 : 1000 });
			if (!since) await joined.joined;
			readers.push({ name: `reader ${n}`, joined, got: new Map(), versions: [], resets: 0, reader });
		}
		for (const one of readers) {
			one.done = (async () => {
				for await (const event of one.joined) {
					if (event.type === "reset") {
						one.resets++;
						/* a crash may have taken the last commits: what was told is told anew */
						const chat = await one.reader.conversation(id, { messages: 1 });
						one.got = new Map();
						const note = (messages) => messages.forEach((message) => one.got.set(message.id, message.content));
						note(chat.messages);
						for (let before = chat.messages[0].seq, more = true; more; ) {
							const page = await one.reader.messages(id, { before, limit: 100 });
							note(page.data);
							before = page.data[0]?.seq;
							more = page.has_more;
						}
						one.versions = [chat.position.version];
						one.joined.seek(chat.position);
					} else if (event.type === "message") {
						if (one.got.has(event.message.id)) one.twice = event.message.content;
						one.got.set(event.message.id, event.message.content);
						one.versions.push(event.version);
						if (event.message.content === "the end") return;
					}
				}
			})();
		}
		const running = Array.from({ length: writers }, (_, w) =>
			writer(Array.from({ length: lines }, (_, n) => `BEGIN; INSERT INTO chat.messages (conversation_id, role, user_id, content) VALUES ('${id}', 'user', '${ada}', 'w${w}-${n}'); ${n % 7 === 6 ? "ROLLBACK" : "COMMIT"}; SELECT pg_sleep(0.003);`).join("\n")),
		);
		const sender = connect(bob, { url: proxy.url, maxPause: 100 }).join(`conversation:${id}`);
		const sent = Array.from({ length: sends }, (_, n) => sender.send(`sent ${n}`));
		let writing = true;
		const all = Promise.all([...running.map((one) => one.done), ...sent]).finally(() => (writing = false));
		let spoiled = 0;
		while (writing && spoiled < 500) {
			await spoil(proxy, spoiled);
			spoiled++;
		}
		await all;
		await penny.send(id, { content: "the end", client_id: "end" });
		const timeout = new Promise((_, reject) => setTimeout(reject, 30_000, new Error(`${name}: the end did not come`)).unref());
		await Promise.race([Promise.all(readers.map((one) => one.done)), timeout]);
		const there = await stored(id);
		assert.equal(new Set(there).size, there.length, `${name}: stored once`);
		assert.deepEqual(there.filter((content) => content.startsWith("sent ")), sent.map((_, n) => `sent ${n}`), `${name}: sent messages in order`);
		for (const one of readers) {
			assert.equal(one.twice, undefined, `${name}, ${one.name}: told twice`);
			assert.deepEqual([...one.got.values()].sort(), [...there].sort(), `${name}, ${one.name}: every message`);
			assert.ok(one.versions.every((version, n) => n === 0 || version > one.versions[n - 1]), `${name}, ${one.name}: in order`);
			if (!epochs) assert.equal(one.resets, 0, `${name}, ${one.name}: recovered each time`);
			if (!epochs) assert.deepEqual([...one.got.values()], there, `${name}, ${one.name}: in the order of versions`);
		}
		return { spoiled, messages: there.length, cuts: proxy.cuts, resets: readers.map((one) => one.resets) };
	}
	const pause = (ms) => new Promise((done) => setTimeout(done, ms));

	test("every message exactly once, in order, while connections are cut again and again", async (t) => {
		const found = await check(t, "cuts", {
			lines: 400,
			writers: 3,
			fetchFirst: true,
			async spoil(proxy, n) {
				await pause(20 + Math.random() * 120);
				if (n % 5 === 4) {
					proxy.stall();
					await pause(30);
				}
				proxy.cut();
			},
		});
		t.diagnostic(JSON.stringify(found));
		assert.ok(found.cuts > 30, `${found.cuts} cuts`);
	});

	test("the same while the edge is killed", async (t) => {
		let kills = 0;
		const found = await check(t, "kills", {
			lines: 300,
			writers: 2,
			fetchFirst: true,
			async spoil() {
				await pause(250);
				if (kills < 8) kills += await killEdge();
			},
		});
		t.diagnostic(JSON.stringify({ ...found, kills }));
		assert.ok(kills >= 2, `${kills} kills`);
	});

	test("PostgreSQL restarts at once: told as a reset, then on as before", async (t) => {
		let restarts = 0;
		const found = await check(t, "restart", {
			lines: 100,
			writers: 1,
			epochs: true,
			sends: 60,
			async spoil() {
				await pause(200);
				if (restarts++ === 0) await restart();
			},
		});
		t.diagnostic(JSON.stringify(found));
		assert.ok(found.resets.every((resets) => resets === 1), "each reader is told once");
	});

	test("node has the same with ws and, from 22 on, its own WebSocket", async () => {
		const own = globalThis.WebSocket;
		const penny = connect(ada, { WebSocket: own ?? WebSocket, url });
		await (await penny.join(room).joined).send("by the last one");
	});
});
