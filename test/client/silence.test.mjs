// Time: silence and idleness, with a clock of the test. In a file of its own, since
// the clock is everybody's.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Penny, WebSocket } from "./lib/client.mjs";
import { Fake } from "./lib/fake.mjs";

test("a silent server is asked, and given up; a socket without use is closed", async (t) => {
	t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1e12 });
	const spin = async (done) => {
		for (let n = 0; n < 2000 && !done(); n++) await new Promise(setImmediate);
		assert.ok(done(), done.toString());
	};
	const fake = await Fake.start();
	const penny = new Penny({ url: fake.url, token: "t", WebSocket, maxPause: 20 });
	t.after(() => (penny.close(), fake.stop()));
	fake.onFrame = (frame) => frame.type === "ping";
	const room = penny.join("conversation:1");
	await spin(() => room.wasIn);
	t.mock.timers.tick(41_000);
	await spin(() => fake.got("ping").length === 1);
	t.mock.timers.tick(9_000);
	assert.equal(penny.state, "open");
	t.mock.timers.tick(2_000);
	assert.equal(penny.state, "waiting");
	t.mock.timers.tick(50);
	await spin(() => fake.sockets.length === 2 && penny.state === "open" && room.phase === "in");
	room.leave();
	t.mock.timers.tick(41_000);
	t.mock.timers.tick(41_000);
	assert.equal(penny.state, "idle");
});
