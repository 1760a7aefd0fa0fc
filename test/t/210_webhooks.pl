# Jobs of webhooks: penny courier and penny-courier from penny.enqueue() to the
# receipt, against a server of our own that notes what it is sent.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256_base64);
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use MIME::Base64;
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(time usleep);

my $json = JSON::PP->new->canonical;
my $note = PostgreSQL::Test::Utils::tempdir() . '/requests';
my $release = "$note.release";
my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 256, ReuseAddr => 1) or die $!;
my $port = $listener->sockport;
my $server = fork // die $!;
if ($server == 0) { serve(); exit 0 }
END { kill 9, $server if $server }

# One request a line into the file; what a path does: /N is status N, /hold waits, /die closes.
sub serve
{
	my $select = IO::Select->new($listener);
	my (%in, @held);
	open my $out, '>>', $note or die $!;
	$out->autoflush(1);
	while (1)
	{
		if (@held && -e $release) { reply($_, 200, '{"held":true}') for splice @held }
		for my $socket ($select->can_read(0.02))
		{
			if ($socket == $listener) { $select->add(my $new = $listener->accept); next }
			my $got = sysread $socket, $in{$socket}, 65536, length($in{$socket} // '');
			if (!$got) { $select->remove($socket); close $socket; next }
			while (($in{$socket} // '') =~ /\A(.*?)\r\n\r\n/s)
			{
				my $head = $1;
				my ($len) = $head =~ /^content-length: (\d+)/mi;
				last if length($in{$socket}) < length($head) + 4 + ($len // 0);
				my $body = substr $in{$socket}, length($head) + 4, $len // 0;
				substr $in{$socket}, 0, length($head) + 4 + ($len // 0), '';
				my ($path) = $head =~ m{^POST (\S+)};
				my %header = $head =~ /^([\w-]+): (.*?)\r?$/mg;
				print $out $json->encode({ path => $path, header => { map { lc } %header }, raw => \%header, body => $body }), "\n";
				if ($path eq '/hold') { push @held, $socket }
				elsif ($path eq '/die') { $select->remove($socket); close $socket; last }
				elsif ($path =~ m{^/(\d+)$}) { reply($socket, $1, "{\"status\":$1}") }
				elsif ($path eq '/text') { reply($socket, 200, "caf\xc3\xa9, {") }
				elsif ($path eq '/odd') { reply($socket, 200, "\"\\u0000\"") }
				elsif ($path eq '/big') { reply($socket, 200, '"' . 'x' x 500000 . '"') }
				elsif ($path eq '/later') { reply($socket, 429, '{}', "Retry-After: 2\r\n") }
				elsif ($path eq '/flaky') { reply($socket, -e "$note.flaky" ? 200 : 500, '{"at":"last"}') }
				else { reply($socket, 200, '{"answer":42}') }
			}
		}
	}
}
sub reply { my ($socket, $status, $body, $extra) = @_; return unless $socket->connected; print $socket "HTTP/1.1 $status x\r\nContent-Length: " . length($body) . "\r\n" . ($extra // '') . "\r\n$body"; $socket->flush }

my $node = Penny::Cluster->serving('webhooks', conf => "penny.webhook_allow = '127.0.0.1:$port, *.invalid'\npenny.webhook_timeout = '20s'\n");
my $secret = $node->sql('SELECT penny.webhook_secret()');
$node->sql("SELECT penny.create_queue('out', concurrency => NULL, rate_limit => NULL, backoff => '10 ms')");

sub handle { my ($kind, $path, $options) = @_; $node->sql("SELECT penny.handle('$kind', url => 'http://127.0.0.1:$port$path', queue => 'out', secret => '$secret'" . ($options // '') . ')') }
sub give { my ($kind, $payload, $options) = @_; return $node->sql("SELECT penny.enqueue('$kind', \$j\$" . ($payload // '{}') . "\$j\$" . ($options // '') . ')') }
sub ends { my ($id) = @_; return $node->sql("SELECT string_agg(outcome || ' ' || attempt, ',' ORDER BY attempt) FROM _penny.receipt_0 WHERE id = $id AND ids IS NULL") }
sub column { my ($id, $name) = @_; return $node->sql("SELECT $name FROM _penny.receipt_0 WHERE id = $id AND ids IS NULL ORDER BY attempt DESC LIMIT 1") }
sub wait_for { my ($id, $ends, $limit) = @_; return $node->wait_until(sub { ends($id) eq $ends }, $limit // 15) || diag("job $id: " . ends($id) . ' ' . column($id, 'error')) && 0 }
sub requests { my ($path) = @_; open my $in, '<', $note or return; return grep { !defined $path || $_->{path} eq $path } map { $json->decode($_) } <$in> }
sub fails { my ($sql) = @_; my ($code, $out, $err) = $node->psql('postgres', $sql); return $code ? $err : 'no error' }
sub courier_pids { my ($parent) = $node->backend_pids('penny courier'); return $parent ? grep { /\d/ } split /\s+/, `pgrep -P $parent` : () }

subtest 'a call' => sub {
	handle('ok', '/ok');
	my $id = give('ok', '{"a": 1}');
	ok(wait_for($id, '1 1'), 'completes');
	is(column($id, 'result'), '{"answer": 42}', 'its result is the body');
	my ($request) = requests('/ok');
	my $header = $request->{header};
	is($request->{body}, '{"a": 1}', 'the payload was sent');
	is($header->{'content-type'}, 'application/json', 'as JSON');
	like($header->{'webhook-id'}, qr/^job_${id}_\d+$/, 'with an id');
	is($header->{'idempotency-key'}, $header->{'webhook-id'}, 'and an idempotency key');
	is($header->{'penny-kind'}, 'ok', 'and the kind');
	cmp_ok(abs($header->{'webhook-timestamp'} - time), '<', 60, 'and the time');
	my $key = decode_base64(substr $secret, 6);
	my $expected = 'v1,' . hmac_sha256_base64("$header->{'webhook-id'}.$header->{'webhook-timestamp'}.$request->{body}", $key) . '=';
	is($request->{raw}{'webhook-signature'}, $expected, 'and the signature of Standard Webhooks');
};

subtest 'results' => sub {
	handle('text', '/text'); handle('odd', '/odd'); handle('big', '/big'); handle('empty', '/204');
	for my $kind (qw(text odd big empty))
	{
		my $id = give($kind);
		ok($node->wait_until(sub { $node->sql("SELECT count(*) FROM _penny.receipt_0 WHERE id <= $id AND last_id >= $id AND outcome IN (1, 6)") > 0 }, 15), "$kind: completes");
		is($node->sql("SELECT count(*) FROM _penny.receipt_0 WHERE id = $id AND result IS NOT NULL"), 0, "$kind: without a result");
	}
};

subtest 'failures' => sub {
	handle('gone', '/410'); handle('error', '/500'); handle('die', '/die'); handle('later', '/later', ', attempts => 2'); handle('flaky', '/flaky', ', attempts => 50');
	my $id = give('gone');
	ok(wait_for($id, '3 1'), '410 is permanent');
	like(column($id, 'error'), qr/answered 410: \{"status":410\}/, 'and says what came');
	$id = give('error');
	ok(wait_for($id, '2 1,2 2,3 3'), '500 is tried three times');
	my @requests = grep { $_->{header}{'penny-job'} == $id } requests('/500');
	is(scalar(keys %{ { map { $_->{header}{'webhook-id'} => 1 } @requests } }), 1, 'with one id');
	is(join(',', map { $_->{header}{'penny-attempt'} } @requests), '1,2,3', 'counted');
	ok(wait_for(give('die'), '2 1,2 2,3 3'), 'and so is a connection that breaks');
	my $begun = time;
	$id = give('later');
	ok(wait_for($id, '2 1,3 2'), '429 is tried again');
	cmp_ok(time - $begun, '>=', 2, 'after the time that it said');
	handle('slow', '/hold', q{, timeout => '300 ms', attempts => 1});
	$id = give('slow');
	ok(wait_for($id, '3 1'), 'a job has its own timeout');
	like(column($id, 'error'), qr/timed out/i, 'that says so');
	$id = give('flaky');
	$node->wait_until(sub { ends($id) =~ /2 3/ });
	PostgreSQL::Test::Utils::append_to_file("$note.flaky", '');
	ok($node->wait_until(sub { ends($id) =~ /,1 \d+$/ }), 'what recovers completes');
};

subtest 'refusals' => sub {
	my $handle = sub { my ($url, $key) = @_; return fails("SELECT penny.handle('bad', url => '$url', secret => '" . ($key // $secret) . "')") };
	like($handle->('http://127.0.0.1:1/'), qr/webhooks may not call this URL/, 'another port');
	like($handle->('http://localhost/'), qr/webhooks may not call this URL/, 'another host');
	like($handle->('file:///etc/passwd'), qr/URL of the webhook is not valid/, 'another scheme');
	like($handle->("http://x\@127.0.0.1:$port/"), qr/User and password/, 'a user');
	like($handle->("http://127.0.0.1:$port/", 'short'), qr/secret of the webhook is not valid/, 'a secret that is none');
	like(fails("SELECT penny.handle('bad', url => 'http://127.0.0.1:$port/')"), qr/needs a secret/, 'no secret');
	# a handler written past penny.handle() is checked when it is called
	$node->sql("INSERT INTO _penny.handlers (kind, runner, url, secret, queue, role) VALUES ('sly', 'webhook', 'http://127.0.0.1:1/', '$secret', 'out', 'postgres'), ('lost', 'webhook', 'https://nobody.invalid/', '$secret', 'out', 'postgres')");
	my $id = give('sly');
	ok(wait_for($id, '3 1'), 'a URL that the list does not have is a dead letter at once');
	like(column($id, 'error'), qr/penny.webhook_allow/, 'and says why');
	ok(wait_for(give('lost', '{}', ', attempts => 1'), '3 1', 30), 'a name that does not exist fails');
};

subtest 'many, and nothing open meanwhile' => sub {
	handle('hold', '/hold');
	my $n = 90;
	my @ids = split /,/, $node->sql("SELECT string_agg(penny.enqueue('hold', jsonb_build_object('n', n))::text, ',') FROM generate_series(1, $n) n");
	ok($node->wait_until(sub { (grep { $_->{header}{'penny-kind'} eq 'hold' } requests('/hold')) == $n }, 20), "$n are on their way") or diag scalar requests('/hold');
	is($node->sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'penny courier' AND (xact_start IS NOT NULL OR backend_xmin IS NOT NULL)"), 0, 'and no transaction is');
	is($node->sql("SELECT count(*) FROM _penny.receipt_0 WHERE id = ANY ('{" . join(',', @ids) . "}')"), 0, 'none has ended');
	PostgreSQL::Test::Utils::append_to_file($release, '');
	ok($node->wait_until(sub { $node->sql("SELECT count(*) FROM _penny.receipt_0 WHERE id = ANY ('{" . join(',', @ids) . "}') AND outcome = 1") == $n }, 20), 'all complete');
	is(scalar(grep { $_->{header}{'penny-kind'} eq 'hold' } requests('/hold')), $n, 'each called once');
	unlink $release;
};

subtest 'the courier dies' => sub {
	my ($child) = courier_pids();
	my $id = give('hold');
	ok($node->wait_until(sub { (grep { $_->{header}{'penny-job'} == $id } requests('/hold')) == 1 }), 'a call is on its way');
	kill 9, $child;
	ok($node->wait_until(sub { ends($id) =~ /^2 1/ }), 'it is a failed attempt');
	like(column($id, 'error'), qr/penny-courier ended/, 'that says so');
	ok($node->wait_until(sub { (grep { $_->{header}{'penny-job'} == $id } requests('/hold')) == 2 }), 'and is called again');
	PostgreSQL::Test::Utils::append_to_file($release, '');
	ok(wait_for($id, '2 1,1 2'), 'by another courier');
	unlink $release;
	is($node->crash_restarts, 0, 'no session noticed');
};

subtest 'cancelled' => sub {
	my $id = give('hold');
	ok($node->wait_until(sub { (grep { $_->{header}{'penny-job'} == $id } requests('/hold')) == 1 }), 'a call is on its way');
	is($node->sql("SELECT penny.cancel($id)"), 't', 'it is cancelled');
	ok(wait_for($id, '4 1', 5), 'and ends at once');
};

subtest 'settings' => sub {
	my ($before) = courier_pids();
	my $id = give('hold');
	ok($node->wait_until(sub { (grep { $_->{header}{'penny-job'} == $id } requests('/hold')) == 1 }), 'a call is on its way');
	$node->sql("ALTER SYSTEM SET penny.webhook_allow = '127.0.0.1:$port, other.example'");
	$node->sql('SELECT pg_reload_conf()');
	ok($node->wait_until(sub { my @now = courier_pids(); @now == 2 }), 'another courier takes over');
	ok(wait_for(give('ok'), '1 1'), 'and serves');
	is(ends($id), '', 'while the old one waits');
	PostgreSQL::Test::Utils::append_to_file($release, '');
	ok(wait_for($id, '1 1'), 'for its call');
	unlink $release;
	ok($node->wait_until(sub { my @now = courier_pids(); @now == 1 && $now[0] != $before }), 'and ends');
	$node->sql("ALTER SYSTEM SET penny.webhook_allow = ''");
	$node->sql('SELECT pg_reload_conf()');
	ok($node->wait_until(sub { !$node->backend_pids('penny courier') }), 'without a list there is no courier');
	$id = give('ok');
	$node->sql("ALTER SYSTEM RESET penny.webhook_allow");
	$node->sql('SELECT pg_reload_conf()');
	ok(wait_for($id, '1 1'), 'and jobs wait for one');
};

subtest 'stop' => sub {
	my $id = give('hold');
	ok($node->wait_until(sub { (grep { $_->{header}{'penny-job'} == $id } requests('/hold')) == 1 }), 'a call is on its way');
	my $begun = time;
	$node->stop('fast');
	cmp_ok(time - $begun, '<', 8, 'the server stops');
	PostgreSQL::Test::Utils::append_to_file($release, '');
	$node->start;
	ok(wait_for($id, '1 1', 30), 'what was not answered is called again, as the first attempt');
};

done_testing;
