// The built file in a page of Chromium, from an origin that is allowed and from
// one that is not, against a real server.
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { Chromium } from "./lib/chromium.mjs";
import { dist } from "./lib/client.mjs";
import { until } from "./lib/fake.mjs";
import { act, addUser, client, killEdge, ready, skip, sql, token, url } from "./lib/server.mjs";

const program = process.env.PENNY_CHROMIUM;

describe("chromium", { skip: skip || (program ? false : "chromium is not installed") }, () => {
	let browser, pages, origin, stranger, ada, bot, talk, page;

	before(async () => {
		pages = createServer((request, response) => {
			const script = request.url === "/penny.min.js";
			response.writeHead(200, { "content-type": script ? "text/javascript" : "text/html" });
			response.end(script ? readFileSync(`${dist}/penny.min.js`) : '<!doctype html><title>penny</title><link rel="icon" href="data:,"><script type="module">import * as penny from "/penny.min.js"; Object.assign(window, penny);</script>');
		}).listen(0, "127.0.0.1");
		await once(pages, "listening");
		origin = `http://127.0.0.1:${pages.address().port}`;
		stranger = `http://localhost:${pages.address().port}`;
		await sql(`ALTER SYSTEM SET penny.allowed_origins = '${origin}'`);
		await sql("SELECT pg_reload_conf()");
		await until(async () => (await fetch(`${url}/readyz`, { headers: { origin } })).headers.get("access-control-allow-origin") === origin, 10_000, "the origin is allowed");
		[ada, bot] = await Promise.all(["Ada", "Bot"].map(addUser));
		talk = (await client(ada).createConversation({ title: "In a page" })).id;
		await act(ada, "penny_user", `SELECT penny.add_participant('${talk}', '${bot}')`);
		browser = await Chromium.start(program);
		page = await browser.open(origin);
		await page((url, token, talk) => {
			window.states = [];
			window.strays = [];
			addEventListener("unhandledrejection", ({ reason }) => strays.push(String(reason)));
			window.penny = new Penny({ url, token, maxPause: 200, onState: (state) => states.push(state) });
			window.room = `conversation:${talk}`;
			window.events = [];
		}, url, token(ada), talk);
	});
	after(async () => {
		await browser?.stop();
		pages.close();
		pages.closeAllConnections();
		await sql("ALTER SYSTEM RESET penny.allowed_origins");
	});

	test("fetch, join, send", async () => {
		const found = await page(async (talk) => {
			const chat = await penny.conversation(talk);
			const sent = await penny.send(talk, "by HTTP");
			window.joined = penny.join(room, { since: chat.position });
			await joined.joined;
			(async () => {
				for await (const event of joined) events.push(event);
			})();
			const ack = await joined.send("by socket");
			while (events.length < 2) await new Promise((done) => setTimeout(done, 5));
			return { chat, sent, ack, events, state: penny.state };
		}, talk);
		assert.deepEqual(found.events.map(({ message }) => message.content), ["by HTTP", "by socket"]);
		assert.deepEqual(found.events.map(({ message }) => message.id), [found.sent.id, found.ack.id]);
		assert.equal(found.events[1].version, found.chat.position.version + 2);
		assert.equal(found.state, "open");
	});

	test("errors are typed, also where a page may read only some headers", async () => {
		const found = await page(async () => {
			const say = ({ name, status, code, requestId }) => ({ name, status, code, requestId });
			return [await penny.conversation("00000000-0000-7000-8000-000000000000").catch(say), await penny.join("conversation:00000000-0000-7000-8000-000000000000").joined.catch(say)];
		});
		assert.deepEqual(found.map(({ name, status, code }) => [name, status, code]), [["PennyError", 404, "PY404"], ["PennyError", 404, "PY404"]]);
		assert.ok(found[0].requestId);
	});

	test("the edge is killed while others write: nothing is lost, nothing twice", async () => {
		for (let n = 0; n < 3; n++) {
			await act(ada, "penny_user", `SELECT count(penny.add_message('${talk}', 'user', 'round ${n} ' || m)) FROM generate_series(1, 5) m`);
			await until(killEdge);
			await act(ada, "penny_user", `SELECT count(penny.add_message('${talk}', 'user', 'dark ${n} ' || m)) FROM generate_series(1, 5) m`);
			await ready();
			await page((n) => joined.send(`sent ${n}`), n);
		}
		const to = Number(await sql(`SELECT version FROM chat.conversations WHERE id = '${talk}'`));
		const versions = await page(async (to) => {
			while (events.at(-1).version < to) await new Promise((done) => setTimeout(done, 5));
			return events.map(({ version }) => version);
		}, to);
		assert.deepEqual(versions, Array.from({ length: to - versions[0] + 1 }, (_, n) => versions[0] + n));
		const states = await page(() => states);
		assert.ok(states.filter((state) => state === "open").length >= 4, states.join(" "));
	});

	test("streams", async (t) => {
		if ((await sql("SELECT count(*) FROM pg_proc WHERE proname = 'stream_append'")) === "0") return t.skip("this server has no streams");
		const agent = client(() => token(bot, "penny_agent"));
		const { id } = await agent.send(talk, { role: "assistant", status: "streaming", content: "" });
		for (const [n, delta] of ["Grüße", ", ", "你好", " \u{1f600}"].entries()) await agent.chunk(talk, id, { delta, index: n + 1 });
		await agent.chunk(talk, id, { finish: "completed" });
		const text = await page(async (id) => {
			const find = () => events.some(({ event }) => event?.message?.id === id);
			while (!find()) await new Promise((done) => setTimeout(done, 5));
			return events.filter(({ type, message_id }) => type === "stream" && message_id === id).at(-1).text;
		}, id);
		assert.equal(text, "Grüße, 你好 \u{1f600}");
	});

	test("another origin gets nothing, and is told so", async () => {
		const other = await browser.open(stranger);
		const found = await other(async (url, token, room, talk) => {
			const penny = new Penny({ url, token });
			const say = ({ status, code }) => ({ status, code });
			return [await penny.createConversation().catch(say), await penny.join(room).joined.catch(say)];
		}, url, token(ada), `conversation:${talk}`, talk);
		assert.deepEqual(found, [{ status: 0, code: "network" }, { status: 403, code: "PY403" }]);
	});

	test("closed, nothing is left behind", async () => {
		const found = await page(async () => {
			penny.close();
			await new Promise((done) => setTimeout(done, 50));
			return { strays, state: penny.state };
		});
		assert.deepEqual(found, { strays: [], state: "closed" });
	});
});
