/**
 * A worker: claims jobs of a queue over HTTP, runs a function for each, keeps
 * their leases while it runs, and says what came of them.
 *
 *	const worker = work("mails", async (job) => send(job.payload), { url, token, concurrency: 10 });
 *	...
 *	await worker.stop();
 *
 * A module of its own: pages that only chat do not load it.
 *
 * One claim waits at the server at a time, for as many jobs as there is room
 * for; the server answers when there are some. A job is another's once its lease
 * has ended, or when the server says so (409): then its signal is aborted, and
 * what the function gives is dropped. Jobs may come more than once (a lease that
 * ended, a completion that got lost): the function has to bear that.
 *
 * What cannot be reached is tried again with pauses. A claim that is refused
 * (401, 403, 404, 400) ends the worker: `done` rejects.
 */
import { PennyError } from "./errors.js";
import { backoff, Http, type HttpOptions, sleep } from "./http.js";

export { PennyError } from "./errors.js";

/** A job as it is claimed. */
export interface Job<Payload = unknown> {
	id: string;
	kind: string;
	payload: Payload;
	/** 1 for the first. */
	attempt: number;
	token: string;
	[more: string]: unknown;
}

export interface WorkOptions extends HttpOptions {
	/** Jobs that run at a time, 1 when missing. */
	concurrency?: number;
	/** ms for which a job is this worker's without a sign of life, 60,000 when missing. */
	leaseMs?: number;
	/** Seconds that a claim waits at the server, 20 when missing. */
	wait?: number;
	/** How this worker is called in the server's views. */
	name?: string;
	/** Told of what went wrong and goes on: claims, leases that were lost, outcomes that could not be told. */
	onError?: (error: unknown, job?: Job) => void;
}

/** What the function may throw to say more than that it failed. */
export interface Failure {
	/** Not before so many ms. */
	retryInMs?: number;
	/** Never again. */
	permanent?: boolean;
}

/** Gives the result, or throws; `signal` is aborted when the job is not this worker's any more. */
export type Handler<Payload = any, Result = unknown> = (job: Job<Payload>, signal: AbortSignal) => Result | Promise<Result>;

export interface Worker {
	/** Jobs that run now. */
	readonly running: number;
	/** Settles when it has ended: by stop(), or with the error that ended it. */
	readonly done: Promise<void>;
	/** Claim no more; what runs is finished, but for what takes longer than `graceMs`: that is aborted and given back. */
	stop(graceMs?: number): Promise<void>;
}

const SPARE = 10_000; /* ms that an answer may take beyond the wait */

class Claimer implements Worker {
	readonly done: Promise<void>;
	private readonly http: Http;
	private readonly jobs = new Map<Job, AbortController>();
	private readonly stopping = new AbortController();
	private free = (): void => undefined; /* wakes who waits for jobs to end */

	constructor(
		private readonly queue: string,
		private readonly handler: Handler,
		private readonly options: WorkOptions,
	) {
		this.http = new Http(options);
		this.done = this.claim();
		this.done.catch(() => undefined); /* who wants to know asks */
	}

	get running(): number {
		return this.jobs.size;
	}

	async stop(graceMs = Infinity): Promise<void> {
		this.stopping.abort();
		const timer = graceMs < Infinity ? setTimeout(() => void this.giveBack(), graceMs) : undefined;
		await this.done.finally(() => clearTimeout(timer));
	}

	private get lease(): number {
		return this.options.leaseMs ?? 60_000;
	}

	private tell(error: unknown, job?: Job): void {
		this.options.onError?.(error, job);
	}

	/** A request about jobs, sent again while it does not get through. */
	private async say(verb: string, body: Record<string, unknown>): Promise<void> {
		await this.http.call("POST", `/api/v1/jobs/${verb}`, body, { again: true });
	}

	// ---- claiming ----------------------------------------------------------------

	private async claim(): Promise<void> {
		const { stopping } = this;
		for (let failures = 0; !stopping.signal.aborted; ) {
			const n = (this.options.concurrency ?? 1) - this.jobs.size;
			if (n <= 0) {
				await new Promise<void>((done) => (this.free = done));
				continue;
			}
			try {
				for (const job of await this.ask(n)) void this.run(job);
				failures = 0;
			} catch (cause) {
				if (stopping.signal.aborted) break;
				this.tell(cause);
				if (cause instanceof PennyError && !cause.retryable && cause.status < 500) {
					await this.idle();
					throw cause;
				}
				await sleep(Math.max(backoff(failures++), ((cause as PennyError).retryAfter ?? 0) * 1000), stopping.signal);
			}
		}
		await this.idle();
	}

	/** Jobs, as soon as there are some; none after the wait. */
	private async ask(n: number): Promise<Job[]> {
		const { wait = 20, name } = this.options;
		const limit = new AbortController();
		const end = () => limit.abort();
		const timer = setTimeout(end, wait * 1000 + SPARE);
		this.stopping.signal.addEventListener("abort", end);
		try {
			const path = `/api/v1/queues/${encodeURIComponent(this.queue)}/claim?wait=${wait}`;
			const answer = await this.http.call("POST", path, { n, lease_ms: this.lease, ...(name !== undefined && { worker: name }) }, { signal: limit.signal });
			return ((await answer.json()) as { data: Job[] }).data;
		} finally {
			clearTimeout(timer);
			this.stopping.signal.removeEventListener("abort", end);
		}
	}

	/** Until nothing runs. */
	private async idle(): Promise<void> {
		while (this.jobs.size > 0) await new Promise<void>((done) => (this.free = done));
	}

	// ---- jobs --------------------------------------------------------------------

	private async run(job: Job): Promise<void> {
		const control = new AbortController();
		const { id, token } = job;
		this.jobs.set(job, control);
		const timer = setInterval(() => void this.extend(job, control), this.lease / 3);
		control.signal.addEventListener("abort", () => clearInterval(timer));
		let verb = "complete";
		let outcome: Record<string, unknown>;
		try {
			outcome = { result: (await this.handler(job, control.signal)) ?? null };
		} catch (cause) {
			const { retryInMs, permanent } = (cause ?? {}) as Failure;
			verb = "fail";
			outcome = {
				error: cause instanceof Error ? cause.message || cause.name : String(cause),
				...(retryInMs !== undefined && { retry_in_ms: retryInMs }),
				...(permanent !== undefined && { permanent }),
			};
		}
		clearInterval(timer);
		try {
			if (!control.signal.aborted) await this.say(verb, { jobs: [{ id, token, ...outcome }] });
		} catch (cause) {
			this.tell(cause, job);
		}
		this.jobs.delete(job);
		this.free();
	}

	/** A sign of life. */
	private async extend(job: Job, control: AbortController): Promise<void> {
		const { id, token } = job;
		try {
			await this.http.call("POST", "/api/v1/jobs/extend", { jobs: [{ id, token }], lease_ms: this.lease });
		} catch (cause) {
			if (!this.jobs.has(job)) return; /* it was completed meanwhile */
			this.tell(cause, job);
			if ((cause as PennyError).status === 409) control.abort(cause);
		}
	}

	private async giveBack(): Promise<void> {
		const jobs = [...this.jobs].filter(([, control]) => !control.signal.aborted);
		for (const [, control] of jobs) control.abort(new PennyError(503, "PY503", "the worker stops"));
		await this.say("release", { jobs: jobs.map(([{ id, token }]) => ({ id, token })) }).catch((cause) => this.tell(cause));
		this.jobs.clear(); /* however long their functions go on */
		this.free();
	}
}

/** Work on a queue until it is stopped. */
export function work<Payload = any>(queue: string, handler: Handler<Payload>, options: WorkOptions): Worker {
	return new Claimer(queue, handler, options);
}
