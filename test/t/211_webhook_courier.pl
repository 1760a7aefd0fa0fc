# penny courier against a penny-courier that somebody has taken over: what it says,
# and does not say, must cost its worker neither its time nor its data.
use strict;
use warnings;
use IO::Socket::INET;
use Penny::Cluster;
use PostgreSQL::Test::Utils qw(append_to_file slurp_file);
use Test::More;
use Time::HiRes qw(time usleep);

my $directory = PostgreSQL::Test::Utils::tempdir();
my $fake = "$directory/fake-courier";
my $program = PostgreSQL::Test::Utils::slurp_file($0) =~ s/.*^__END__\n//msr;
$program =~ s/DIRECTORY/$directory/g;
append_to_file($fake, $program);
chmod 0755, $fake;

my $node = Penny::Cluster->prepared('taken', conf => "penny.webhook_allow = '127.0.0.1:1'\npenny.webhook_timeout = '20s'\npenny.webhook_concurrency = 1000\npenny.drain_timeout = '1s'\n");
$node->append_conf('postgresql.conf', "penny.courier_program = '$fake'\n");
my $begun = begin('exit');
$node->start;
$node->create_penny;
$node->wait_ready;
my $secret = $node->sql('SELECT penny.webhook_secret()');
$node->sql("SELECT penny.create_queue('out', concurrency => NULL, rate_limit => NULL, backoff => '10 ms')");
$node->sql("SELECT penny.handle('call', url => 'http://127.0.0.1:1/', queue => 'out', attempts => 1, secret => '$secret')");

# What the next fake courier does; it notes its starts.
sub mode { my ($mode) = @_; open my $out, '>', "$directory/mode" or die $!; print $out $mode; close $out or die $! }
sub begin { mode(@_); unlink "$directory/starts", "$directory/requests"; return time }
sub noted { my ($what) = @_; return -e "$directory/$what" ? split /\n/, slurp_file("$directory/$what") : () }
sub starts { return scalar(my @starts = noted('starts')) }
sub requests { return scalar(my @requests = noted('requests')) }
sub worker { my ($pid) = $node->backend_pids('penny courier'); return $pid }
sub children { my $pid = worker() or return; return grep { /\d/ } split /\s+/, `pgrep -P $pid` }
sub set { my ($allow) = @_; $node->sql("ALTER SYSTEM SET penny.webhook_allow = $allow"); $node->reload; }
sub waiting { return $node->sql("SELECT count(*) FROM penny.jobs WHERE state IN ('waiting', 'active', 'delayed')") }
sub fails { my ($database, $sql) = @_; my ($code, $out, $err) = $node->psql($database, $sql); return $code ? $err : 'no error' }
sub worker_in { my ($database) = @_; return $node->safe_psql($database, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'penny courier' AND datname IS NOT NULL}) }
sub doctor { return $node->sql(q{SELECT ok, detail, remedy FROM penny.doctor() WHERE "check" = 'courier'}) }
sub give { return $node->sql(q{SELECT penny.enqueue('call')}) }
sub outcome { my ($id) = @_; return $node->sql("SELECT outcome || ' ' || coalesce(error, '') FROM _penny.receipt_0 WHERE id = $id AND ids IS NULL") }
# kB of private memory of the worker
sub memory { my ($kb) = slurp_file('/proc/' . worker() . '/status') =~ /RssAnon:\s+(\d+)/; return $kb }
sub cancels { return scalar grep { $_ eq 'cancel' } noted('requests') }
# s of processor time that the worker has used
sub used { my @stat = split / /, slurp_file('/proc/' . worker() . '/stat'); return ($stat[13] + $stat[14]) / 100 }
# Another courier in the place of the one that runs, behind one that was of use, so
# that it starts at once.
sub renew
{
	my ($mode) = @_;
	begin('ok');
	kill 9, children();
	my $id = give();
	$node->wait_until(sub { outcome($id) =~ /^1/ }) or return 0;
	begin($mode);
	kill 9, children();
	return $node->wait_until(sub { starts() > 0 });
}
# Logged since then.
sub log_since { my ($from) = @_; return substr slurp_file($node->logfile), $from }

subtest 'a courier that crashes' => sub {
	my $from = -s $node->logfile;
	ok($node->wait_until(sub { log_since($from) =~ /starts in 4 s/ }, 30), 'is started more and more rarely') or diag(log_since($from));
	my $n = starts();
	my $seconds = time - $begun;
	cmp_ok($n, '<=', 12, "$n starts in $seconds s");
	my ($before, $at) = (used(), time);
	usleep(1_500_000);
	cmp_ok(used() - $before, '<', 0.5, 'and in between nothing spins');
	like(doctor(), qr/^f\|no penny-courier is ready; lately [3-9] ended without an answer\|.*penny.courier_program/, 'doctor() says so');
	cmp_ok($node->sql(q{SELECT penny.stats()->'courier'->'courier_failures_in_a_row'}), '>', 2, 'and stats()');
	ok(renew('hang'), 'the next one');
	ok($node->wait_until(sub { doctor() =~ /^t\|process \d+; / }), 'and that it is well again');
	is($node->sql(q{SELECT penny.stats()->'courier'->>'running'}), 'true', 'and stats()');
};

# Not one that kept the server's side of an agreement.
my %abuse = (
	deaf => 'closes its socket and stays',
	flood => 'is ready again and again',
	heir => 'leaves its socket to somebody else',
	ticket => 'answers what it was not asked',
	twice => 'answers twice',
	outcome => 'says what only the worker may',
	status => 'has a status that is none',
	length => 'lies about a length',
	short => 'sends a frame that is too short',
	frame => 'sends a frame that is too long',
	kind => 'sends a frame of no kind');

for my $mode (sort keys %abuse)
{
	subtest "a courier that $abuse{$mode}" => sub {
		ok(renew($mode), 'runs');
		my ($pid) = noted('starts');
		my $id = give();
		$node->wait_until(sub { requests() || !kill 0, $pid }, 12) unless $mode eq 'deaf';
		begin('ok');
		ok($node->wait_until(sub { !kill 0, $pid }, 12), 'is ended');
		ok($node->wait_until(sub { outcome($id) ne '' }, 12), 'and its worker goes on');
	};
}

subtest 'a courier that is always busy' => sub {
	ok(renew('busy'), 'runs');
	my $id = give();
	ok($node->wait_until(sub { requests() > 0 }), 'is asked');
	my $n = requests();
	usleep(2_000_000);
	cmp_ok(requests() - $n, '<=', 4, 'and then now and then');
	is(outcome($id), '', 'and counts for nothing');
	ok(renew('ok'), 'another');
	ok($node->wait_until(sub { outcome($id) =~ /^1/ }), 'takes the job');
};

subtest 'a courier that says what is no text' => sub {
	ok(renew('text'), 'runs');
	my $id = give();
	ok($node->wait_until(sub { outcome($id) =~ /^3/ }), 'and the job fails');
	is(outcome($id), '3 caf   ', 'with what is printable of it');
};

subtest 'a result that is longer than it seems' => sub {
	ok(renew('bomb'), 'is sent');
	my $id = give();
	ok($node->wait_until(sub { outcome($id) ne '' }), 'and the job ends');
	is($node->sql("SELECT outcome || ' ' || (result IS NULL) FROM _penny.receipt_0 WHERE id = $id"), '1 true', 'without it');
	like($node->sql("SELECT penny.job($id)"), qr/"completed"/, 'and can be looked at');
};

subtest 'payloads that are large' => sub {
	ok(renew('hang'), 'a courier that takes all');
	my $before = memory();
	$node->sql("SELECT count(penny.enqueue('call', jsonb_build_object('n', n, 'x', repeat('x', 1000000)))) FROM generate_series(1, 150) n");
	ok($node->wait_until(sub { requests() >= 134 }), 'gets 128 MB of them');
	usleep(500_000);
	is(requests(), 135, 'and no more');
	cmp_ok(memory() - $before, '<', 64 * 1024, 'which its worker does not keep');
	begin('ok');
	kill 9, children();
	ok($node->wait_until(sub { $node->sql("SELECT count(*) FROM penny.jobs WHERE state IN ('waiting', 'active')") == 0 }), 'until it has answered');
};

subtest 'cancelled' => sub {
	# while the worker waits for a lock to read another job
	ok(renew('hang'), 'a courier that does not answer');
	my $id = give();
	ok($node->wait_until(sub { requests() == 1 }), 'has a job');
	$node->sql(q{SELECT penny.enqueue('call', delay => '1 s')});
	my $begun = time;
	my $session = $node->background_sql("BEGIN; SELECT penny.cancel($id); LOCK TABLE _penny.job_0 IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(3); COMMIT;");
	$session->finish;
	ok($node->wait_until(sub { cancels() > 0 }, 5), 'the courier is told at once');
};

subtest 'a courier that does not want to end' => sub {
	ok(renew('hang'), 'runs');
	my ($pid) = children();
	begin('ok');
	$node->sql("ALTER SYSTEM SET penny.webhook_allow = '127.0.0.1:1, other.example'");
	$node->reload;
	ok($node->wait_until(sub { starts() > 0 }), 'has a successor');
	ok($node->wait_until(sub { !grep { $_ == $pid } children() }, 20), 'and is ended');
	begin('ok');
	$node->sql("ALTER SYSTEM RESET penny.webhook_allow");
	$node->reload;
	ok($node->wait_until(sub { starts() > 0 }), 'so that the next settings come into force too');
};

subtest 'settings that change twice' => sub {
	ok(renew('hang'), 'a courier that does not answer');
	my $id = $node->sql(q{SELECT penny.enqueue('call', timeout => '3 s')});
	ok($node->wait_until(sub { requests() == 1 }), 'has a job');
	begin('hang');
	set("'127.0.0.1:1, one.example'");
	ok($node->wait_until(sub { starts() == 1 }), 'has a successor');
	usleep(500_000);
	set("'127.0.0.1:1, two.example'");
	ok($node->wait_until(sub { $node->sql('SHOW penny.webhook_allow') =~ /two/ }), 'that knows less than there is');
	usleep(500_000);
	mode('ok');
	$id = give();
	usleep(1_000_000);
	is(requests(), 0, 'and gets nothing');
	ok($node->wait_until(sub { outcome($id) =~ /^1/ }, 30), 'until there is one that knows');
	is(requests(), 1, 'which alone is asked');
	$node->sql('ALTER SYSTEM RESET penny.webhook_allow');
	$node->reload;
};

subtest 'cancelled, and given back' => sub {
	ok(renew('hang'), 'a courier that does not answer');
	my $id = give();
	ok($node->wait_until(sub { requests() == 1 }), 'has a job');
	is($node->sql("SELECT worker FROM penny.jobs WHERE id = $id"), 'penny courier', 'that penny.jobs shows with it');
	is($node->sql("SELECT penny.cancel($id)"), 't', 'that is cancelled');
	ok($node->wait_until(sub { cancels() == 1 }), 'which the courier is told');
	$node->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'penny courier'");
	begin('ok');
	ok($node->wait_until(sub { outcome($id) =~ /^4/ }), 'it ends as cancelled');
	is(requests(), 0, 'and is not called again');
};

subtest 'limits of the queue' => sub {
	ok(renew('hang'), 'a courier that does not answer');
	$node->sql("SELECT penny.alter_queue('out', '{\"concurrency\": 3}')");
	give() for 1 .. 6;
	ok($node->wait_until(sub { requests() == 3 }), 'three at a time');
	usleep(500_000);
	is(requests(), 3, 'and not more');
	$node->sql("SELECT penny.alter_queue('out', '{\"concurrency\": 5}')");
	ok($node->wait_until(sub { requests() == 5 }, 3), 'five as soon as that is said');
	begin('ok');
	kill 9, children();
	ok($node->wait_until(sub { waiting() == 0 }), 'all end');
	$node->sql("SELECT penny.pause_queue('out')");
	give();
	usleep(300_000);
	is(waiting(), 1, 'a queue that rests');
	$node->sql("SELECT penny.resume_queue('out')");
	ok($node->wait_until(sub { waiting() == 0 }, 3), 'goes on when that is said');
	begin('ok');
	$node->sql("SELECT penny.alter_queue('out', '{\"concurrency\": null, \"rate_limit\": 4, \"rate_window\": \"3 s\"}')");
	my $begun = time;
	$node->sql("SELECT count(penny.enqueue('call')) FROM generate_series(1, 10)");
	ok($node->wait_until(sub { waiting() == 0 }), 'four in 3 s');
	cmp_ok(time - $begun, '>', 5.5, 'so that ten take their time');
	$node->sql("SELECT penny.alter_queue('out', '{\"rate_limit\": null}')");
};

subtest 'stopped while the list is empty' => sub {
	ok(renew('hang'), 'a courier that does not answer');
	my $id = give();
	ok($node->wait_until(sub { requests() == 1 }), 'has a job');
	set("''");
	usleep(500_000);
	my $begun = time;
	$node->stop('fast');
	cmp_ok(time - $begun, '<', 8, 'the server does not wait for it');
	$node->start;
	$node->sql('ALTER SYSTEM RESET penny.webhook_allow');
	$node->reload;
	begin('ok');
	ok($node->wait_until(sub { outcome($id) =~ /^1/ }), 'and the job is not lost');
};

subtest 'a database that is dropped' => sub {
	ok(renew('hang'), 'a courier that does not answer');
	give();
	ok($node->wait_until(sub { requests() == 1 }), 'has a job');
	my $begun = time;
	is(fails('template1', 'ALTER DATABASE postgres RENAME TO other'), 'no error', 'the database is renamed meanwhile');
	cmp_ok(time - $begun, '<', 8, 'at once');
	is(fails('template1', 'DROP DATABASE other'), 'no error', 'and dropped');
	ok($node->wait_until(sub { !worker_in('template1') }), 'nobody is left');
};

is($node->crash_restarts, 0, 'no session noticed');

done_testing;
__END__
#!/usr/bin/perl
# A penny-courier that does what DIRECTORY/mode says.
use strict;
use warnings;
use Socket;

open my $starts, '>>', 'DIRECTORY/starts' or die;
syswrite $starts, "$$\n";
open my $requests, '>>', 'DIRECTORY/requests' or die;
open my $in, '<', 'DIRECTORY/mode' or die;
my $mode = <$in> // 'ok';
exit 1 if $mode eq 'exit';
open my $worker, '+<&=', 3 or die;
$worker->blocking(1);

sub get { my ($len) = @_; my $bytes = ''; while (length $bytes < $len) { sysread($worker, $bytes, $len - length $bytes, length $bytes) or exit 0 } return $bytes }
sub frame { my ($len, $kind, $ticket) = unpack 'LLQ', get(16); return ($kind, $ticket, get($len)) }
sub put { my ($kind, $ticket, $payload) = @_; syswrite $worker, pack('LLQ', length $payload, $kind, $ticket) . $payload }
sub answer { my ($ticket, $outcome, $status, $error, $body) = @_; put(17, $ticket, pack('L8', $outcome, $status, 0, 1, 0, 0, length $error, length $body) . $error . $body) }

frame();
put(16, 0, '');
if ($mode eq 'deaf') { close $worker; sleep 1000 }
if ($mode eq 'flood') { put(16, 0, '') while 1 }
if ($mode eq 'heir')
{
	if (fork == 0) { close STDOUT; close STDERR; sleep 15; exit 0 }
	exit 1;
}
while (1)
{
	my ($kind, $ticket) = frame();
	syswrite $requests, "cancel\n" if $kind == 3;
	exit 0 if $kind == 4 && $mode ne 'hang';
	next if $kind != 2;
	syswrite $requests, "$mode\n";
	next if $mode eq 'hang';
	answer($ticket, 0, 200, '', '{}') if $mode eq 'ok';
	answer($ticket, 0, 200, '', '[' . join(',', ('1e131000') x 25000) . ']') if $mode eq 'bomb';
	answer($ticket, 8, 0, 'no room', '') if $mode eq 'busy';
	answer($ticket, 3, 0, "caf\xe9\n\xff", '') if $mode eq 'text';
	answer($ticket + 1024, 0, 200, '', '{}') if $mode eq 'ticket';
	answer($ticket, 9, 0, 'lost', '') if $mode eq 'outcome';
	put(17, $ticket, pack('L8', 0, 200, 0, 1, 0, 0, 0, 0xffffffff)) if $mode eq 'length';
	syswrite $worker, pack('LLQ', 0xfffffff0, 17, $ticket) if $mode eq 'frame';
	put(99, $ticket, '') if $mode eq 'kind';
	put(17, $ticket, '') if $mode eq 'short';
	answer($ticket, 0, 1000, '', '{}') if $mode eq 'status';
	do { answer($ticket, 0, 200, '', '{}'); answer($ticket, 0, 200, '', '{}') } if $mode eq 'twice';
}
