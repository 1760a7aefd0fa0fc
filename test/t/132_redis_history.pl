# Redis with a past: restarted from an old RDB, replaced by a replica that has
# missed deletions, behind by more changes than the ring holds; requests
# that want it fresh; conversations that are gone; one connection for many readers.
# What Redis has may be old: nobody gets it from penny, and others find it for
# no longer than the lease says.
use strict;
use warnings;
use JSON::PP;
use Penny::Cluster;
use Penny::Redis;
use PostgreSQL::Test::Utils qw(append_to_file slurp_file);
use Test::More;
use Time::HiRes qw(time usleep);

plan skip_all => 'there is no redis-server' unless Penny::Redis::available();

# The cache has not room for all bodies, and a policy makes building them slow,
# so they are fetched from Redis whenever that has them.
my $dir = "$PostgreSQL::Test::Utils::tmp_check/redis132";
my $redis = Penny::Redis->start($dir, args => [ '--enable-debug-command', 'yes' ]);
my $node = Penny::Cluster->serving('history', conf => "penny.cache_size = 1MB\npenny.redis_url = '${\$redis->url}'\n"
	  . "penny.redis_command_timeout = 3s\npenny.redis_connect_timeout = 3s\npenny.redis_pool_max = 50\npenny.executors_min = 4\n");
my $ada = $node->add_user('Ada');
my $token = $node->token($ada);
my $http = $node->http(token => $token);
my $count = 20;
my @large = map { $node->add_conversation($ada, title => "large $_") } 1 .. $count;
say_in($_, 'text ' x 300, 50) for @large;
$node->sql(q{
	CREATE SCHEMA app;
	GRANT USAGE ON SCHEMA app TO penny_user;
	CREATE FUNCTION app.slow(uuid) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$BEGIN PERFORM pg_sleep(0.02); RETURN true; END$$;
	CREATE POLICY slow ON chat.conversations AS RESTRICTIVE FOR SELECT USING (app.slow(id));
});

sub say_in
{
	my ($id, $text, $times) = @_;
	$node->act($ada, 'penny_user', "SELECT count(penny.add_message('$id', 'user', '$text')) FROM generate_series(1, " . ($times // 1) . ')');
}

# One word more in each of them, by one transaction.
sub say_in_all
{
	my ($text) = @_;
	my $ids = join ', ', map { "'$_'" } @large;
	$node->act($ada, 'penny_user', "SELECT count(penny.add_message(id, 'user', '$text')) FROM unnest(ARRAY[$ids]::uuid[]) id");
}
sub state { return $node->sql_json('SELECT penny.cache_stats()')->{redis} }
sub comes { my ($what, $limit) = @_; return $node->wait_until($what, $limit // 20) }
sub connected
{
	my $now = state();
	return $now->{commands_up} && $now->{messages_up} && $now->{breaker} eq 'closed' && !$now->{sweep_wanted};
}
sub get { my ($id, @headers) = @_; return $http->request('GET', "/api/v1/conversations/$id", raw => 1, headers => \@headers) }
# None while the server is loading.
sub values_in
{
	my ($server) = @_;
	my $found = $server->command('MGET', map { "conv:$_" } @large);
	return ref $found ? @$found : ();
}
# Exactly these?  Not by is_deeply(), which would show them.
sub has { my ($server, @values) = @_; return join("\n", values_in($server)) eq join("\n", @values) }
sub lease { my ($server) = @_; return $server->command('GET', 'penny:lease') }
sub set
{
	my (%setting) = @_;
	while (my ($name, $value) = each %setting) { $node->adjust_conf('postgresql.conf', "penny.$name", "'$value'"); }
	$node->reload;
}

# All of them read and in Redis.  A fill is offered once, and Redis may be just being swept.
sub share
{
	my ($server) = @_;
	return comes(sub {
		my @values = values_in($server);
		my @missing = map { $large[$_] } grep { ($values[$_] // '') eq '' } 0 .. $#large;
		get($_, 'Cache-Control' => 'no-cache') for @missing;
		return !@missing;
	});
}

# How many of two readings of all do not know the text?
sub readings_without
{
	my ($text) = @_;
	return scalar grep { my $answer = get($_); $answer->{status} != 200 || index($answer->{body}, qq("content":"$text")) < 0 } @large, @large;
}

# The relay comes to nothing while the work is done.
sub without_relay
{
	my ($work) = @_;
	my ($pid) = $node->backend_pids('penny relay');
	kill 'STOP', $pid;
	eval { $work->() };
	kill 'CONT', $pid;
	die $@ if $@;
}

# The relay comes to a server with old values: they go, it is told, and there is
# no lease while one of them is there.
sub cleaned
{
	my ($server, $listener, @old) = @_;
	my ($misled, $looks) = (0, 0);
	ok(comes(sub {
		my @found = @{ $server->command('MGET', 'penny:lease', map { "conv:$_" } @large) };
		my $lease = shift @found;
		$looks++;
		$misled++ if $lease ne '' && grep { $found[$_] eq $old[$_] } 0 .. $#old;
		return $lease ne '';
	}), 'the lease comes') or diag(explain(state()));
	is($misled, 0, 'and not before the old values went');
	note("$looks looks");
	my @found = values_in($server);
	is(scalar(grep { $found[$_] eq $old[$_] } 0 .. $#old), 0, 'none of them is left');
	ok((grep { $_ eq '{"type":"all"}' } $listener->heard(5, 1)), 'everything is told to have changed');
	ok(comes(\&connected), 'connected');
}

ok(comes(\&connected), 'connected');

subtest 'restarted from an old RDB' => sub {
	ok(share($redis), 'values are there');
	my @old = values_in($redis);
	is($redis->command('SAVE'), 'OK', 'and saved');
	say_in_all('after the RDB');
	ok(comes(sub { !grep { $_ ne '' } values_in($redis) }), 'they are deleted');
	ok(share($redis), 'others come');
	my $listener;
	without_relay(sub {
		$redis->stop('KILL');
		$redis->run;
		ok(has($redis, @old), 'Redis has what it was saved with');
		my $before = state();
		is(readings_without('after the RDB'), 0, 'nobody gets that');
		cmp_ok(state()->{values_refused}, '>', $before->{values_refused}, 'though it was looked at') or diag(explain([ $before, state() ]));
		ok(has($redis, @old), 'it is all there still');
		$redis->command('DEBUG', 'POPULATE', 100_000, 'filler');
		$listener = $redis->client->subscribe;
		ok(comes(sub { lease($redis) eq '' }), 'the old lease, if any, is over');
	});
	cleaned($redis, $listener, @old);
	is(readings_without('after the RDB'), 0, 'what is read is right');
	ok(share($redis), 'values come again');
	is(scalar(grep { !/after the RDB/ } values_in($redis)), 0, 'and they are true');
};

subtest 'failover' => sub {
	my $second = Penny::Redis->start("${dir}b", args => [ '--replicaof', '127.0.0.1', $redis->{port} ]);
	# the address that clients know, whoever stands behind it
	my $front = bless { path => "$dir/front" }, 'Penny::Redis';
	symlink $redis->{path}, $front->{path} or die "symlink: $!";
	my ($proxy, $port) = $front->proxy('plain');
	set(redis_url => "redis://127.0.0.1:$port");
	ok(comes(sub { my ($relay) = $node->backend_pids('penny relay'); $relay && connected() && lease($redis) ne '' }), 'connected by the proxy');
	ok(share($redis), 'values are there');
	my @old = values_in($redis);
	ok(comes(sub { join('', values_in($second)) eq join('', @old) }), 'and at the replica');
	$second->command('REPLICAOF', '127.0.0.1', Penny::Cluster::free_port());
	say_in_all('not replicated');
	ok(comes(sub { !grep { $_ ne '' } values_in($redis) }), 'they are deleted');
	ok(share($redis), 'others come');
	ok(has($second, @old), 'the replica has heard of nothing');

	without_relay(sub {
		unlink $front->{path};
		symlink $second->{path}, $front->{path} or die "symlink: $!";
		$redis->stop('KILL');
		my $before = state();
		is(readings_without('not replicated'), 0, 'nobody gets what it has');
		cmp_ok(state()->{values_refused}, '>', $before->{values_refused}, 'though it was looked at') or diag(explain([ $before, state() ]));
		ok(has($second, @old), 'it is all there still');
		ok(comes(sub { lease($second) eq '' }), 'the old lease, if any, is over');
	});
	ok(comes(sub { $node->log_text =~ /Redis for commands.*READONLY/ }), 'a replica is no use for writing: the log says so');
	is(readings_without('not replicated'), 0, 'requests are served right');
	is(lease($second), '', 'there is no lease');
	my $listener = $second->client->subscribe;
	is($second->command('REPLICAOF', 'NO', 'ONE'), 'OK', 'promoted');
	cleaned($second, $listener, @old);
	is(readings_without('not replicated'), 0, 'what is read is right');
	ok(share($second), 'values come again');
	is(scalar(grep { !/not replicated/ } values_in($second)), 0, 'and they are true');

	# and back by the setting, to one with still older values
	$redis->run;
	$redis->command('SETEX', "conv:$large[$_]", 3600, $old[$_]) for 0 .. $#large;
	$listener = $redis->client->subscribe;
	set(redis_url => $redis->url);
	cleaned($redis, $listener, @old);
	is(readings_without('not replicated'), 0, 'what is read is right after a change of the setting, too');
	Penny::Redis::end_child($proxy);
	$second->stop;
};

subtest 'more changes than the ring holds' => sub {
	my $many = 900;
	$node->act($ada, 'penny_user', "SELECT count(penny.create_conversation('many')) FROM generate_series(1, $many)") for 1 .. 2;
	my $listener = $redis->client->subscribe;
	my $planted = 'conv:00000000-0000-4000-8000-000000000000';
	ok(comes(sub { connected() && state()->{changes_waiting} == 0 }), 'all is told');

	my $before = state();
	$redis->command('SET', $planted, 'old');
	$node->sql("UPDATE chat.conversations SET metadata = '{\"n\":0}' WHERE title = 'many'");
	ok(comes(sub { $redis->command('GET', $planted) eq '' }), 'very many in one transaction: a sweep');
	cmp_ok(state()->{sweeps}, '>', $before->{sweeps}, 'which is counted');
	ok(comes(\&connected), 'done');
	$listener->heard(0.5);

	share($redis);
	without_relay(sub {
		$before = state();
		ok(!$before->{sweep_wanted}, 'nothing is to be swept');
		$redis->command('SET', $planted, 'old');
		$redis->command('DEL', 'penny:lease');
		my $longest = $node->sql(qq{
			SET statement_timeout = '100s';
			CREATE TABLE app.took (ms float8);
			CREATE VIEW app.some AS SELECT id FROM chat.conversations WHERE title = 'many' ORDER BY id LIMIT $many;
			DO \$\$
			DECLARE at timestamptz; took float8 := 0;
			BEGIN
				FOR n IN 1 .. 75 LOOP
					UPDATE chat.conversations SET metadata = jsonb_build_object('n', n) WHERE id IN (SELECT id FROM app.some);
					at := clock_timestamp();
					COMMIT;
					took := greatest(took, extract(epoch FROM clock_timestamp() - at) * 1000);
				END LOOP;
				INSERT INTO app.took VALUES (took);
			END\$\$;
			SELECT round(ms) FROM app.took});
		cmp_ok($longest, '<', 10_000, 'no commit waits for room');
		note("longest commit: $longest ms");
		my $now = state();
		cmp_ok($now->{changes_waiting}, '>', 65536 - $many, 'the ring is full');
		cmp_ok($now->{changes_waiting}, '<=', 65536, 'and not more than full');
		cmp_ok($now->{changes_left_to_sweep}, '>', $before->{changes_left_to_sweep}, 'some had no room');
		ok($now->{sweep_wanted}, 'so everything is to be swept');
		my $answer = $http->request('POST', "/api/v1/conversations/$large[0]/messages", json => { role => 'user', content => 'no room' });
		is($answer->{status}, 201, 'a request that changes is served');
		like(get($large[0])->{body}, qr/no room/, 'and one that reads it');
		is($redis->command('GET', $planted), 'old', 'nothing was done yet');
	});
	ok(comes(sub { $redis->command('GET', $planted) eq '' }), 'it is swept');
	my $all = 0;
	ok(comes(sub { $all += grep { $_ eq '{"type":"all"}' } $listener->heard(0.1); $all }), 'and told');
	ok(comes(sub { my $now = state(); connected() && $now->{changes_waiting} == 0 }), 'the ring is empty again');
	is(scalar(grep { $_ ne '' && index($_, 'no room') < 0 } (values_in($redis))[0]), 0, 'no outdated value is left');
	$listener = $redis->client->subscribe;
	say_in($large[0], 'one by one');
	is_deeply([ $listener->heard(10, 1) ], [qq({"type":"conversation","id":"$large[0]"})], 'and changes are told one by one');
};

subtest 'fresh by request' => sub {
	ok(share($redis), 'values are there');
	my @old = values_in($redis);
	without_relay(sub {
		say_in_all('fresh');
		ok(has($redis, @old), 'Redis has the old ones still');
		for my $wish ('max-age=0', 'no-cache', 'no-store')
		{
			my %mark;
			my $wrong = 0;
			my $before = state();
			for my $id (@large)
			{
				my $answer = get($id, 'Cache-Control' => $wish);
				$mark{ $answer->{header}{'x-cache'} }++;
				$wrong++ unless $answer->{body} =~ /"content":"fresh"/;
			}
			is($wrong, 0, "$wish: right");
			next if $wish eq 'max-age=0';    # what is in memory is true at that moment: it may be had
			is_deeply(\%mark, { ($wish eq 'no-cache' ? 'miss' : 'bypass') => scalar @large }, "$wish: built anew");
			is(state()->{gets}, $before->{gets}, "$wish: Redis was not asked");
		}
		is(readings_without('fresh'), 0, 'what they left behind is right');
	});
	ok(comes(sub { !grep { my $value = $_; grep { $_ eq $value } @old } grep { $_ ne '' } values_in($redis) }), 'the old ones go');
	$node->sql("UPDATE chat.conversations SET title = 'outside' WHERE id = '$large[1]'");
	like(get($large[1], 'Cache-Control' => 'no-cache')->{body}, qr/outside/, 'after a change by another way, too');
};

subtest 'a conversation that is gone' => sub {
	my $id = $large[2];
	ok(share($redis), 'a value');
	my $old = $redis->command('GET', "conv:$id");
	my $listener = $redis->client->subscribe;
	$node->act($ada, 'penny_user', "SELECT penny.delete_conversation('$id')");
	is_deeply([ $listener->heard(10, 1) ], [qq({"type":"conversation","id":"$id"})], 'it is told');
	ok(comes(sub { $redis->command('GET', "conv:$id") eq '' }), 'and the value deleted');
	$redis->command('SETEX', "conv:$id", 3600, $old);
	for my $wish ('', 'no-cache', 'max-age=0', '')
	{
		is(get($id, $wish eq '' ? () : ('Cache-Control' => $wish))->{status}, 404, "put back it does not come to life ($wish)");
	}
	is($redis->command('GET', "conv:$id"), $old, 'it is there still');

	# another with its id
	$node->act($ada, 'penny_user', "SELECT penny.create_conversation('another', NULL, '$id')");
	say_in($id, 'another text ' . 'x' x 400, 50);
	ok(comes(sub { $redis->command('GET', "conv:$id") eq '' }), 'another by its id: deleted');
	my $wrong = 0;
	my $before = state();
	for (1 .. 3)
	{
		$redis->command('SETEX', "conv:$id", 3600, $old);
		$wrong++ unless get($id)->{body} =~ /"title":"another"/;
		get($_) for grep { $_ ne $id } @large;
		$redis->command('SETEX', "conv:$id", 3600, $old);
		$wrong++ unless get($id)->{body} =~ /"title":"another"/;
	}
	is($wrong, 0, 'the value of the first is never given for it');
	cmp_ok(state()->{values_refused}, '>', $before->{values_refused}, 'though it was looked at');
};

# Children that read for so many seconds, each some of the conversations: who asks
# for what another is being given waits with it.  What they noted, all together.
sub readers
{
	my ($number, $seconds, $text) = @_;
	my @files = map {
		my $first = $_;
		my @own = map { $large[$_] } grep { $_ % $number == $first } 0 .. $#large;
		my $file = "$dir/readers" . ++$count;
		Penny::Redis::in_child(sub {
			my $client = $node->http(token => $token);
			my %did = (reads => 0, wrong => 0, waited => 0, longest => 0);
			my $until = time() + $seconds;
			while ((my $begun = time()) < $until)
			{
				my $answer = $client->request('GET', "/api/v1/conversations/$own[ rand @own ]", raw => 1);
				my $took = time() - $begun;
				$did{reads}++;
				$did{wrong}++ unless $answer && $answer->{status} == 200 && index($answer->{body}, qq("content":"$text")) >= 0;
				$did{waited}++ if $took > 2.7;
				$did{longest} = $took if $took > $did{longest};
			}
			append_to_file("$file.new", encode_json(\%did));
			rename "$file.new", $file;
		});
		$file
	} 0 .. $number - 1;
	my $most = 0;
	comes(sub { my $now = state()->{connections}; $most = $now if $now > $most; return !grep { !-e } @files }, $seconds + 30);
	my %all = (reads => 0, wrong => 0, waited => 0, longest => 0, most => $most);
	for my $did (map { -e $_ ? decode_json(slurp_file($_)) : { wrong => 1 } } @files)
	{
		$all{$_} += $did->{$_} // 0 for qw(reads wrong waited);
		$all{longest} = $did->{longest} if ($did->{longest} // 0) > $all{longest};
	}
	note(encode_json(\%all));
	return \%all;
}

subtest 'one connection for many readers' => sub {
	say_in_all('for many');
	ok(share($redis), 'values are there');
	my $did = readers(6, 1.5, 'for many');
	is($did->{wrong}, 0, 'with many connections all is right');
	cmp_ok($did->{most}, '>', 1, 'and several are used');

	set(redis_pool_max => 1);
	get($_) for @large;
	ok(comes(sub { get($large[ rand @large ]); state()->{connections} <= 1 }), 'with one allowed those above it are given up');
	share($redis);
	my $before = state();
	$did = readers(6, 2, 'for many');
	my $after = state();
	is($did->{wrong}, 0, 'all is right');
	is($did->{waited}, 0, 'nobody waits');
	cmp_ok($did->{most}, '<=', 1, 'there is never a second');
	cmp_ok($after->{get_skipped_pool}, '>', $before->{get_skipped_pool}, 'who found it taken asked the database');
	cmp_ok($after->{gets}, '>', $before->{gets}, 'and some asked Redis');

	# Who has the connection waits for its answer, and nobody else does.
	$redis->signal('STOP');
	$did = readers(6, 5, 'for many');
	$redis->signal('CONT');
	is($did->{wrong}, 0, 'Redis stopped: all is right');
	# whether any does: reads that lose against the database are skipped for a while
	cmp_ok($did->{waited}, '<=', 4, 'one at a time waits at most');
	cmp_ok($did->{longest}, '<', 8, 'and not beyond the timeouts');
	cmp_ok($did->{reads}, '>', 50, 'while the others read on');
	ok(comes(\&connected), 'connected again');
	set(redis_pool_max => 50);
};

is($node->crash_restarts, 0, 'no crash');
unlike($node->log_text, qr/PANIC|terminated by signal/, 'no process was lost');
done_testing;
