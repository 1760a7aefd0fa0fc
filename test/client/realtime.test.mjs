// The client against what a real server can do beyond rooms of conversations:
// batches, filters, conflation, streams, presence, answers as events. What this
// server does not have yet is skipped, visibly.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { PennyError, WebSocket } from "./lib/client.mjs";
import { take, until } from "./lib/fake.mjs";
import { Proxy } from "./lib/proxy.mjs";
import { act, addUser, client, port, skip, sql, token, url } from "./lib/server.mjs";

/** Ask the server by a socket of its own: the first frame with this ref, of any type. */
async function probe(user, ...frames) {
	const socket = new WebSocket(`${url.replace(/^http/, "ws")}/ws`, ["penny.v1"], { headers: { authorization: `Bearer ${token(user)}` } });
	const answer = new Promise((resolve, reject) => {
		socket.onopen = () => frames.forEach((frame) => socket.send(JSON.stringify(frame)));
		socket.onmessage = ({ data }) => JSON.parse(data).ref === "probe" && resolve(JSON.parse(data));
		socket.onclose = reject;
		socket.onerror = () => undefined;
	});
	try {
		return await answer;
	} finally {
		socket.onclose = null;
		socket.close();
	}
}

describe("newer realtime", { skip }, () => {
	let ada, bot, talk, room, has;
	const clients = [];
	const connect = (...how) => clients[clients.push(client(...how)) - 1];
	const add = (content, more = "") => act(ada, "penny_user", `SELECT count(penny.add_message('${talk}', 'user', '${content}' || n)) FROM generate_series(1, ${more || 1}) n`);
	const functions = async (name) => (await sql(`SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = 'penny' AND proname = '${name}'`)) !== "0";

	/** The list comes with the join, or soon after. */
	async function knowsPresence() {
		const one = await connect(ada).join(room, { presence: true }).joined;
		const list = take(one, 1).then(([event]) => event?.type === "presence");
		const late = setTimeout(() => one.leave(), 2000);
		return list.finally(() => (clearTimeout(late), one.leave()));
	}

	before(async () => {
		[ada, bot] = await Promise.all(["Ada", "Bot"].map(addUser));
		talk = (await connect(ada).createConversation({ title: "t" })).id;
		room = `conversation:${talk}`;
		await act(ada, "penny_user", `SELECT penny.add_participant('${talk}', '${bot}')`);
		has = {
			options: (await probe(ada, { type: "options", batch_ms: 20, ref: "probe" })).type === "ack",
			streams: await functions("stream_append"),
			rooms: await functions("room_recheck"),
			presence: await knowsPresence(),
		};
		const answer = await fetch(`${url}/api/v1/conversations/${talk}/events`, { headers: { authorization: `Bearer ${token(ada)}`, accept: "text/event-stream" }, signal: AbortSignal.timeout(5000) }).catch(() => undefined);
		has.events = answer?.headers.get("content-type")?.startsWith("text/event-stream") === true;
		await answer?.body?.cancel();
	});
	after(() => clients.forEach((one) => one.close()));

	const needs = (t, feature) => has[feature] || (t.skip(`this server has no ${feature}`), false);

	test("batches: all of a burst, in order, and a position at its end", async (t) => {
		if (!needs(t, "options")) return;
		for (const batchMs of [0, 50, 500]) {
			const mine = await connect(ada, { batchMs }).join(room).joined;
			const from = mine.position.version;
			await add("burst ", 60);
			const events = await take(mine, 60);
			assert.deepEqual(events.map(({ version }) => version), Array.from({ length: 60 }, (_, n) => from + n + 1), `${batchMs} ms`);
			mine.leave();
		}
	});

	test("filter: only what was asked for, and the position moves on with the rest", async (t) => {
		if (!needs(t, "options")) return;
		const proxy = await Proxy.start(t, port);
		const mine = await connect(ada, { url: proxy.url, batchMs: 0, maxPause: 50 }).join(room, { types: ["conversation.updated"] }).joined;
		await add("unseen ", 20);
		await connect(ada).updateConversation(talk, { title: "seen" });
		const [event] = await take(mine, 1);
		assert.equal(event.event.type, "conversation.updated");
		proxy.cut();
		await add("unseen ", 5);
		await connect(ada).updateConversation(talk, { title: "seen again" });
		const [next] = await take(mine, 1);
		assert.ok(next.version >= event.version + 6);
		assert.equal(next.event.type, "conversation.updated");
	});

	/** Do it while nothing is read through the proxy, until the server has had enough of that. */
	async function unread(proxy, what) {
		const slow = () => sql("SELECT sum(n::bigint) FROM jsonb_path_query(penny.stats(), '$.**.slow_members') n");
		const before = await slow();
		const sockets = [...proxy.pairs].map(({ server }) => server);
		for (const socket of sockets) socket.pause();
		await what();
		await until(async () => (await slow()) !== before, 30_000, "it is too slow for the server");
		for (const socket of sockets) socket.resume();
	}

	test("too slow: cut, and told everything after it", async (t) => {
		if (!needs(t, "options")) return;
		const proxy = await Proxy.start(t, port);
		const states = [];
		const mine = await connect(ada, { url: proxy.url, maxPause: 50, onState: (state) => states.push(state) }).join(room).joined;
		const from = mine.position.version;
		await unread(proxy, () => act(ada, "penny_user", `SELECT count(penny.add_message('${talk}', 'user', repeat('x', 200000) || n)) FROM generate_series(1, 80) n`));
		const events = await take(mine, 80);
		assert.deepEqual(events.map(({ version }) => version), Array.from({ length: 80 }, (_, n) => from + n + 1));
		assert.deepEqual(states, ["opening", "open", "waiting", "opening", "open"]);
	});

	test("too slow, but content with the newest state: led there, the socket stays", async (t) => {
		if (!needs(t, "options")) return;
		const proxy = await Proxy.start(t, port);
		const states = [];
		const mine = await connect(ada, { url: proxy.url, maxPause: 50, onState: (state) => states.push(state) }).join(room, { conflate: true }).joined;
		const { id } = await connect(ada).send(talk, "first");
		const [first] = await take(mine, 1);
		await unread(proxy, async () => {
			for (let n = 1; n <= 80; n++) await act(ada, "penny_user", `SELECT penny.update_message('${talk}', '${id}', repeat('x', 200000) || ${n})`);
		});
		const last = first.version + 80;
		const events = [];
		for await (const event of mine) {
			events.push(event);
			if (event.version >= last) break;
		}
		const skipped = events.filter(({ type }) => type === "conflated");
		assert.ok(skipped.length >= 1, events.map(({ type, version }) => `${type} ${version}`).join(", "));
		assert.ok(events.length < 80);
		assert.ok(events.at(-1).event.message.content.endsWith("x80"), "the newest is told");
		assert.deepEqual(states, ["opening", "open"]);
	});

	test("streams: from the beginning, late, over cuts; the text is always whole", async (t) => {
		if (!needs(t, "streams")) return;
		const agent = connect(() => token(bot, "penny_agent"));
		const proxy = await Proxy.start(t, port);
		const early = await connect(ada, { url: proxy.url, maxPause: 50 }).join(room).joined;
		const message = await agent.send(talk, { role: "assistant", status: "streaming", content: "So: " });
		const pieces = Array.from({ length: 60 }, (_, n) => `<${n + 1}>`);
		const whole = `So: ${pieces.join("")}`;
		const follow = async (one) => {
			let text = "";
			for await (const event of one) {
				if (event.type === "message" && event.message.id === message.id) text = event.message.content;
				if (event.type === "stream") {
					if (event.delta !== null) assert.equal(event.text, text + event.delta, "a delta follows on what was told");
					text = event.text;
					assert.ok(whole.startsWith(text), "exact at any moment");
				}
				if (event.type === "event" && event.event.type === "message.updated") return [text, event.event.message];
			}
		};
		const followers = [follow(early)];
		for (const [n, delta] of pieces.entries()) {
			assert.equal((await agent.chunk(talk, message.id, { delta, index: n + 1 })).index, n + 1);
			if (n === 20) {
				const chat = await connect(ada).conversation(talk);
				followers.push(follow(connect(ada).join(room, { since: chat.position })));
			}
			if (n === 30) followers.push(follow(await connect(ada).join(room).joined));
			if (n % 10 === 9) proxy.cut();
		}
		const ended = await agent.chunk(talk, message.id, { finish: "completed" });
		assert.equal(ended.content, whole);
		for (const [text, updated] of await Promise.all(followers)) {
			assert.deepEqual([updated.status, updated.content], ["completed", whole]);
			assert.ok(whole.startsWith(text));
		}
		assert.equal((await followers[2])[0], whole, "who was not cut has seen all of it grow");
		await assert.rejects(agent.chunk(talk, message.id, { delta: "late", index: 61 }), (error) => error instanceof PennyError && error.status === 409);
	});

	test("free rooms: read, written by whom the policy lets", async (t) => {
		if (!needs(t, "rooms")) return;
		await sql(`CREATE FUNCTION public.board(room text) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('read', true, 'write', penny.user_id() = '${bot}') $$; INSERT INTO penny.room_policies VALUES ('board', 'public.board')`);
		const mine = await connect(ada).join("board:1").joined;
		const his = await connect(bot).join("board:1").joined;
		await act(bot, "penny_agent", `SELECT penny.publish('board:1', '{"type":"note","n":1}')`);
		assert.deepEqual((await take(mine, 1))[0].event, { type: "note", n: 1 });
		if (has.options) assert.deepEqual([mine.writable, his.writable], [false, true]);
		await sql("DELETE FROM penny.room_policies WHERE prefix = 'board'");
		await assert.rejects(take(mine, 2), (error) => error instanceof PennyError && [403, 404].includes(error.status));
	});

	test("presence: who is there, with two devices, and who went", async (t) => {
		if (!needs(t, "presence")) return;
		const mine = await connect(ada, { batchMs: 0 }).join(room, { presence: true }).joined;
		await until(() => mine.present.get(ada) === 1);
		const first = connect(bot);
		await first.join(room, { presence: true }).joined;
		await until(() => mine.present.get(bot) === 1);
		first.close();
		await until(() => !mine.present.has(bot));
	});

	test("ask: the stored message, the answer as it grows, its end", async (t) => {
		if (!needs(t, "events")) return;
		const agent = connect(() => token(bot, "penny_agent"));
		const listening = await agent.join(room).joined;
		const answering = (async () => {
			for await (const event of listening) {
				if (event.type !== "message" || event.message.content !== "Why?") continue;
				const { id } = await agent.send(talk, { role: "assistant", status: "streaming", content: "", parent_id: event.message.id });
				for (const [n, delta] of ["Be", "cau", "se"].entries()) await agent.chunk(talk, id, { delta, index: n + 1 });
				return agent.chunk(talk, id, { finish: "completed" });
			}
		})();
		let text = "";
		const types = [];
		for await (const event of connect(ada).ask(talk, "Why?")) {
			types.push(event.type);
			if (event.type === "stream") text = event.text;
		}
		await answering;
		assert.equal(types[0], "message");
		assert.equal(text, "Because");
	});
});
