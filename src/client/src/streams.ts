/**
 * Messages that grow, put together from their pieces. Pieces are numbered from
 * 1 in each message; a state frame brings the text up to piece `index`. A piece
 * that is known is dropped; one that does not follow is a hole, and the room is
 * to be asked again. So the text is exact, or it is not told.
 */
import type { Frame, Message, RoomEvent } from "./types.js";

export class Streams {
	private readonly open = new Map<string, { last: number; text: string }>();

	/** What there is to tell of a frame: nothing, an event, or "hole". */
	take(frame: Frame): RoomEvent | "hole" | undefined {
		const { room, message_id, index, text, delta } = frame as Frame & { message_id: string; index: number; text?: string; delta?: string };
		const known = this.open.get(message_id);
		const tell = (now: string, piece: string | null): RoomEvent | undefined => {
			this.open.set(message_id, { last: index, text: now });
			return known?.text === now ? undefined : { type: "stream", room, message_id, delta: piece, text: now };
		};
		if (text !== undefined) return tell(text, known && text.startsWith(known.text) ? text.slice(known.text.length) : null);
		const { last, text: before } = known ?? { last: 0, text: "" };
		if (delta === undefined || index <= last) return undefined;
		return index > last + 1 ? "hole" : tell(before + delta, delta);
	}

	/** A frame that may be the row of a message: "hole" when its text was replaced while it grows. */
	told({ version, message, event }: Frame): "hole" | undefined {
		/* without a version anybody may have published it */
		if (!version) return undefined;
		const { id = "", status, content } = (message ?? event?.message ?? event ?? {}) as Partial<Message>;
		const known = this.open.get(id);
		if (status !== "streaming") this.open.delete(id);
		else if (!known) this.open.set(id, { last: 0, text: content ?? "" });
		else if (content != null && !known.text.startsWith(content) && !content.startsWith(known.text)) return "hole";
		return undefined;
	}
}
