// A TCP proxy that spoils connections: cut() resets all of them, stall() lets
// nothing through in either direction until they are cut, refuse(true) takes no
// new ones.
import { connect, createServer } from "node:net";
import { once } from "node:events";

export class Proxy {
	pairs = new Set();
	stalled = false;
	refusing = false;
	cuts = 0;

	/** Before this port, until the test t ends. */
	static async start(t, port, host = "127.0.0.1") {
		const proxy = new Proxy();
		t.after(() => proxy.stop());
		proxy.server = createServer((client) => {
			if (proxy.refusing) return client.resetAndDestroy();
			const server = connect(port, host);
			const pair = { client, server };
			proxy.pairs.add(pair);
			const forget = () => {
				proxy.pairs.delete(pair);
				client.destroy();
				server.destroy();
			};
			for (const [from, to] of [[client, server], [server, client]]) {
				from.setNoDelay(true);
				from.on("data", (data) => proxy.stalled || to.write(data));
				from.on("end", () => proxy.stalled || to.end());
				from.on("error", forget);
				from.on("close", forget);
			}
		});
		proxy.server.listen(0, "127.0.0.1");
		await once(proxy.server, "listening");
		proxy.url = `http://127.0.0.1:${proxy.server.address().port}`;
		return proxy;
	}

	cut() {
		for (const { client, server } of this.pairs) {
			this.cuts++;
			client.resetAndDestroy();
			server.resetAndDestroy();
		}
		this.stalled = false;
	}

	stall() {
		this.stalled = true;
	}

	stop() {
		this.cut();
		this.server.close();
	}
}
