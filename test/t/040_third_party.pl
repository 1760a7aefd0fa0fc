# Clients that others wrote: curl, and the WebSocket library of python3-websockets.
use strict;
use warnings;
use IPC::Run;
use JSON::PP;
use Penny::Cluster;
use Test::More;

my $node = Penny::Cluster->serving('third');
my $ada = $node->add_user('Ada');
my $talk = $node->add_conversation($ada, messages => 3);
my $token = $node->token($ada);
my $url = "http://127.0.0.1:$node->{http_port}";

sub run_program
{
	my (@command) = @_;
	my ($out, $err) = ('', '');
	my $ok = eval { IPC::Run::run(\@command, '<', '/dev/null', '>', \$out, '2>', \$err, IPC::Run::timeout(60)) };
	diag($err) if !$ok && $err ne '';
	return ($ok, $out);
}

SKIP: {
	my ($there) = eval { run_program('curl', '--version') };
	skip 'curl is not installed', 5 unless $there;
	my @auth = ('-H', "Authorization: Bearer $token");
	my ($ok, $out) = run_program('curl', '-sS', '--fail', @auth, "$url/api/v1/conversations");
	is(decode_json($out)->{data}[0]{id}, $talk, 'curl: list');
	($ok, $out) = run_program('curl', '-sS', '--fail', @auth, '--json', '{"role":"user","content":"by curl"}', "$url/api/v1/conversations/$talk/messages");
	is(decode_json($out)->{content}, 'by curl', 'curl: a message');
	($ok, $out) = run_program('curl', '-sS', '-o', '/dev/null', '-w', '%{http_code} %{num_connects}\n', @auth, "$url/livez", '-o', '/dev/null', "$url/livez");
	is($out, "200 1\n200 0\n", 'curl: one connection for two requests');
	# Above 1 kB curl asks with Expect: 100-continue before it sends.
	my $long = JSON::PP->new->encode({ role => 'user', content => 'y' x 200_000 });
	my $file = $node->basedir . '/long.json';
	PostgreSQL::Test::Utils::append_to_file($file, $long);
	($ok, $out) = run_program('curl', '-sS', '--fail', @auth, '-H', 'Content-Type: application/json', '-H', 'Expect: 100-continue', '--data-binary', "\@$file", "$url/api/v1/conversations/$talk/messages");
	is(length(decode_json($out)->{content}), 200_000, 'curl: a long body, Expect: 100-continue');
	($ok, $out) = run_program('curl', '-sS', '--http2', '-o', '/dev/null', '-w', '%{http_version}', "$url/livez");
	is($out, '1.1', 'curl --http2 stays with 1.1');
}

SKIP: {
	my ($there) = eval { run_program('/usr/bin/python3', '-c', 'import websockets') };
	skip 'python3-websockets is not installed', 1 unless $there;
	my $program = <<'PYTHON';
import asyncio, json, sys, websockets

async def main(url, token, room):
    headers = {"Authorization": "Bearer " + token}
    async with websockets.connect(url, subprotocols=["penny.v1"], extra_headers=headers) as a, \
               websockets.connect(url + "?access_token=" + token, subprotocols=["penny.v1"]) as b:
        for ws in (a, b):
            await ws.send(json.dumps({"type": "join", "room": room, "ref": "j"}))
            assert json.loads(await ws.recv())["type"] == "joined"
        # Fragmented by the library when given an iterable.
        text = json.dumps({"type": "message", "room": room, "content": "by python", "ref": "m"})
        await a.send([text[:10], text[10:30], text[30:]])
        ack = None
        seen = None
        while not (ack and seen):
            frame = json.loads(await asyncio.wait_for(a.recv(), 10))
            for one in frame.get("messages", [frame]):
                if one["type"] == "ack": ack = one
                if one["type"] == "message": seen = one
        frame = json.loads(await asyncio.wait_for(b.recv(), 10))
        assert frame["message"]["id"] == ack["id"] == seen["message"]["id"], (frame, ack, seen)
        pong = await a.ping()
        await asyncio.wait_for(pong, 10)
        print(a.subprotocol, ack["id"])

asyncio.run(main(*sys.argv[1:]))
PYTHON
	my ($ok, $out) = run_program('/usr/bin/python3', '-c', $program, "ws://127.0.0.1:$node->{http_port}/ws", $token, "conversation:$talk");
	my ($protocol, $id) = split ' ', $out;
	is($protocol, 'penny.v1', 'python3-websockets: subprotocol');
	is($node->sql("SELECT content FROM chat.messages WHERE id = '$id'"), 'by python', 'python3-websockets: a message, its ack and its frame');
}

is($node->crash_restarts, 0, 'no crash');
done_testing;
