/**
 * Errors. Every rejection of this client is a PennyError; `retryable` says
 * whether the same call may succeed later.
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
		return this.status === 0 || this.status === 429 || this.status === 503;
	}
}

/** From a problem document of HTTP, or an error frame. */
export function problem(status: number, body: unknown, retryAfter?: number): PennyError {
	const doc = (body ?? {}) as Record<string, string | undefined>;
	return new PennyError(status, doc.code ?? `PY${status}`, doc.title ?? "request failed", doc.detail, doc.hint, doc.request_id, retryAfter);
}
