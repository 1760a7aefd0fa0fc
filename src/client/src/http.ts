/**
 * Requests. A GET, and what carries a client_id, is tried again while the
 * server says that it is busy or cannot be reached: at most four times, with
 * growing and jittered pauses, or as long as Retry-After says.
 */
import { PennyError, problem } from "./errors.js";

/** A token, or how to get one; asked again with `expired` when the server refused the last. */
export type TokenSource = string | ((expired: boolean) => string | Promise<string>);

export interface HttpOptions {
	url: string;
	token?: TokenSource;
	fetch?: typeof fetch;
}

const TRIES = 4;

/** Pause in ms before try number n: doubles up to `most`, half of it random. */
export function backoff(n: number, first = 250, most = 30_000): number {
	return Math.min(most, first * 2 ** n) * (0.5 + Math.random() / 2);
}

export const sleep = (ms: number) => new Promise<void>((done) => setTimeout(done, ms));

export class Http {
	readonly url: string;
	private readonly source: TokenSource | undefined;
	private readonly fetcher: typeof fetch;

	constructor(options: HttpOptions) {
		this.url = options.url.replace(/\/+$/, "");
		this.source = options.token;
		this.fetcher = options.fetch ?? globalThis.fetch.bind(globalThis);
	}

	/** The token to sign in with; undefined when there is none. */
	async token(expired = false): Promise<string | undefined> {
		return typeof this.source === "function" ? this.source(expired) : this.source;
	}

	/** Can a refused token be replaced? */
	get renews(): boolean {
		return typeof this.source === "function";
	}

	/** Send once; the answer whatever its status. */
	async send(method: string, path: string, body?: unknown, headers: Record<string, string> = {}, signal?: AbortSignal, expired = false): Promise<Response> {
		const token = await this.token(expired);
		if (token !== undefined) headers = { ...headers, authorization: `Bearer ${token}` };
		if (body !== undefined) headers = { ...headers, "content-type": "application/json" };
		try {
			return await this.fetcher(`${this.url}${path}`, { method, headers, body: body === undefined ? null : JSON.stringify(body), signal: signal ?? null });
		} catch (cause) {
			if (signal?.aborted) throw cause;
			throw new PennyError(0, "network", "the server cannot be reached", String(cause));
		}
	}

	/** The error that an answer stands for. */
	async refusal(answer: Response): Promise<PennyError> {
		const wait = Number(answer.headers.get("retry-after") ?? NaN);
		return problem(answer.status, await answer.json().catch(() => undefined), Number.isNaN(wait) ? undefined : wait);
	}

	/** Send until there is an answer that counts; `again`: may it be repeated? */
	async call(method: string, path: string, body?: unknown, again = method === "GET", headers?: Record<string, string>, signal?: AbortSignal): Promise<Response> {
		let expired = false;
		for (let n = 0; ; n++) {
			let error: PennyError;
			try {
				const answer = await this.send(method, path, body, headers, signal, expired);
				if (answer.ok) return answer;
				error = await this.refusal(answer);
			} catch (cause) {
				if (!(cause instanceof PennyError)) throw cause;
				error = cause;
			}
			if (error.status === 401 && this.renews && !expired) {
				expired = true;
				continue;
			}
			if (!again || !error.retryable || n + 1 >= TRIES) throw error;
			await sleep(error.retryAfter !== undefined ? error.retryAfter * 1000 : backoff(n));
		}
	}

	async json<T>(method: string, path: string, body?: unknown, again?: boolean): Promise<T> {
		const answer = await this.call(method, path, body, again);
		return (answer.status === 204 ? undefined : await answer.json()) as T;
	}
}
