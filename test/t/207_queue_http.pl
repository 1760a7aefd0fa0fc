# Jobs over HTTP: enqueuing, asking and waiting, cancelling, external workers, who
# may do what, and the rooms of the queue.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = Penny::Cluster->serving('queuehttp', conf => "penny.executors_min = 2\npenny.job_workers = 2\n");
my %user = map { $_ => $node->add_user($_) } qw(ada eve agent);
my %token = map { $_ => $node->token($user{$_}, $_ eq 'agent' ? 'penny_agent' : 'penny_user') } keys %user;
my $api = '/api/v1/jobs';
$node->sql(q{
	SELECT penny.create_queue('ext', concurrency => NULL, rate_limit => NULL, backoff => '0 s');
	SELECT penny.create_queue('sql', concurrency => NULL, rate_limit => NULL, backoff => '0 s', attempts => 1);
	CREATE TABLE gate (open boolean);
	INSERT INTO gate VALUES (true);
	CREATE FUNCTION gated(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
		BEGIN PERFORM FROM gate FOR SHARE; RETURN p -> 'give'; END $$;
	CREATE FUNCTION broken(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no luck'; END $$;
	CREATE FUNCTION far(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
		BEGIN PERFORM penny.progress('{"percent": 40}'); PERFORM pg_sleep(600); RETURN NULL; END $$;
	SELECT penny.handle(f, function => f, queue => 'sql', access => 'user') FROM unnest('{gated,broken,far}'::text[]) f;
	SELECT penny.handle('task', queue => 'ext', access => 'user')});

sub begin
{
	my ($who, $method, $path, %with) = @_;
	my $http = $node->http(token => $token{$who});
	$http->send_bytes($http->format_request($method, $path, %with));
	return $http;
}
sub ask { my ($who, $method, $path, $json) = @_; return $node->http(token => $token{$who})->request($method, $path, defined $json ? (json => $json) : ()) }
sub held
{
	my ($n) = @_;
	return $node->wait_until(
		sub {
			my $held = 0;
			$held += $_->{edge}{held} for @{ $node->sql_json('SELECT penny.stats()')->{gateways} };
			return $held == $n;
		},
		20);
}
# Handlers wait at the gate while this holds.
sub closed
{
	my $session = $node->background_psql('postgres');
	$session->query_safe('BEGIN; SELECT * FROM gate FOR UPDATE');
	return $session;
}
sub claims { return ask('agent', POST => "/api/v1/queues/$_[0]/claim", $_[1] // {})->{json}{data} }

subtest 'enqueue, ask, wait' => sub {
	my $made = ask('ada', POST => $api, { kind => 'gated', payload => { give => 7 } });
	is($made->{status}, 201, 'enqueued') or diag $made->{body};
	like($made->{json}{id}, qr/^\d+$/, 'the id is a string');
	like($made->{body}, qr/"id":\s*"/, 'of JSON');
	is($made->{header}{location}, "$api/$made->{json}{id}", 'its place');
	my $got = ask('ada', GET => "$api/$made->{json}{id}?wait=20");
	is("$got->{status} $got->{json}{state} $got->{json}{result}", '200 completed 7', 'its result') or diag $got->{body};

	my $gate = closed();
	my $waits = begin('ada', POST => "$api?wait=20", json => { kind => 'gated', payload => { give => { a => 1 } } });
	ok(held(1), 'a request that waits is kept by the edge');
	$gate->query_safe('COMMIT');
	$got = $waits->read_response;
	is("$got->{status} $got->{json}{state} $got->{json}{result}{a}", '200 completed 1', 'until the end of its job');
	unlike(join("\n", @{ $got->{header_lines} }), qr/^penny-/mi, 'nothing of the edge is told');

	$gate->query_safe('BEGIN; SELECT * FROM gate FOR UPDATE');
	my $started = time;
	$got = ask('ada', POST => "$api?wait=0.5", { kind => 'gated' });
	like("$got->{status} $got->{json}{state}", qr/^202 (waiting|active)$/, 'or until the time is over');
	cmp_ok(time - $started, '>=', 0.5, 'not before');
	$waits = begin('ada', GET => "$api/$got->{json}{id}?wait=20");
	ok(held(1), 'asked again, it waits again');
	$gate->query_safe('COMMIT');
	is($waits->read_response->{json}{state}, 'completed', 'until the end');
	$gate->quit;

	$got = ask('ada', POST => "$api?wait=20", { kind => 'broken' });
	is("$got->{status} $got->{json}{state} $got->{json}{error}", "200 failed no luck", 'a failure') or diag $got->{body};
	is($got->{json}{errors}[0]{attempt}, 1, 'with its errors');
};

subtest 'jobs of which nobody is told' => sub {
	my $gate = closed();
	my @jobs = split /\n/, $node->sql(q{SELECT unnest(penny.enqueue_many('gated', array_agg('{}'::jsonb))) FROM generate_series(1, 20)});
	my @waits = map { begin('agent', GET => "$api/$_?wait=30") } @jobs[ 0, 7, 19 ];
	ok(held(3), 'three of twenty are waited for');
	my $started = time;
	$gate->query_safe('COMMIT');
	is($_->read_response->{json}{state}, 'completed', 'told') for @waits;
	cmp_ok(time - $started, '<', 10, 'at once');
	$gate->quit;
	ok($node->wait_until(sub { $node->sql("SELECT count(*) FROM penny.jobs WHERE id BETWEEN $jobs[0] AND $jobs[19] AND state = 'completed'") == 20 }, 20), 'all have completed');

	# one that is being completed when somebody begins to wait
	my $job = $node->sql("SELECT penny.enqueue('task')");
	my ($claim) = @{ claims('ext') };
	my $session = $node->background_psql('postgres');
	$session->query_safe("BEGIN; SELECT penny.complete('{$claim->{id}}'::bigint[], '{$claim->{token}}'::bigint[])");
	my $waits = begin('agent', GET => "$api/$job?wait=30");
	ok(held(1), 'waited for while its end is being recorded');
	$session->query_safe('COMMIT');
	is($waits->read_response->{json}{state}, 'completed', 'told, too');
	$session->quit;
};

subtest 'cancel and progress' => sub {
	my $ws = $node->websocket(token => $token{ada});
	$ws->join_room("user:$user{ada}");
	my $made = ask('ada', POST => $api, { kind => 'far' });
	my $id = $made->{json}{id};
	my $event = $ws->wait_for(sub { ($_[0]{event}{type} // '') eq 'job.progress' });
	is_deeply($event->{event}, { type => 'job.progress', id => $id, kind => 'far', progress => { percent => 40 } }, 'progress is told while it runs');
	is(ask('ada', GET => "$api/$id")->{json}{progress}{percent}, 40, 'and shown');
	my $waits = begin('ada', GET => "$api/$id?wait=30");
	ok(held(1), 'waited for');
	is(ask('eve', DELETE => "$api/$id")->{status}, 404, 'another user has no such job');
	is(ask('ada', DELETE => "$api/$id")->{status}, 204, 'cancelled');
	is($waits->read_response->{json}{state}, 'cancelled', 'who waits is told');
	is($ws->wait_for(sub { ($_[0]{event}{type} // '') eq 'job.cancelled' })->{event}{id}, $id, 'the user, too');
	is(ask('ada', DELETE => "$api/$id")->{status}, 409, 'once');
	is(ask('ada', DELETE => "$api/12345678")->{status}, 404, 'no such job');

	my $job = ask('ada', POST => $api, { kind => 'task' })->{json}{id};
	my ($claim) = @{ claims('ext', { worker => 'crane' }) };
	is($claim->{id}, $job, 'an external job');
	my $said = ask('agent', POST => "$api/progress", { jobs => [ { id => $job, token => $claim->{token}, progress => 0.5 } ] });
	is("$said->{status} $said->{json}{told}", '200 1', 'its progress') or diag $said->{body};
	is($ws->wait_for(sub { ($_[0]{event}{type} // '') eq 'job.progress' })->{event}{progress}, 0.5, 'is told');
	is(ask('ada', GET => "$api/$job")->{json}{worker}, 'crane', 'and by whom it is held');
	is(ask('agent', POST => "$api/progress", { jobs => [ { id => $job, token => '1', progress => 0.5 } ] })->{status}, 409, 'of another token');
	is(ask('agent', POST => "$api/progress", { jobs => [ { id => $job, token => $claim->{token}, progress => 'x' x 9000 } ] })->{status}, 413, 'too much of it');
	is(ask('agent', POST => "$api/complete", { jobs => [ { id => $job, token => $claim->{token}, result => [1] } ] })->{json}{completed}, 1, 'completed');
	is_deeply($ws->wait_for(sub { ($_[0]{event}{type} // '') eq 'job.completed' })->{event}, { type => 'job.completed', id => $job, kind => 'task', result => [1] }, 'told');
};

subtest 'external workers' => sub {
	my $first = begin('agent', POST => '/api/v1/queues/ext/claim?wait=30', json => { worker => 'a', n => 2 });
	my $second = begin('agent', POST => '/api/v1/queues/ext/claim?wait=30', json => { worker => 'b', n => 2 });
	ok(held(2), 'two wait for jobs');
	my $job = $node->sql("SELECT penny.enqueue('task', '{\"a\": 1}', key => 'k', group_key => 'g')");
	ok(held(1), 'a job wakes one');
	$node->sql("SELECT penny.enqueue('task')");
	my @got = map { @{ $_->read_response->{json}{data} } } $first, $second;
	is(scalar @got, 2, 'both have got one');
	my ($claim) = grep { $_->{id} eq $job } @got;
	my ($other) = grep { $_->{id} ne $job } @got;
	is_deeply([ @$claim{qw(kind attempt payload key group)} ], [ 'task', 1, { a => 1 }, 'k', 'g' ], 'the job');
	like($claim->{token}, qr/^\d+$/, 'and a token');
	my $at = sub { my ($of, %more) = @_; return { id => $of->{id}, token => $of->{token}, %more } };
	is_deeply(ask('agent', POST => "$api/extend", { jobs => [ $at->($claim), { id => $job, token => '5' } ], lease_ms => 90000 })->{json}{held}, [ JSON::PP::true, JSON::PP::false ], 'extended');
	my $waits = begin('agent', POST => '/api/v1/queues/ext/claim?wait=30', json => {});
	held(1);
	is(ask('agent', POST => "$api/release", { jobs => [ $at->($claim) ] })->{json}{released}, 1, 'given back');
	($claim) = @{ $waits->read_response->{json}{data} };
	is($claim->{id}, $job, 'comes to who waits');
	$waits = begin('agent', POST => '/api/v1/queues/ext/claim?wait=30', json => { lease_ms => 300 });
	held(1);
	is(ask('agent', POST => "$api/fail", { jobs => [ $at->($claim, error => 'x', retry_in_ms => 300) ] })->{json}{failed}, 1, 'failed');
	($claim) = @{ $waits->read_response->{json}{data} };
	is("$claim->{id} $claim->{attempt}", "$job 2", 'a retry, when its time has come');
	$waits = begin('agent', POST => '/api/v1/queues/ext/claim?wait=30', json => {});
	($claim) = @{ $waits->read_response->{json}{data} };
	is("$claim->{id} $claim->{attempt}", "$job 3", 'a lease that ends');
	is(ask('agent', POST => "$api/complete", { jobs => [ $at->($claim), { id => $other->{id}, token => '1' } ] })->{status}, 409, 'all or none: one is stale');
	is(ask('agent', POST => "$api/complete", { jobs => [ $at->($claim), $at->($other, result => undef) ] })->{json}{completed}, 2, 'all');

	$waits = begin('agent', POST => '/api/v1/queues/ext/claim?wait=30', json => {});
	held(1);
	$job = $node->sql("SELECT penny.enqueue('task', delay => '0.7 s')");
	is($waits->read_response->{json}{data}[0]{id}, $job, 'a delayed job when it is due');
	$node->sql("SELECT penny.cancel($job); SELECT penny.pause_queue('ext'); SELECT penny.enqueue('task')");
	$waits = begin('agent', POST => '/api/v1/queues/ext/claim?wait=30', json => {});
	ok(held(1), 'a paused queue gives nothing');
	$node->sql("SELECT penny.resume_queue('ext')");
	($claim) = @{ $waits->read_response->{json}{data} };
	ok($claim, 'until it goes on');
	$node->sql("SELECT penny.alter_queue('ext', '{\"concurrency\": 1}'); SELECT penny.enqueue('task')");
	$waits = begin('agent', POST => '/api/v1/queues/ext/claim?wait=30', json => {});
	ok(held(1), 'at the limit nothing is given');
	ask('agent', POST => "$api/complete", { jobs => [ $at->($claim) ] });
	($claim) = @{ $waits->read_response->{json}{data} };
	ok($claim, 'until one ends');
	$node->sql("SELECT penny.alter_queue('ext', '{\"concurrency\": null}')");
	ask('agent', POST => "$api/complete", { jobs => [ $at->($claim) ] });
	my $started = time;
	is_deeply(ask('agent', POST => '/api/v1/queues/ext/claim?wait=0.4', {})->{json}{data}, [], 'nothing when the time is over');
	cmp_ok(time - $started, '>=', 0.4, 'not before');
};

subtest 'rooms' => sub {
	my $agent = $node->websocket(token => $token{agent});
	$agent->join_room('queue:ext');
	$node->sql("SELECT penny.enqueue('task')");
	is_deeply($agent->wait_for(sub { ($_[0]{room} // '') eq 'queue:ext' && $_[0]{type} eq 'event' })->{event}, { type => 'jobs.ready' }, 'agents are told that there are jobs');
	my $ada = $node->websocket(token => $token{ada});
	for my $case ([ $ada, 'queue:ext' ], [ $ada, 'job:1' ], [ $agent, 'job:1' ])
	{
		my ($ws, $room) = @$case;
		is($ws->call({ type => 'join', room => $room })->{type}, 'error', "$room is closed to " . ($ws == $ada ? 'users' : 'agents'));
	}
	for my $room ('queue:ext', 'job:1')
	{
		my ($rc, undef, $err) = $node->psql('postgres', "SELECT penny.publish('$room', '{}')");
		like($err, qr/nobody can publish/, "nobody speaks in $room");
	}
	$node->sql("SELECT penny.cancel(id) FROM penny.jobs WHERE queue = 'ext' AND state = 'waiting'");
};

subtest 'who may do what' => sub {
	my $job = ask('ada', POST => $api, { kind => 'task' })->{json}{id};
	for my $of ([ GET => "$api/$job" ], [ GET => "$api/$job?wait=5" ], [ DELETE => "$api/$job" ])
	{
		is(ask('eve', @$of)->{status}, 404, "eve: $of->[0] of ada's job");
		like(ask('agent', @$of)->{status}, qr/^20/, 'an agent may') if $of->[0] eq 'GET' && $of->[1] !~ /wait/;
	}
	is(ask('ada', POST => '/api/v1/queues/ext/claim', {})->{status}, 403, 'users do not claim');
	for my $verb (qw(complete fail extend release progress))
	{
		is(ask('ada', POST => "$api/$verb", { jobs => [ { id => $job, token => '1' } ] })->{status}, 403, "nor $verb");
	}
	my ($claim) = @{ claims('ext') };
	is($claim->{id}, $job, 'nothing has happened to it');
	for my $sql ("SELECT penny.complete($job, $claim->{token})", "SELECT * FROM penny.claim('ext')", "SELECT penny.release('{$job}', '{$claim->{token}}')",
		"SELECT penny.progress('1', $job, $claim->{token})")
	{
		my ($rc, undef, $err) = $node->psql('postgres', "BEGIN; SELECT penny.act_as('$user{eve}', 'penny_user'); $sql");
		like($err, qr/permission denied|needs role penny_agent/, "$sql: for agents");
	}
	is($node->act($user{eve}, 'penny_user', "SELECT penny.cancel($job)"), 'f', "cancel: one's own alone");
	is($node->act($user{ada}, 'penny_user', "SELECT penny.cancel($job)"), 't', 'which one may, also when it is claimed');
	is(ask('agent', POST => "$api/complete", { jobs => [ { id => $job, token => $claim->{token} } ] })->{status}, 409, 'the claim is void');
};

subtest 'bad input' => sub {
	my @cases = (
		[ POST => $api, {}, 400, qr/kind/ ],
		[ POST => $api, { kind => 5 }, 400, qr/kind/ ],
		[ POST => $api, { kind => 'no spaces' }, 400, qr/kind/i ],
		[ POST => $api, { kind => 'task', priority => 1.5 }, 400, qr/priority/ ],
		[ POST => $api, { kind => 'task', priority => 3e9 }, 400, qr/priority/ ],
		[ POST => $api, { kind => 'task', delay_ms => -1 }, 400, qr/delay_ms/ ],
		[ POST => $api, { kind => 'task', run_at => 'tomorrow' }, 400, qr/run_at/ ],
		[ POST => $api, { kind => 'task', run_at => '2030-02-31T00:00:00Z' }, 400 ],
		[ POST => $api, { kind => 'task', attempts => 0 }, 400, qr/attempts/ ],
		[ POST => $api, { kind => 'task', queue => 'nowhere' }, qr/^4/, qr/nowhere/ ],
		[ POST => $api, { kind => 'task', key_mode => 'x', key => 'k' }, 400 ],
		[ POST => $api, { kind => 'task', colour => 'red' }, 400, qr/colour/ ],
		[ POST => $api, { kind => 'task', key => 'x' x 3000 }, qr/^4/ ],
		[ POST => $api, [], 400 ],
		[ POST => "$api?wait=x", { kind => 'task' }, 400, qr/wait/ ],
		[ POST => "$api?wait=61", { kind => 'task' }, 400, qr/wait/ ],
		[ POST => "$api?wiat=1", { kind => 'task' }, 400 ],
		[ GET => "$api/x", undef, 404 ],
		[ GET => "$api/99999999999999999999", undef, 404 ],
		[ GET => "$api/-1", undef, 404 ],
		[ GET => "$api/0", undef, 404 ],
		[ GET => "$api/1?wait=-1", undef, 400, qr/wait/ ],
		[ DELETE => "$api/999999999999999999", undef, 404 ],
		[ POST => '/api/v1/queues/nowhere/claim', {}, 404, qr/nowhere/ ],
		[ POST => '/api/v1/queues/ext/claim', { n => 0 }, 400, qr/\\"n\\"/ ],
		[ POST => '/api/v1/queues/ext/claim', { n => 1001 }, 400, qr/\\"n\\"/ ],
		[ POST => '/api/v1/queues/ext/claim', { lease_ms => 1 }, 400, qr/lease/ ],
		[ POST => '/api/v1/queues/ext/claim', { worker => 5 }, 400, qr/worker/ ],
		[ POST => "$api/complete", {}, 400, qr/jobs/ ],
		[ POST => "$api/complete", { jobs => [] }, 400, qr/jobs/ ],
		[ POST => "$api/complete", { jobs => [5] }, 400, qr/jobs\[0\]/ ],
		[ POST => "$api/complete", { jobs => [ { id => 1, token => '1' } ] }, 400, qr/id/ ],
		[ POST => "$api/complete", { jobs => [ { id => '1' } ] }, 400, qr/token/ ],
		[ POST => "$api/complete", { jobs => [ { id => '1', token => '99999999999999999999' } ] }, 400, qr/token/ ],
		[ POST => "$api/complete", { jobs => [ { id => '1', token => '1', error => 'x' } ] }, 400, qr/error/ ],
		[ POST => "$api/complete", { jobs => [ map { { id => "$_", token => '1' } } 1 .. 1001 ] }, 400, qr/jobs/ ],
		[ POST => "$api/fail", { jobs => [ { id => '1', token => '1' } ] }, 400, qr/error/ ],
		[ POST => "$api/fail", { jobs => [ { id => '1', token => '1', error => 'x', retry_in_ms => -5 } ] }, 400, qr/retry_in_ms/ ],
		[ POST => "$api/fail", { jobs => [ { id => '1', token => '1', error => 'x', permanent => 1 } ] }, 400, qr/permanent/ ],
		[ POST => "$api/extend", { jobs => [ { id => '1', token => '1' } ], lease_ms => 'x' }, 400, qr/lease_ms/ ],
		[ POST => "$api/progress", { jobs => [ { id => '1', token => '1' } ] }, 400, qr/progress/ ],
		[ POST => "$api/complete", { jobs => [ { id => '1', token => '1' } ] }, 409 ]);
	my $before = $node->sql('SELECT count(*) FROM penny.jobs');
	for my $case (@cases)
	{
		my ($method, $path, $body, $status, $detail) = @$case;
		my $answer = ask('agent', $method, $path, $body);
		my $name = "$method $path " . substr(defined $body ? JSON::PP->new->canonical->encode($body) : '', 0, 60);
		like($answer->{status}, ref $status ? $status : qr/^$status$/, $name) or diag $answer->{body};
		like($answer->{header}{'content-type'}, qr{^application/problem\+json}, 'a problem document');
		like($answer->{body}, $detail, 'that says what') if $detail;
	}
	is($node->sql('SELECT count(*) FROM penny.jobs'), $before, 'nothing was stored');
};

$node->stop;
done_testing();
