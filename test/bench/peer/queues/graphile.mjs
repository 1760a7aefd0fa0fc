// graphile-worker as a peer of penny's queue.
//
//	node graphile.mjs fill    <options>	jobs into the queue, by its bulk call
//	node graphile.mjs work    <options>	run what is there, once told to
//	node graphile.mjs latency <options>	one job at a time: from the answer to its commit to its start
//
// Options are one argument, JSON: host, port, user, database; jobs; kind, "noop" or "insert";
// batching, whether the settings for throughput are used that its documentation gives, or its
// defaults.  "insert" is what exactly one row for each job takes in a queue whose completions are
// not part of the handler's transaction: a unique number, and nothing when it is there.
// `work` says "ready", waits for a line, and prints from when to when it worked (ms since 1970).
import readline from 'node:readline';
import pg from 'pg';
import { Logger, run, runMigrations, runOnce } from 'graphile-worker';

const [mode, text] = process.argv.slice(2);
const options = JSON.parse(text);
const address = { host: options.host, port: options.port, user: options.user, database: options.database };
const settings = options.batching
	? { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } : {};
const concurrency = 24;
const insert = {
	name: 'insert',
	text: 'INSERT INTO public.bench_ledger (number) VALUES ($1) ON CONFLICT DO NOTHING',
};
const tasks = {
	noop: async () => {},
	insert: (payload, helpers) =>
		helpers.withPgClient((client) => client.query({ ...insert, values: [payload.n] })),
};
const worker = (pool, more) => ({
	pgPool: pool,
	noHandleSignals: true,
	logger: new Logger(() => () => {}),
	preset: { worker: { concurrentJobs: concurrency, ...settings } },
	taskList: tasks,
	...more,
});

function pool() {
	const it = new pg.Pool({ ...address, max: concurrency + 1 });

	it.on('error', () => {});
	it.on('connect', (client) => client.on('error', () => {}));
	return it;
}

async function fill() {
	const client = new pg.Client(address);
	const all = pool();

	await runMigrations(worker(all));
	await all.end();
	await client.connect();
	await client.query('TRUNCATE graphile_worker._private_jobs');
	const begin = performance.now();
	for (let done = 0; done < options.jobs; done += 10000)
		await client.query(
			`SELECT 1 FROM graphile_worker.add_jobs(ARRAY(
				SELECT json_populate_record(null::graphile_worker.job_spec,
					json_build_object('identifier', $1::text, 'payload', json_build_object('n', $2::int + i)))
				FROM generate_series(1, $3::int) i))`,
			[options.kind, done, Math.min(10000, options.jobs - done)]);
	const seconds = (performance.now() - begin) / 1000;
	await client.query('VACUUM ANALYZE graphile_worker._private_jobs');
	await client.end();
	console.log(JSON.stringify({ jobs: options.jobs, seconds }));
}

async function work() {
	const all = pool();
	const lines = readline.createInterface({ input: process.stdin });

	// connections are there, as penny's workers are
	await Promise.all(Array.from({ length: concurrency + 1 }, () => all.query('SELECT pg_sleep(0.05)')));
	console.log('ready');
	await new Promise((resolve) => lines.once('line', resolve));
	lines.close();
	const begin = Date.now();
	await runOnce(worker(all));
	console.log(JSON.stringify({ begin, end: Date.now() }));
	await all.end();
}

async function latency() {
	const all = pool();
	const client = new pg.Client(address);
	let started;
	const runner = await run(worker(all, { taskList: { noop: async () => started(performance.now()) } }));
	const behind = [];

	await client.connect();
	for (let i = -20; i < options.jobs; i++) {
		const start = new Promise((resolve) => { started = resolve; });

		await client.query({ name: 'add', text: "SELECT graphile_worker.add_job('noop')" });
		const committed = performance.now();
		const at = await start;
		if (i >= 0)
			behind.push(Math.max(0, at - committed));
		await new Promise((resolve) => setTimeout(resolve, 20 + Math.random() * 10));
	}
	await client.end();
	await runner.stop();
	await all.end();
	behind.sort((a, b) => a - b);
	console.log(JSON.stringify({
		p50_us: behind[Math.floor(behind.length * 0.5)] * 1000,
		p99_us: behind[Math.floor(behind.length * 0.99)] * 1000,
	}));
}

await { fill, work, latency }[mode]();
