// Workers against a real server: test/t/200_waiting.pl has a queue "js" of tasks
// there, which it counts afterwards.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { worker } from "./lib/client.mjs";
import { until } from "./lib/fake.mjs";
import { Proxy } from "./lib/proxy.mjs";
import { addUser, port, skip, sql, token } from "./lib/server.mjs";

const count = async (state) => Number(await sql(`SELECT count(*) FROM app.tasks WHERE queue = 'js' AND state = '${state}'`));

const held = async () => Number(await sql("SELECT sum((g -> 'edge' ->> 'held')::int) FROM jsonb_array_elements(penny.stats() -> 'gateways') g"));

describe("a real server", { skip }, () => {
	test("three workers share what comes, while their connections are cut", async (t) => {
		const ada = await addUser("Ada");
		const proxy = await Proxy.start(t, port);
		const ran = new Map();
		const errors = [];
		const workers = [1, 2, 3].map((n) => worker.work("js", async (job) => {
			ran.set(job.id, (ran.get(job.id) ?? 0) + 1);
			await new Promise((done) => setTimeout(done, 5));
			return { by: n };
		}, { url: proxy.url, token: token(ada), concurrency: 4, onError: (error) => errors.push(error) }));
		await sql("SELECT app.add_tasks('js', 40)");
		await until(async () => (await count("completed")) === 40, 30_000);
		assert.deepEqual([...ran.values()].filter((times) => times !== 1), [], "each once");
		assert.deepEqual(errors, []);

		/* those that wait are cut; those that come back get what comes then */
		for (let round = 0; round < 5; round++) {
			await until(async () => (await held()) === 3);
			proxy.cut();
			await sql("SELECT app.add_tasks('js', 4)");
		}
		await until(async () => (await count("completed")) === 60, 30_000);
		await Promise.all(workers.map((one) => one.stop()));
		assert.ok(errors.every((error) => error.status === 0), String(errors));
		assert.equal(await count("running"), 0);
	});
});
