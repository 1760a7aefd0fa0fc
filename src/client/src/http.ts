/**
 * Requests. A GET, and what carries a client_id, is tried again while the
 * server says that it is busy or cannot be reached: at most TRIES times, with
 * growing and random pauses, after the time that Retry-After says. Without an
 * answer for `timeout` ms a try is given up.
 */
import { network, type PennyError, problem } from "./errors.js";

/** A token, or how to get one; asked again with `expired` when the server refused the last. */
export type TokenSource = string | ((expired: boolean) => string | Promise<string>);

export interface HttpOptions {
	/** Where penny listens, such as "https://chat.example.com"; in a page of the same host location.origin. */
	url: string;
	token?: TokenSource;
	fetch?: typeof fetch;
	/** ms that a request may wait for its answer, 30,000 when missing. */
	timeout?: number;
}

interface Call {
	headers?: Record<string, string>;
	/** Ends it; given, `timeout` does not. */
	signal?: AbortSignal | undefined;
	/** May it be sent twice? */
	again?: boolean;
}

const TRIES = 6;
const LONGEST = 30_000; /* ms to wait between tries, whatever Retry-After says */

/** Pause in ms before try number n: all of it random, of a range that doubles up to `most`. */
export const backoff = (n: number, most = LONGEST) => Math.random() * Math.min(most, 250 * 2 ** n);

/** An AbortSignal ends the wait early. */
export const sleep = (ms: number, signal?: AbortSignal) =>
	new Promise<void>((done) => {
		const timer = setTimeout(done, ms);
		signal?.addEventListener("abort", () => (clearTimeout(timer), done()), { once: true });
	});

export class Http {
	readonly url: string;
	private readonly fetcher: typeof fetch;
	private renewal: Promise<string> | undefined;

	constructor(private readonly options: HttpOptions) {
		this.url = options.url.replace(/\/+$/, "");
		this.fetcher = options.fetch ?? ((...request) => fetch(...request));
	}

	/** The token to sign in with; undefined when there is none. Renewals at a time are one. */
	async token(expired = false): Promise<string | undefined> {
		const { token } = this.options;
		if (typeof token !== "function") return token;
		if (!expired) return token(false);
		this.renewal ??= (async () => token(true))().finally(() => (this.renewal = undefined));
		return this.renewal;
	}

	/** Can a refused token be replaced? */
	get renews(): boolean {
		return typeof this.options.token === "function";
	}

	/** Send once; the answer when it is a good one. */
	private async once(method: string, path: string, body: unknown, call: Call, expired: boolean): Promise<Response> {
		const token = await this.token(expired);
		const signal = call.signal ?? AbortSignal.timeout(this.options.timeout ?? 30_000);
		const text = body === undefined ? undefined : JSON.stringify(body);
		let answer: Response;
		try {
			answer = await this.fetcher(this.url + path, {
				method,
				headers: {
					...call.headers,
					...(token !== undefined && { authorization: `Bearer ${token}` }),
					...(text !== undefined && { "content-type": "application/json" }),
				},
				...(text !== undefined && { body: text }),
				signal,
			});
		} catch (cause) {
			if (call.signal?.aborted) throw cause;
			throw network("the server cannot be reached", String(cause));
		}
		if (answer.ok) return answer;
		const wait = Number(answer.headers.get("retry-after") ?? NaN);
		throw problem(answer.status, await answer.json().catch(() => undefined), wait >= 0 ? wait : undefined);
	}

	/** Send until there is a good answer, or there will be none. */
	async call(method: string, path: string, body?: unknown, call: Call = {}): Promise<Response> {
		const again = call.again ?? method === "GET";
		let renewed = false;
		for (let n = 0, expired = false; ; ) {
			try {
				return await this.once(method, path, body, call, expired);
			} catch (cause) {
				const { status, retryable, retryAfter } = cause as PennyError;
				expired = status === 401 && this.renews && !renewed;
				if (expired) {
					renewed = true;
					continue;
				}
				const pause = (retryAfter ?? 0) * 1000 + backoff(n);
				if (!again || !retryable || ++n >= TRIES || pause > LONGEST) throw cause;
				await sleep(pause, call.signal);
			}
		}
	}

	async json<T>(method: string, path: string, body?: unknown, again?: boolean): Promise<T> {
		const answer = await this.call(method, path, body, again === undefined ? {} : { again });
		try {
			return (answer.status === 204 ? undefined : await answer.json()) as T;
		} catch (cause) {
			throw network("the answer was cut off", String(cause));
		}
	}
}
