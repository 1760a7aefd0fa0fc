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

server.on('connection', (socket) => {
	socket.on('error', () => {});
	socket.on('message', (data) => {
		const said = JSON.parse(data);
		const id = randomUUID();
		const at = new Date().toISOString();

		version += 1;
		// as many bytes as penny's frame of such a message, member by member
		const frame = Buffer.from(JSON.stringify({
			type: 'message', room: said.room, version,
			message: {
				id, seq: version, role: 'user', content: said.content, status: 'complete',
				user: { id: '00000000-0000-4000-8000-000000000001', name: 'Somebody called 1' },
				parent_id: null, client_id: null, model: null, input_tokens: null, output_tokens: null,
				created_at: at, updated_at: at, version, metadata: {}, tool_executions: [],
			},
		}));

		socket.send(JSON.stringify({ type: 'ack', ref: said.ref, id, seq: version, version, created: true }));
		for (const other of server.clients)
			if (other.readyState === 1)
				other.send(frame, { binary: false });
	});
});
server.on('listening', () => console.log('ready'));
