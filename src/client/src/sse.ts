/** Server-Sent Events of an answer: the data of each, as the HTML standard parses them. */
export async function* events(answer: Response): AsyncGenerator<string> {
	const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
	let text = "";
	let data: string[] = [];
	try {
		for (;;) {
			const { done, value } = await reader.read();
			if (done) return;
			/* a CR at the end may be half of a line end */
			const lines = (text + value).split(/\r\n|\n|\r(?!$)/);
			text = lines.pop()!;
			for (const line of lines) {
				if (line === "") {
					if (data.length > 0) yield data.join("\n");
					data = [];
				} else if (/^data(:|$)/.test(line)) data.push(line.slice(5).replace(/^ /, ""));
			}
		}
	} finally {
		await reader.cancel().catch(() => undefined);
	}
}
