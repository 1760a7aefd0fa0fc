# Schedules over restarts, keys under many clients, flows and dead letters of SQL
# handlers, and what listeners are told.
use strict;
use warnings;
use JSON::PP;
use Penny::Cluster;
use PostgreSQL::Test::Utils qw(slurp_file append_to_file);
use Test::More;

my $node = Penny::Cluster->serving('features');
my $ada = $node->add_user('Ada');
$node->sql(q{
	SELECT penny.alter_queue('normal', '{"rate_limit": null}');
	CREATE TABLE public.runs (n serial, what jsonb, at timestamptz DEFAULT clock_timestamp());
	CREATE FUNCTION public.note(job jsonb) RETURNS jsonb LANGUAGE sql AS
		'INSERT INTO public.runs (what) VALUES (job); SELECT jsonb_build_object(''noted'', job)';
	CREATE TABLE public.broken (n integer);
	CREATE FUNCTION public.maybe(job jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF EXISTS (SELECT FROM public.broken b WHERE b.n = (job ->> 'n')::integer) THEN
			RAISE EXCEPTION 'job % is broken', job ->> 'n';
		END IF;
		INSERT INTO public.runs (what) VALUES (job);
		RETURN job -> 'n';
	END $$;
	CREATE FUNCTION public.gather(job jsonb) RETURNS jsonb LANGUAGE sql AS $$
		INSERT INTO public.runs (what) VALUES (job || jsonb_build_object('children', penny.job_context() -> 'children'));
		SELECT job $$;
	SELECT penny.handle('note', 'public.note', access => 'user'), penny.handle('maybe', 'public.maybe', attempts => 1),
		penny.handle('gather', 'public.gather');
});

sub runs_until
{
	my ($where, $n) = @_;
	return $node->wait_until(sub { $node->sql("SELECT count(*) FROM public.runs WHERE $where") >= $n });
}

# ---- schedules -----------------------------------------------------------------------

$node->sql(q{SELECT penny.schedule('every second', '* * * * * *', 'note', '{"of": "second"}', missed => 'all'),
	penny.schedule('hourly', '0 * * * *', 'note', '{"of": "hour"}'),
	penny.schedule('no handler', '* * * * * *', 'unheard', key => 'one')});
ok(runs_until(q{what ->> 'of' = 'second'}, 2), 'a schedule fires');
for my $how ('immediate', 'fast')
{
	my $before = $node->sql(q{SELECT max(n) FROM public.runs});
	$node->stop($how);
	$node->start;
	$node->wait_ready;
	ok(runs_until("what ->> 'of' = 'second' AND n > $before", 3), "and goes on after a restart ($how)");
}
my @at = split /\n/, $node->sql(q{SELECT extract(epoch FROM (what -> '_schedule' ->> 'at')::timestamptz)::bigint FROM public.runs WHERE what ->> 'of' = 'second' ORDER BY n});
my %seen;
$seen{$_}++ for @at;
is_deeply([ grep { $seen{$_} != 1 } $at[0] .. $at[-1] ], [], 'every second has one run, also those of the restarts') or diag("@at");
my $late = $node->sql(q{SELECT count(*) FROM public.runs WHERE at < (what -> '_schedule' ->> 'at')::timestamptz});
is($late, 0, 'none before its time');
is($node->sql(q{SELECT count(*) FROM penny.jobs WHERE kind = 'unheard'}), 1, 'with a key, no run comes while the one before has not ended');
is($node->sql(q{SELECT penny.pause_schedule('every second'), penny.unschedule('no handler'), penny.unschedule('nothing')}), 't|t|f', 'pause');
is($node->sql(q{SELECT penny.cancel_key('normal', 'one')}), 't', 'jobs of a schedule stay');

# Runs that were missed.
sub missed
{
	my ($policy, $ago) = @_;
	$node->sql(qq{SELECT penny.schedule('m', '*/10 * * * *', 'note', '{"of": "$policy"}', missed => '$policy');
		UPDATE _penny.schedules SET next_at = penny.schedule_next('*/10 * * * *', 'UTC', now() - interval '$ago') WHERE name = 'm'});
	$node->wait_until(sub { $node->sql(q{SELECT next_at > now() FROM penny.schedules WHERE name = 'm'}) eq 't' });
	my $job = $node->sql(q{SELECT last_job FROM penny.schedules WHERE name = 'm'});
	$node->wait_until(sub { $node->sql("SELECT penny.job($job) ->> 'state'") eq 'completed' }) if $job;
	$node->sql(q{SELECT penny.unschedule('m')});
	return $node->sql(qq{SELECT count(*) FROM public.runs WHERE what ->> 'of' = '$policy'});
}
is(missed('once', '3 hours'), 1, 'three hours missed, one job for all of it');
cmp_ok(my $all = missed('all', '3 hours'), '>=', 17, 'or one for each run');
cmp_ok($all, '<=', 19, 'and no more');
my $skipped = missed('skip', '3 hours');
ok($skipped == 0 || $node->sql(q{SELECT extract(minute FROM now())::integer % 10}) == 0, 'or none');
# Runs that are late, but not missed.
for my $policy ('once', 'skip')
{
	$node->sql(qq{SELECT penny.schedule('late', '* * * * * *', 'note', '{"of": "late $policy"}', missed => '$policy');
		UPDATE _penny.schedules SET next_at = date_trunc('second', now()) - interval '20 s' WHERE name = 'late'});
	ok(runs_until("what ->> 'of' = 'late $policy'", 20), "$policy: a run that is late by seconds is made");
	$node->sql(q{SELECT penny.unschedule('late')});
}
# A schedule that cannot enqueue stops no other.
$node->sql(q{SELECT penny.create_queue('short'), penny.schedule('lost', '0 * * * *', 'note', '{"of": "lost"}', queue => 'short'), penny.drop_queue('short');
	UPDATE _penny.schedules SET next_at = date_trunc('hour', now()) WHERE name IN ('lost', 'hourly')});
ok(runs_until(q{what ->> 'of' = 'hour'}, 1), 'one that cannot enqueue does not stop others');
ok($node->wait_until(sub { $node->sql(q{SELECT last_error LIKE '%"short" does not exist' AND next_at > now() FROM penny.schedules WHERE name = 'lost'}) eq 't' }), 'and says why');
$node->sql(q{SELECT penny.unschedule(name) FROM penny.schedules});
my (undef, undef, $error) = $node->psql('postgres', q{BEGIN; SELECT penny.schedule('p', '@daily', 'note'); PREPARE TRANSACTION 'p'});
like($error, qr/cannot PREPARE/, 'a change of schedules cannot be prepared');

# ---- keys, many at once ----------------------------------------------------------------

$node->sql(q{
	SELECT penny.create_queue('keys', concurrency => NULL, rate_limit => NULL, attempts => 5, backoff => '0');
	CREATE TABLE public.running (key text PRIMARY KEY, id bigint);
	CREATE TABLE public.twice (key text, id bigint);
	CREATE PROCEDURE public.work() LANGUAGE plpgsql AS $$
	DECLARE
		job record;
	BEGIN
		SELECT * INTO job FROM penny.claim('keys', 1);
		COMMIT;
		IF job.id IS NULL THEN
			RETURN;
		END IF;
		INSERT INTO public.running VALUES (job.key, job.id) ON CONFLICT DO NOTHING;
		IF NOT FOUND THEN
			INSERT INTO public.twice VALUES (job.key, job.id);
		END IF;
		COMMIT;
		PERFORM pg_sleep(0.005); -- the work
		DELETE FROM public.running WHERE key = job.key AND id = job.id;
		IF random() < 0.2 THEN
			PERFORM penny.fail(job.id, job.token, 'again');
		ELSE
			PERFORM penny.complete(job.id, job.token);
		END IF;
		COMMIT;
	END $$;
	SELECT penny.enqueue('work', queue => 'keys', key => '0');
});
$node->safe_psql('postgres', q{CALL penny.claim_wait('keys', 1, '30 s')}); # the queue is known
my $script = $node->basedir . '/keys.sql';
append_to_file($script, <<'SQL');
\set k random(1, 4)
\set mode random(1, 4)
SELECT penny.enqueue('work', to_jsonb(:client_id), queue => 'keys', key => :k::text, key_mode => (ARRAY['keep', 'replace', 'replace', 'debounce'])[:mode],
	delay => CASE WHEN :mode = 4 THEN interval '1 ms' END);
CALL public.work();
SQL
my $pgbench = $node->config_data('--bindir') . '/pgbench';
my $out = `$pgbench -n -h @{[$node->host]} -p @{[$node->port]} -c 8 -j 2 -t 150 -f $script postgres 2>&1`;
like($out, qr/number of transactions actually processed: 1200\/1200/, '8 clients enqueue, replace and end jobs of four keys') or diag($out);
is($node->sql('SELECT count(*) FROM public.twice'), 0, 'two jobs of one key never run at once');
is($node->sql(q{SELECT count(*) FROM (SELECT FROM penny.jobs WHERE queue = 'keys' AND state IN ('waiting', 'delayed', 'blocked') GROUP BY key HAVING count(*) > 1) x}),
	0, 'and never both wait');
$node->wait_until(sub { $node->sql('CALL public.work()'); $node->sql(q{SELECT count(*) FROM penny.jobs WHERE queue = 'keys' AND key <> '0' AND state IN ('waiting', 'delayed', 'blocked', 'active')}) == 0 });
is($node->sql(q{SELECT count(*) FROM _penny.job_keys WHERE key <> '0'}), 0, 'no key is left when all have ended');

# Who cancels, who replaces, and who ends a job take their locks in one order.
sub held_up
{
	my ($n) = @_;
	return $node->wait_until(sub { $node->sql(q{SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%penny.%'}) >= $n }, 20);
}
my $holder = $node->background_psql('postgres');
$node->sql(q{SELECT penny.enqueue('work', queue => 'keys', key => 'order'); SELECT count(*) FROM penny.claim('keys')});
my $after = $node->sql(q{SELECT penny.enqueue('work', queue => 'keys', key => 'order', key_mode => 'replace')});
is($node->sql("SELECT penny.job($after) ->> 'state'"), 'blocked', 'a job waits for the one that has its key');
$holder->query_safe("BEGIN; SELECT FROM _penny.jobs_deferred WHERE id = $after FOR UPDATE");
my $cancel = $node->background_sql("SELECT penny.cancel($after)");
held_up(1);
my $replace = $node->background_sql(q{SELECT penny.enqueue('work', queue => 'keys', key => 'order', key_mode => 'replace') > 0});
held_up(2);
$holder->query_safe('COMMIT');
is($cancel->finish . $replace->finish, "t\nt\n", 'it is cancelled while another takes its place');
$node->sql(q{SELECT penny.cancel(id) FROM penny.jobs WHERE queue = 'keys' AND state IN ('active', 'blocked', 'waiting')});

my $parent = $node->sql(q{SELECT penny.enqueue_flow('{"kind": "gather", "children": [{"kind": "leaf", "queue": "keys"}, {"kind": "leaf", "queue": "keys"}]}')});
my @leaf = map { [ split /\|/ ] } split /\n/, $node->sql(q{SELECT id, token FROM penny.claim('keys', 2) ORDER BY id});
$holder->query_safe("BEGIN; SELECT FROM _penny.job_edges WHERE child = $leaf[0][0] FOR UPDATE");
$cancel = $node->background_sql("SELECT penny.cancel($parent)");
held_up(1);
my $complete = $node->background_sql("SELECT penny.complete($leaf[1][0], $leaf[1][1])");
$node->wait_until(sub { $node->sql("SELECT penny.job($leaf[1][0]) ->> 'state'") eq 'completed' || held_up(2) }, 20);
$holder->query_safe('COMMIT');
is($cancel->finish . $complete->finish, "t\nt\n", 'a parent is cancelled while its children end');
$holder->quit;
$node->sql("SELECT penny.complete($leaf[0][0], $leaf[0][1])");

# ---- flows of SQL handlers ---------------------------------------------------------------

$node->sql(q{SELECT penny.purge_dead('keys')}); # some of the jobs above failed three times

sub flow
{
	my ($name, $mode, $n) = @_;
	return $node->sql(qq{SELECT penny.enqueue_flow(jsonb_build_object('kind', 'gather', 'payload', '{"of": "$name"}'::jsonb, 'on_child_failure', '$mode',
		'children', (SELECT jsonb_agg(jsonb_build_object('kind', 'maybe', 'payload', jsonb_build_object('n', i, 'of', 'child of $name'))) FROM generate_series(1, $n) i)))});
}
sub children
{
	my ($name) = @_;
	return $node->sql(qq{SELECT jsonb_array_length(what -> 'children'), (SELECT count(*) FROM jsonb_array_elements(what -> 'children') c WHERE c ? 'error' AND c ->> 'error' IS NOT NULL) FROM public.runs WHERE what ->> 'of' = '$name'});
}
flow('all good', 'fail', 200);
ok(runs_until(q{what ->> 'of' = 'all good'}, 1), '200 children, then their parent');
is(children('all good'), '200|0', 'which has what they gave');
is($node->sql(q{SELECT count(*) FROM public.runs WHERE what ->> 'of' = 'child of all good' AND n > (SELECT n FROM public.runs WHERE what ->> 'of' = 'all good')}), 0, 'none after it');
$node->sql('INSERT INTO public.broken VALUES (7)');
flow('ignoring', 'ignore', 10);
ok(runs_until(q{what ->> 'of' = 'ignoring'}, 1), 'a parent that ignores failures');
is(children('ignoring'), '10|1', 'finds the error');
my $waiting = flow('waiting', 'wait', 10);
my $failing = flow('failing', 'fail', 10);
ok($node->wait_until(sub { $node->sql(q{SELECT count(*) FROM penny.dead_letters}) == 4 }), 'a child of each, and the parent that fails with it, are dead letters');
is($node->sql("SELECT penny.job($waiting) ->> 'state', penny.job($failing) ->> 'state'"), 'blocked|failed', 'the other waits');
$node->sql('DELETE FROM public.broken');
is($node->sql(q{SELECT penny.redrive('normal', rate => 100) IN (3, 4)}), 't', 'all are redriven');
ok(runs_until(q{what ->> 'of' IN ('waiting', 'failing')}, 2), 'and both parents run');
is(children('waiting') . ' ' . children('failing'), '10|0 10|0', 'with what all children gave');
is($node->sql('SELECT (SELECT count(*) FROM _penny.job_edges), (SELECT count(*) FROM _penny.job_lineage), (SELECT count(*) FROM _penny.jobs_dead)'), '0|0|0', 'and nothing is left');

# ---- dead letters ------------------------------------------------------------------------

$node->sql(q{INSERT INTO public.broken SELECT generate_series(1, 20); SELECT penny.alter_queue('normal', '{"keep_failed": 5}');
	SELECT penny.enqueue_many('maybe', ARRAY(SELECT jsonb_build_object('n', i, 'of', 'rate') FROM generate_series(1, 20) i))});
ok($node->wait_until(sub { $node->sql(q{SELECT ended >= 20 AND waiting + delayed + active = 0 FROM penny.queues WHERE name = 'normal'}) eq 't' }), 'all fail');
$node->restart;
$node->wait_ready;
ok($node->wait_until(sub { $node->sql('SELECT count(*) FROM penny.dead_letters') == 5 }), 'the last five are kept');
$node->sql('DELETE FROM public.broken');
is($node->sql(q{SELECT penny.redrive('normal', rate => 10)}), 5, 'redriven at a rate');
ok(runs_until(q{what ->> 'of' = 'rate'}, 5), 'they run');
my @times = split /\n/, $node->sql(q{SELECT extract(epoch FROM at - min(at) OVER ()) FROM public.runs WHERE what ->> 'of' = 'rate' ORDER BY at});
cmp_ok($times[4], '>', 0.3, 'one after the other') or diag("@times");
$node->sql(q{INSERT INTO public.broken VALUES (1)});
for (1 .. 2)
{
	my $dead = $node->sql(q{SELECT penny.enqueue('maybe', '{"n": 1}', key => 'once')});
	$node->wait_until(sub { $node->sql("SELECT penny.job($dead) ->> 'state'") eq 'failed' });
}
$node->sql('DELETE FROM public.broken');
for my $left (1, 0)
{
	is($node->sql(q{SELECT penny.redrive('normal')}), 1, 'of dead letters with one key the eldest is redriven');
	$node->wait_until(sub { $node->sql(q{SELECT count(*) FROM _penny.job_keys WHERE key = 'once'}) == 0 });
	is($node->sql('SELECT count(*) FROM penny.dead_letters'), $left, "$left left");
}
$node->sql(q{INSERT INTO public.broken VALUES (1); SELECT penny.create_queue('passing', rate_limit => NULL)});
my $left = $node->sql(q{SELECT penny.enqueue('maybe', '{"n": 1}', queue => 'passing')});
ok($node->wait_until(sub { $node->sql("SELECT penny.job($left) ->> 'state'") eq 'failed' }), 'a dead letter of a queue');
$node->sql(q{DELETE FROM public.broken; SELECT penny.drop_queue('passing'), penny.create_queue('other')});
is($node->sql("SELECT queue IS NULL FROM penny.dead_letters WHERE id = $left"), 't', 'that is dropped does not go to another');
my ($rc, $stdout, $stderr) = $node->psql('postgres', "SELECT penny.redrive($left)");
like($stderr, qr/queue of job $left does not exist any more/, 'and is not redriven');
$node->sql('INSERT INTO public.broken VALUES (1)');
my $forgotten = $node->sql(q{SELECT penny.enqueue('maybe', '{"n": 1}')});
ok($node->wait_until(sub { $node->sql("SELECT penny.job($forgotten) ->> 'state'") eq 'failed' }), 'one is kept');
$node->sql('DELETE FROM public.broken');

# ---- listeners ---------------------------------------------------------------------------

my $ws = $node->websocket(token => $node->token($ada));
is($ws->join_room("user:$ada")->{type}, 'joined', 'a user listens');
$node->act($ada, 'penny_user', q{SELECT penny.enqueue('note', '{"of": "ada"}')});
my $event = $ws->wait_type('event')->{event};
is($event->{type}, 'job.completed', 'and is told of its job');
is_deeply([ @{$event}{qw(kind result)} ], [ 'note', { noted => { of => 'ada' } } ], 'with the result') or diag(explain($event));
is($node->sql("SELECT user_id = '$ada' FROM penny.jobs WHERE id = $event->{id}"), 't', 'its id is that of the job');
my $talk = $node->add_conversation($ada);
is($ws->join_room("conversation:$talk")->{type}, 'joined', 'a room');
$node->act($ada, 'penny_agent', qq{SELECT penny.enqueue('maybe', '{"n": 1}', room => 'conversation:$talk')});
my $told = $ws->wait_for(sub { $_[0]{room} eq "conversation:$talk" && ($_[0]{event}{type} // '') =~ /^job/ });
is($told->{event}{type}, 'job.completed', 'is told what names it');
$node->sql('INSERT INTO public.broken VALUES (2)');
$node->act($ada, 'penny_agent', q{SELECT penny.enqueue('maybe', '{"n": 2}')});
$told = $ws->wait_for(sub { ($_[0]{event}{type} // '') eq 'job.failed' });
like($told->{event}{error}, qr/^job 2 is broken/, 'a failure with its error');
$node->act($ada, 'penny_agent', q{SELECT penny.cancel(penny.enqueue('nothing', key => 'c'))}) for 1 .. 1;
my $cancelled = $node->act($ada, 'penny_agent', q{SELECT penny.enqueue('nothing', key => 'd')});
$node->act($ada, 'penny_agent', q{SELECT penny.cancel_key('normal', 'd')});
$told = $ws->wait_for(sub { ($_[0]{event}{type} // '') eq 'job.cancelled' });
ok($told, 'and a job that was cancelled');
# Progress is told while the handler runs, before anything of it is committed.
$node->sql(q{CREATE FUNCTION public.slow(job jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM penny.progress('{"half": null}');
		PERFORM pg_advisory_xact_lock(204);
		RETURN NULL;
	END $$;
	SELECT penny.handle('slow', 'public.slow', access => 'user')});
$holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(204)');
$node->act($ada, 'penny_user', q{SELECT penny.enqueue('slow')});
$told = $ws->wait_for(sub { ($_[0]{event}{type} // '') eq 'job.progress' });
is_deeply($told->{event}{progress}, { half => undef }, 'progress is told at once');
is($node->sql("SELECT penny.job($told->{event}{id}) ->> 'progress', penny.job($told->{event}{id}) ->> 'state'"), '{"half": null}|active', 'and shown');
my $nobodys = $node->sql(q{SELECT penny.enqueue('slow', attempts => 1)});
my $http = $node->http;
$http->send_bytes($http->format_request('GET', "/api/v1/jobs/$nobodys?wait=30", token => $node->token($ada, 'penny_agent')));
ok(!$http->fill_until(sub { $http->{in} ne '' }, 0.5), 'a request waits for the end of a job of nobody');
$holder->query_safe('SELECT pg_advisory_unlock(204)');
$holder->quit;
is(($http->read_response(timeout => 15) // { json => { state => 'none' } })->{json}{state}, 'completed', 'and is answered when it ends');
$told = $ws->wait_for(sub { ($_[0]{event}{type} // '') eq 'job.completed' && $_[0]{event}{kind} eq 'slow' });
ok($told, 'then the end');
my ($id, $token) = split /\|/, $node->sql(q{SELECT penny.enqueue('outside', queue => 'keys') \g /dev/null
	SELECT id, token FROM penny.claim('keys')});
is($node->sql("SELECT penny.progress('0.5', $id, $token) \\g /dev/null\nSELECT penny.job($id) ->> 'progress'"), '0.5', 'a claimed job tells its progress');
$node->sql("SELECT penny.release(ARRAY[$id]::bigint[], ARRAY[$token]::bigint[])");
($rc, $stdout, $stderr) = $node->psql('postgres', "\\set VERBOSITY sqlstate\nSELECT penny.progress('0.6', $id, $token)");
like($stderr, qr/PY409/, 'and learns that it is not held any more');
my $bob = $node->add_user('Bob');
($rc, $stdout, $stderr) = $node->psql('postgres', qq{SELECT penny.act_as('$bob'); SELECT penny.enqueue('note', room => 'conversation:$talk')});
isnt($rc == 0 && $stderr eq '', 1, 'nobody names a room in which it may not speak') or diag($stdout);
# Nothing ends after that, so nothing but the setting itself has the number looked at.
$node->restart;
$node->wait_ready;
ok($node->wait_until(sub { $node->sql("SELECT (penny.queue_stats() ->> 'loaded')") eq 'true' }), 'a start has looked at what is kept');
$node->sql(q{SELECT pg_sleep(1), penny.alter_queue('normal', '{"keep_failed": 0}')});
ok($node->wait_until(sub { $node->sql("SELECT count(*) FROM penny.dead_letters WHERE id = $forgotten") == 0 }, 75), 'within a minute no more dead letters are kept than the queue says now');

$node->finish if $node->can('finish');
done_testing();
