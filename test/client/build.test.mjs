// The built artefact: its size, what it exports, that it needs nothing.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { dist } from "./lib/client.mjs";

const text = readFileSync(`${dist}/penny.min.js`, "utf8");

test("at most 6 kB gzipped", (t) => {
	const size = gzipSync(text, { level: 9 }).length;
	t.diagnostic(`${size} bytes`);
	assert.ok(size <= 6000, `${size} bytes`);
});

test("the bundle and the modules export the same, and need nothing", async () => {
	for (const file of ["penny.min.js", "index.js"]) {
		assert.deepEqual(Object.keys(await import(`${dist}/${file}`)).sort(), ["Penny", "PennyError"], file);
	}
	assert.doesNotMatch(text, /\bimport\b|\brequire\(|node:/);
});

test("types are there for everything that is exported", () => {
	const types = readFileSync(`${dist}/index.d.ts`, "utf8");
	for (const name of ["class Penny", "PennyError", "PennyOptions", "Room", "SocketState", "TokenSource"]) assert.ok(types.includes(name), name);
	for (const name of ["RoomEvent", "Position", "JoinOptions", "Frame"]) assert.ok(readFileSync(`${dist}/types.d.ts`, "utf8").includes(name), name);
});
