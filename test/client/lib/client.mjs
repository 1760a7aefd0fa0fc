// The client as it is built, and the WebSocket of npm's ws, out of the directory
// PENNY_CLIENT: src/client, or what a check copied of it.
import { createRequire } from "node:module";

const home = process.env.PENNY_CLIENT ?? new URL("../../../src/client", import.meta.url).pathname;
const ws = createRequire(`${home}/package.json`)("ws");

export const dist = `${home}/dist`;
export const { Penny, PennyError } = await import(`${dist}/penny.min.js`);
/* a module with errors of its own */
export const worker = await import(`${dist}/worker.js`);
export const { WebSocket, WebSocketServer } = ws;
