// BullMQ on Redis as a peer of penny's queue; the commands of graphile.mjs.
//
// Options: socket, that of Redis; host, port, user, database of PostgreSQL, where "insert" writes
// its row; concurrency.  Jobs have the defaults that penny's have: 3 attempts, exponential from 2 s,
// the last 100 completed and 1000 failed kept.
import readline from 'node:readline';
import { Redis } from 'ioredis';
import pg from 'pg';
import { Queue, Worker } from 'bullmq';

const [mode, text] = process.argv.slice(2);
const options = JSON.parse(text);
const jobOptions = {
	attempts: 3,
	backoff: { type: 'exponential', delay: 2000 },
	removeOnComplete: 100,
	removeOnFail: 1000,
};
const redis = () => new Redis({ path: options.socket, maxRetriesPerRequest: null });
const percentile = (sorted, q) => sorted[Math.floor(sorted.length * q)];

async function fill() {
	const connection = redis();
	const queue = new Queue('bench', { connection, defaultJobOptions: jobOptions });
	let number = 0;

	await queue.obliterate({ force: true });
	const begin = performance.now();
	while (number < options.jobs) {
		const some = Array.from({ length: Math.min(1000, options.jobs - number) }, () =>
			({ name: options.kind, data: { n: ++number } }));

		await queue.addBulk(some);
	}
	console.log(JSON.stringify({ jobs: options.jobs, seconds: (performance.now() - begin) / 1000 }));
	await queue.close();
	connection.disconnect();
}

// Runs jobs until none is left: waiting, delayed, or running anywhere.
async function work() {
	const connection = redis();
	const pool = new pg.Pool({ host: options.host, port: options.port, user: options.user,
		database: options.database, max: 16 });
	const insert = {
		name: 'insert',
		text: 'INSERT INTO public.bench_ledger (number) VALUES ($1) ON CONFLICT DO NOTHING',
	};
	const handlers = {
		noop: async () => {},
		insert: async (job) => { await pool.query({ ...insert, values: [job.data.n] }); },
	};
	const worker = new Worker('bench', (job) => handlers[job.name](job), {
		connection, autorun: false, concurrency: options.concurrency ?? 100,
	});
	const queue = new Queue('bench', { connection: redis() });
	const lines = readline.createInterface({ input: process.stdin });
	let last = 0;

	worker.on('completed', () => { last = Date.now(); });
	worker.on('error', (error) => { console.error(error.message); });
	if (options.kind === 'insert')
		await Promise.all(Array.from({ length: 16 }, () => pool.query('SELECT pg_sleep(0.05)')));
	await worker.waitUntilReady();
	console.log('ready');
	await new Promise((resolve) => lines.once('line', resolve));
	lines.close();
	const begin = Date.now();
	const ended = worker.run();
	const drained = new Promise((resolve) => worker.on('drained', resolve));
	await drained;
	for (;;) {
		const { waiting, active } = await queue.getJobCounts('waiting', 'active');

		if (waiting + active === 0)
			break;
		await new Promise((resolve) => setTimeout(resolve, 2));
	}
	await worker.close();
	await ended;
	console.log(JSON.stringify({ begin, end: Math.max(last, begin) }));
	await queue.close();
	await pool.end();
	process.exit(0);
}

async function latency() {
	const queue = new Queue('bench', { connection: redis(), defaultJobOptions: jobOptions });
	let started;
	const worker = new Worker('bench', async () => { started(performance.now()); }, { connection: redis(), concurrency: 10 });
	const behind = [];

	await queue.obliterate({ force: true });
	await worker.waitUntilReady();
	for (let i = -20; i < options.jobs; i++) {
		const start = new Promise((resolve) => { started = resolve; });

		await queue.add('noop', {});
		const added = performance.now();
		const at = await start;
		if (i >= 0)
			behind.push(Math.max(0, at - added));
		await new Promise((resolve) => setTimeout(resolve, 20 + Math.random() * 10));
	}
	behind.sort((a, b) => a - b);
	console.log(JSON.stringify({ p50_us: percentile(behind, 0.5) * 1000, p99_us: percentile(behind, 0.99) * 1000 }));
	process.exit(0);
}

await { fill, work, latency }[mode]();
