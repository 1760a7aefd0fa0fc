// The base of figure 32: a server that sends what a client says to every client,
// by `ws`, the WebSocket server of most Node applications, with its defaults
// (no compression).  It reads the JSON, makes a frame like penny's, encodes it
// once, acknowledges, and hands the same buffer to every socket.
//
//	node broadcast.mjs <port> <directory with node_modules>
import { createRequire } from 'node:module';
import { randomUUID } from 'node:crypto';

const require = createRequire(process.argv[3] + '/');
const { WebSocketServer } = require('ws');
const server = new WebSocketServer({ host: '127.0.0.1', port: Number(process.argv[2]) });
let version = 0;
let last = null;

server.on('connection', (socket) => {
	socket.on('error', () => {});
	socket.on('message', (data) => {
		const said = JSON.parse(data);
		const id = randomUUID();
		const at = new Date().toISOString();

		version += 1;
		// what penny's frame of such a message has in it
		const frame = Buffer.from(JSON.stringify({
			type: 'message', room: said.room, version,
			message: {
				id, seq: version, version, parent_id: last, role: 'user', status: 'completed',
				content: said.content, created_at: at,
				user: { id: '00000000-0000-4000-8000-000000000001', name: 'Somebody called 1', avatar_url: null },
				tool_executions: [],
			},
		}));

		last = id;
		socket.send(JSON.stringify({ type: 'ack', ref: said.ref, id, seq: version, version, created: true }));
		for (const other of server.clients)
			if (other.readyState === 1)
				other.send(frame, { binary: false });
	});
});
server.on('listening', () => console.log('ready'));
