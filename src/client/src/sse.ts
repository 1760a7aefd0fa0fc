/** Server-Sent Events of an answer, as the HTML standard parses them. */
export interface ServerSentEvent {
	id: string;
	event: string;
	data: string;
}

export async function* events(answer: Response): AsyncGenerator<ServerSentEvent> {
	const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
	let text = "";
	let one: ServerSentEvent = { id: "", event: "message", data: "" };
	try {
		for (;;) {
			const { done, value } = await reader.read();
			if (done) return;
			text += value;
			for (let end = text.search(/\r\n|\n|\r(?=.)/s); end >= 0; end = text.search(/\r\n|\n|\r(?=.)/s)) {
				const line = text.slice(0, end);
				text = text.slice(end + (text.startsWith("\r\n", end) ? 2 : 1));
				if (line === "") {
					if (one.data !== "") yield { ...one, data: one.data.slice(0, -1) };
					one = { id: one.id, event: "message", data: "" };
					continue;
				}
				const [, name, content = ""] = /^([^:]*):? ?(.*)$/s.exec(line)!;
				if (name === "data") one.data += `${content}\n`;
				else if (name === "event") one.event = content;
				else if (name === "id") one.id = content;
			}
		}
	} finally {
		await reader.cancel().catch(() => undefined);
	}
}
