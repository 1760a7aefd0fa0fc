/**
 * Errors. What the server refuses, and what does not reach it, is a PennyError;
 * `retryable` says whether the same call may succeed later. What the caller
 * ends by an AbortSignal rejects with that signal's reason, as fetch does.
 */
export class PennyError extends Error {
	override name = "PennyError";

	constructor(
		/** Status as of HTTP; 0 when no answer came. */
		readonly status: number,
		/** SQLSTATE, "PYnnn" for penny's own; "network" when no answer came. */
		readonly code: string,
		title: string,
		readonly detail?: string,
		readonly hint?: string,
		readonly requestId?: string,
		/** Seconds that the server asks to wait. */
		readonly retryAfter?: number,
	) {
		super(detail ? `${title}: ${detail}` : title);
	}

	get retryable(): boolean {
		return [0, 429, 502, 503, 504].includes(this.status);
	}
}

export const network = (title: string, detail?: string) => new PennyError(0, "network", title, detail);

/** Status of a code, for frames, which have none: class of SQLSTATE by class. */
function statusOf(code: string): number {
	const own = /^PY(\d{3})$/.exec(code);
	if (own) return Number(own[1]);
	if (code === "57014") return 504;
	if (code === "42501") return 403;
	const status = { "22": 400, P0: 400, "23": 409, "28": 403, "40": 503, "53": 503, "57": 503 }[code.slice(0, 2)];
	return status ?? 500;
}

/** Of a room that one was put out of. */
export const closed = (reason: unknown) => problem(0, { code: reason === "deleted" ? "PY404" : "PY403", title: `the room is closed to you: ${reason}` });

/** From a problem document of HTTP, or an error frame (status 0: as its code says). */
export function problem(status: number, body: unknown, retryAfter?: number): PennyError {
	const doc = (body ?? {}) as Record<string, string | undefined>;
	const code = doc.code ?? `PY${status || 500}`;
	return new PennyError(status || statusOf(code), code, doc.title ?? "request failed", doc.detail, doc.hint, doc.request_id, retryAfter);
}
