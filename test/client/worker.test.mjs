// The worker against a queue that misbehaves on command.
import assert from "node:assert/strict";
import { after, afterEach, beforeEach, test } from "node:test";
import { worker } from "./lib/client.mjs";
import { Fake, until } from "./lib/fake.mjs";

const { PennyError, work } = worker;
const strays = [];
process.on("unhandledRejection", (reason) => strays.push(reason));
after(() => assert.deepEqual(strays, [], "no rejection is left unhandled"));

let fake;
let queue; /* jobs to be claimed */
let waiting; /* claims that wait */
let fault; /* (verb, body) => status or undefined */
const workers = [];

const json = (response, status, body) => response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
const said = (verb) => fake.requests.filter(({ url }) => url === `/api/v1/jobs/${verb}`).map(({ body }) => JSON.parse(body));
const claims = () => fake.requests.filter(({ url }) => url.includes("/claim"));
const add = (...jobs) => {
	queue.push(...jobs.map((payload, i) => ({ id: `${queue.made + i}`, kind: "k", payload, attempt: 1, token: `t${queue.made + i}` })));
	queue.made += jobs.length;
	waiting.splice(0).forEach((again) => again());
};
const start = (handler, more = {}) => {
	const worker = work("a queue", handler, { url: fake.url, token: "t", name: "w", onError: (error, job) => worker.errors.push([error, job?.id]), ...more });
	worker.errors = [];
	workers.push(worker);
	return worker;
};

beforeEach(async () => {
	fake = await Fake.start();
	queue = Object.assign([], { made: 1 });
	waiting = [];
	fault = () => undefined;
	fake.onRequest = function answer(request, response, body) {
		const [, verb] = /\/(claim|complete|fail|extend|release)(?:\?|$)/.exec(request.url) ?? [];
		const status = fault(verb, JSON.parse(body));
		if (status === 0) return response.destroy();
		if (status) return json(response, status, { title: "no", code: `PY${status}` });
		if (verb !== "claim") return json(response, 200, {});
		if (queue.length === 0) return waiting.push(() => !response.destroyed && answer(request, response, body));
		json(response, 200, { data: queue.splice(0, JSON.parse(body).n) });
	};
});
afterEach(async () => {
	await Promise.allSettled(workers.splice(0).map((worker) => worker.stop(0)));
	await fake.stop();
});

test("claims, runs, and tells the result", async () => {
	const worker = start(async (job) => ({ twice: job.payload * 2 }), { leaseMs: 5000, wait: 7 });
	await until(() => waiting.length === 1);
	assert.equal(claims()[0].url, "/api/v1/queues/a%20queue/claim?wait=7");
	assert.equal(claims()[0].headers.authorization, "Bearer t");
	assert.deepEqual(JSON.parse(claims()[0].body), { n: 1, lease_ms: 5000, worker: "w" });
	add(4);
	await until(() => said("complete").length === 1);
	assert.deepEqual(said("complete")[0], { jobs: [{ id: "1", token: "t1", result: { twice: 8 } }] });
	await until(() => waiting.length === 1);
	await worker.stop();
	assert.equal(worker.running, 0);
	assert.deepEqual(worker.errors, []);
});

test("as many at a time as it may, and asks for no more than there is room for", async () => {
	const ends = [];
	const worker = start(() => new Promise((done) => ends.push(done)), { concurrency: 3 });
	add(1, 2);
	await until(() => ends.length === 2 && waiting.length === 1);
	assert.equal(JSON.parse(claims().at(-1).body).n, 1);
	add(3, 4, 5);
	await until(() => ends.length === 3);
	await new Promise((done) => setTimeout(done, 30));
	assert.deepEqual([worker.running, queue.length, waiting.length], [3, 2, 0], "no room, no claim");
	ends[0]("one");
	await until(() => ends.length === 4);
	ends.slice(1).forEach((end) => end());
	await until(() => ends.length === 5);
	ends[4]();
	await until(() => said("complete").length === 5);
	assert.equal(said("complete").filter(({ jobs }) => jobs[0].result === null).length, 4, "nothing is null");
});

test("tells why a job failed, and whether and when to try again", async () => {
	/* errors do not travel as JSON: they are told by name */
	const errors = { plain: new Error("plain"), never: Object.assign(new Error("never"), { permanent: true }), later: Object.assign(new TypeError(""), { retryInMs: 50 }), text: "text" };
	start((job) => {
		throw errors[job.payload];
	}, { concurrency: 4 });
	add("plain", "never", "later", "text");
	await until(() => said("fail").length === 4);
	const told = Object.fromEntries(said("fail").map(({ jobs: [{ id, token, ...rest }] }) => [rest.error, rest]));
	assert.deepEqual(told, { plain: { error: "plain" }, never: { error: "never", permanent: true }, TypeError: { error: "TypeError", retry_in_ms: 50 }, text: { error: "text" } });
});

test("extends while a job runs", async () => {
	let end;
	start(() => new Promise((done) => (end = done)), { leaseMs: 60 });
	add(1);
	await until(() => said("extend").length >= 3);
	assert.deepEqual(said("extend")[0], { jobs: [{ id: "1", token: "t1" }], lease_ms: 60 });
	end();
	await until(() => said("complete").length === 1 && waiting.length === 1);
	const count = said("extend").length;
	await new Promise((done) => setTimeout(done, 80));
	assert.equal(said("extend").length, count, "and no longer");
});

test("a job that is another's is aborted, and what comes of it is dropped", async () => {
	fault = (verb) => (verb === "extend" ? 409 : undefined);
	let reason;
	const worker = start((job, signal) => new Promise((done) => signal.addEventListener("abort", () => ((reason = signal.reason), done("late")))), { leaseMs: 30 });
	add(1);
	await until(() => reason && waiting.length === 1);
	assert.equal(reason.status, 409);
	assert.deepEqual([said("complete").length, said("fail").length], [0, 0]);
	assert.deepEqual(worker.errors.map(([error, id]) => [error.status, id]), [[409, "1"]]);
});

test("goes on when the server is away, and tells outcomes until they are heard", async () => {
	let left = 3;
	fault = (verb) => (left > 0 ? [0, 503, 502][--left] : undefined);
	const worker = start(() => "done");
	add(1);
	await until(() => left === 0 && said("complete").length >= 1, 20_000);
	assert.equal(worker.errors.length, 3, "claims that failed");
	left = 2;
	fault = (verb) => (verb === "complete" && left > 0 ? [503, 0][--left] : undefined);
	add(2);
	await until(() => said("complete").filter(({ jobs }) => jobs[0].id === "2").length === 3, 20_000);
	fault = (verb) => (verb === "complete" ? 409 : undefined);
	add(3);
	await until(() => worker.errors.length === 4);
	assert.deepEqual([worker.errors[3][0].status, worker.errors[3][1]], [409, "3"], "its lease was over");
	await until(() => waiting.length === 1);
});

test("ends when its claims are refused", async () => {
	fault = (verb) => (verb === "claim" ? 403 : undefined);
	const worker = start(() => undefined);
	await assert.rejects(worker.done, (error) => error instanceof PennyError && error.status === 403);
	assert.equal(claims().length, 1);
});

test("stops: what waits at once, what runs when it is done, or is given back", async () => {
	const idle = start(() => undefined);
	await until(() => waiting.length === 1);
	const began = Date.now();
	await idle.stop();
	assert.ok(Date.now() - began < 1000);
	waiting.length = 0;

	let end;
	const busy = start(() => new Promise((done) => (end = done)));
	add(1);
	await until(() => end);
	const stopped = busy.stop();
	await new Promise((done) => setTimeout(done, 20));
	assert.equal(busy.running, 1);
	end("whole");
	await stopped;
	assert.equal(said("complete").at(-1).jobs[0].result, "whole");

	let aborted = false;
	const stuck = start((job, signal) => new Promise(() => signal.addEventListener("abort", () => (aborted = true))));
	add(2);
	await until(() => stuck.running === 1);
	await stuck.stop(20);
	assert.ok(aborted);
	assert.deepEqual(said("release"), [{ jobs: [{ id: "2", token: "t2" }] }]);
	assert.equal(said("complete").length, 1);
});
