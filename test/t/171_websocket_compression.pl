# permessage-deflate with a client that others wrote (python3-websockets), with
# a real server: off unless asked for, agreed upon, the same messages.
use strict;
use warnings;
use JSON::PP;
use Penny::Cluster;
use Test::More;

my $node = Penny::Cluster->serving('packed', conf => "penny.batch_window = 0\n");
my $ada = $node->add_user('Ada');
my $talk = $node->add_conversation($ada, messages => 1);
my $room = "conversation:$talk";
my $token = $node->token($ada);
my $offer = [ 'Sec-WebSocket-Extensions' => 'permessage-deflate; client_max_window_bits' ];

sub answer_to { return $node->websocket(token => $token, headers => $offer)->{handshake}{header}{'sec-websocket-extensions'} }

is(answer_to(), undef, 'off as it comes');
$node->sql('ALTER SYSTEM SET penny.websocket_compression = on');
$node->reload;
ok($node->wait_until(sub { answer_to() }, 10), 'on without a restart');

my $program = <<'PYTHON';
import asyncio, json, sys, websockets
from websockets.extensions import permessage_deflate
url, token, room = sys.argv[1:]
headers = {"Authorization": "Bearer " + token}
async def until(ws, kind, n=1):
    got = []
    while len(got) < n:
        frame = json.loads(await asyncio.wait_for(ws.recv(), 10))
        if frame["type"] == kind: got.append(frame)
    return got
async def main():
    offers = {"default": [permessage_deflate.ClientPerMessageDeflateFactory(client_max_window_bits=True)],
              "small": [permessage_deflate.ClientPerMessageDeflateFactory(server_max_window_bits=9)],
              "plain": []}
    heard = {}
    sockets = {name: await websockets.connect(url, subprotocols=["penny.v1"], extra_headers=headers,
                                              compression=None, extensions=offer)
               for name, offer in offers.items()}
    for ws in sockets.values():
        await ws.send(json.dumps({"type": "join", "room": room}))
        await until(ws, "joined")
    writer = sockets["default"]
    texts = ["short", "ä€😀 " * 500, " ".join(map(str, range(20000)))]
    for n, text in enumerate(texts):
        await writer.send(json.dumps({"type": "message", "room": room, "content": text, "ref": n}))
    for name, ws in sockets.items():
        got = await until(ws, "message", len(texts))
        heard[name] = [frame["message"]["content"] for frame in got] == texts
    print(json.dumps({"heard": heard, "agreed": {name: [e.name for e in ws.extensions] for name, ws in sockets.items()}}))
    for ws in sockets.values(): await ws.close()
asyncio.run(main())
PYTHON

SKIP:
{
	my $python = '/usr/bin/python3';
	skip 'python3-websockets is not installed', 2 if system("$python -c 'import websockets' 2>/dev/null") != 0;
	open my $pipe, '-|', $python, '-c', $program, "ws://127.0.0.1:$node->{http_port}/ws", $token, $room or die $!;
	my $out = join '', <$pipe>;
	close $pipe;
	my $result = eval { decode_json($out) } // {};
	my $true = JSON::PP::true;
	is_deeply($result->{heard}, { default => $true, small => $true, plain => $true }, 'all hear the same');
	is_deeply($result->{agreed}, { default => ['permessage-deflate'], small => ['permessage-deflate'], plain => [] }, 'as agreed upon');
}
is($node->sql("SELECT count(*) FROM chat.messages WHERE conversation_id = '$talk'"), 4, 'what came compressed is stored');
is($node->crash_restarts, 0, 'nothing crashed');
$node->stop;
done_testing();
