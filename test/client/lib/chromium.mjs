// Chromium without a window, over the DevTools protocol by a pair of pipes.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "./fake.mjs";

const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe", "--no-first-run", "--no-proxy-server", "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--disable-sync"];

export class Chromium {
	#number = 0;
	#waiting = new Map();
	#text = "";
	said = "";

	static async start(program) {
		const browser = new Chromium();
		browser.home = mkdtempSync(join(tmpdir(), "penny-chromium."));
		browser.process = spawn(program, [...FLAGS, `--user-data-dir=${browser.home}`, "about:blank"], { stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"], env: { ...process.env, HOME: browser.home } });
		browser.process.stderr.on("data", (data) => (browser.said = (browser.said + data).slice(-4000)));
		browser.process.stdio[4].setEncoding("utf8").on("data", (data) => browser.#take(data));
		browser.process.stdio[3].on("error", () => undefined);
		browser.process.once("exit", () => browser.#waiting.forEach(({ reject }) => reject(new Error(`chromium ended: ${browser.said}`))));
		return browser;
	}

	#take(data) {
		const parts = (this.#text + data).split("\0");
		this.#text = parts.pop();
		for (const { id, result, error } of parts.map((part) => JSON.parse(part))) {
			const waiting = this.#waiting.get(id);
			this.#waiting.delete(id);
			if (error) waiting?.reject(new Error(error.message));
			else waiting?.resolve(result);
		}
	}

	call(method, params = {}, sessionId) {
		const id = ++this.#number;
		this.process.stdio[3].write(`${JSON.stringify({ id, method, params, ...(sessionId && { sessionId }) })}\0`);
		return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
	}

	/** A page, in which functions run: page(fn, ...args) gives what they resolve to. */
	async open(url) {
		const { targetId } = await this.call("Target.createTarget", { url });
		const { sessionId } = await this.call("Target.attachToTarget", { targetId, flatten: true });
		const run = async (fn, ...args) => {
			const expression = `(${fn})(...${JSON.stringify(args)})`;
			const { result, exceptionDetails } = await this.call("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true }, sessionId);
			if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
			return result.value;
		};
		/* the address is the new one before its modules have run */
		await until(() => run(() => location.href !== "about:blank" && document.readyState === "complete").catch(() => false), 30_000, `a page of ${url}`);
		return run;
	}

	async stop() {
		if (this.process.exitCode === null) {
			this.process.kill("SIGTERM");
			const timer = setTimeout(() => this.process.kill("SIGKILL"), 5000);
			await once(this.process, "exit");
			clearTimeout(timer);
		}
		rmSync(this.home, { recursive: true, force: true, maxRetries: 10 });
	}
}
