// The real server that a TAP file started, by its environment: tokens, SQL,
// faults. Skipped as a whole where there is none.
import { createHmac } from "node:crypto";
import { execFile, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { promisify } from "node:util";
import { Penny, WebSocket } from "./client.mjs";
import { until } from "./fake.mjs";

const run = promisify(execFile);
const { PENNY_URL, PENNY_SECRET, PENNY_DATA, PGHOST, PGPORT, PGDATABASE } = process.env;

export const there = PENNY_URL !== undefined;
export const skip = there ? false : "no server: run test/t/160_client.pl";
export const url = PENNY_URL;
export const port = there ? Number(new URL(PENNY_URL).port) : 0;

const part = (value) => Buffer.from(value).toString("base64url");

export function token(user, role = "penny_user", seconds = 3600) {
	const text = `${part('{"alg":"HS256","typ":"JWT"}')}.${part(JSON.stringify({ sub: user, role, exp: Math.floor(Date.now() / 1000) + seconds }))}`;
	return `${text}.${createHmac("sha256", PENNY_SECRET).update(text).digest("base64url")}`;
}

export async function sql(text) {
	const { stdout } = await run("psql", ["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", text], { env: { ...process.env, PGHOST, PGPORT, PGDATABASE } });
	return stdout.trimEnd();
}

/** SQL as a user in a role, as an executor would run it; the last line of output. */
export async function act(user, role, text) {
	return (await sql(`BEGIN; SELECT penny.act_as('${user}', '${role}'); ${text}; COMMIT;`)).split("\n").at(-1);
}

/** Statements that run while the test goes on; wait for `.done`. */
export function writer(text) {
	const psql = spawn("psql", ["-XAtq", "-v", "ON_ERROR_STOP=0", "-f", "-"], { env: { ...process.env, PGHOST, PGPORT, PGDATABASE }, stdio: ["pipe", "ignore", "pipe"] });
	let said = "";
	psql.stderr.on("data", (data) => (said += data));
	psql.stdin.on("error", () => undefined);
	psql.stdin.end(text);
	return { done: new Promise((resolve) => psql.on("close", () => resolve(said))) };
}

export const addUser = (name) => sql(`INSERT INTO chat.users (id, name) VALUES (gen_random_uuid(), '${name}') RETURNING id`);

export const client = (user, more = {}) => new Penny({ url, token: typeof user === "string" ? token(user) : user, WebSocket, ...more });

/** What there is, in the order of versions. */
export async function stored(conversation) {
	const rows = await sql(`SELECT version, content FROM chat.messages WHERE conversation_id = '${conversation}' ORDER BY version`);
	return rows === "" ? [] : rows.split("\n").map((row) => row.split("|")[1]);
}

const parents = () =>
	readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((pid) => {
		try {
			const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
			return [{ pid: Number(pid), parent: Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]) }];
		} catch {
			return [];
		}
	});

export async function killEdge() {
	const gateways = (await sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'penny gateway'")).split("\n").map(Number);
	const edges = parents().filter(({ parent }) => gateways.includes(parent));
	for (const { pid } of edges) process.kill(pid, "SIGKILL");
	return edges.length;
}

export async function restart() {
	await run("pg_ctl", ["-D", PENNY_DATA, "-m", "immediate", "-w", "-t", "60", "-l", `${PENNY_DATA}/restart.log`, "restart"], { timeout: 90_000 });
	await ready();
}

export const ready = () => until(() => fetch(`${url}/readyz`).then((answer) => answer.ok, () => false), 60_000, "ready");
