# What penny shares with a real Redis, seen by a client and a subscriber of
# their own: values, deletions and messages after commits and not after
# rollbacks, what others say, and values that are not to be trusted.
use strict;
use warnings;
use Penny::Cluster;
use Penny::Redis;
use Test::More;
use Time::HiRes qw(time usleep);

plan skip_all => 'there is no redis-server' unless Penny::Redis::available();

my $dir = "$PostgreSQL::Test::Utils::tmp_check/redis130";
my $redis = Penny::Redis->start($dir);
my $node = Penny::Cluster->serving('redis', conf => "penny.cache_size = 1MB\npenny.redis_url = '${\$redis->url}'\npenny.redis_prefix = ''\npenny.redis_password_file = ''\n");
my $ada = $node->add_user('Ada');
my $http = $node->http(token => $node->token($ada));

sub state { return $node->sql_json('SELECT penny.cache_stats()')->{redis} }
sub connected
{
	my $now = state();
	return $now->{commands_up} && $now->{messages_up} && $now->{breaker} eq 'closed' && !$now->{sweep_wanted};
}
sub get { my ($id) = @_; return $http->request('GET', "/api/v1/conversations/$id") }
sub comes { my ($what, $limit) = @_; return $node->wait_until($what, $limit // 20) }
sub value { my ($id) = @_; return $redis->command('GET', "conv:$id") }
# Have it filled until the value is there: a fill is offered once, and Redis may be just being swept.
sub shared
{
	my ($id) = @_;
	return comes(sub {
		$http->request('GET', "/api/v1/conversations/$id", headers => [ 'Cache-Control' => 'no-cache' ]);
		$node->wait_until(sub { value($id) ne '' }, 1);
	});
}
sub say_in { my ($id, $text) = @_; $node->act($ada, 'penny_user', "SELECT penny.add_message('$id', 'user', '$text')") }
sub without_seal { my ($text) = @_; $text =~ s/,"_penny":\{[^{}]*\}\}$/}/; return $text }
sub doctor { return $node->sql(q{SELECT ok, detail FROM penny.doctor() WHERE "check" = 'redis'}) }

ok(comes(\&connected), 'penny relay has its connections') or diag(explain(state()));
is(scalar(my @relays = $node->backend_pids('penny relay')), 1, 'one relay');
like(doctor(), qr/^t\|connected/, 'doctor() agrees');
my $subscriber = $redis->client->subscribe;
my $talk = $node->add_conversation($ada, messages => 2);
$subscriber->heard(1);

subtest 'values' => sub {
	ok(shared($talk), 'the conversation is under conv:<id> when it was read');
	my $answer = get($talk);
	is(without_seal(value($talk)), $answer->{body}, 'it is the body that clients get, and a seal');
	like(value($talk), qr/^\{.*,"_penny":\{"v":1,"token":"[0-9a-f]{16}","hash":"[0-9a-f]{32}","head":"[0-9a-f]*","mac":"[0-9a-f]{64}","size":"\d{6}"\}\}$/s, 'a seal of this form');
	ok(eval { JSON::PP->new->utf8->decode(value($talk))->{id} eq $talk }, 'all of it is JSON');
	my $ttl = $redis->command('TTL', "conv:$talk");
	cmp_ok($ttl, '<=', 3600, 'for an hour at most');
	cmp_ok($ttl, '>', 3500, 'and hardly less');
	get("$talk?limit=1");
	usleep(300_000);
	unlike(value($talk), qr/"limit"/, 'other pages are not put there');
	is(scalar @{ JSON::PP->new->utf8->decode(value($talk))->{messages} }, 2, 'the value is still the whole');
};

subtest 'lease' => sub {
	ok(comes(sub { $redis->command('GET', 'penny:lease') ne '' }), 'there is one');
	my $ttl = $redis->command('PTTL', 'penny:lease');
	cmp_ok($ttl, '<=', 3000, 'for three seconds at most');
	usleep(3_500_000);
	isnt($redis->command('GET', 'penny:lease'), '', 'and it is renewed');
};

subtest 'after a commit' => sub {
	my $told = qr/^\{"type":"conversation","id":"$talk"\}$/;
	$redis->command('SET', "conv:$talk:messages", 'mine');
	$redis->command('SET', "conv:$talk:artifacts", 'mine');
	$redis->command('SET', "conv:$talk:other", 'mine');
	$subscriber->heard(0.3);
	my $open = $node->background_psql('postgres');
	$open->query_safe("BEGIN");
	$open->query_safe("SELECT penny.act_as('$ada', 'penny_user')");
	$open->query_safe("SELECT penny.add_message('$talk', 'user', 'third')");
	is_deeply([ $subscriber->heard(0.5) ], [], 'nothing is said before it');
	isnt(value($talk), '', 'and nothing deleted');
	$open->query_safe('COMMIT');
	my @heard = $subscriber->heard(10, 1);
	like($heard[0] // 'nothing', $told, 'it is told then');
	ok(comes(sub { value($talk) eq '' }), 'the value is gone');
	is($redis->command('EXISTS', "conv:$talk:messages", "conv:$talk:artifacts"), 0, 'with both that belong to it');
	is($redis->command('GET', "conv:$talk:other"), 'mine', 'others are not touched');
	is_deeply([ $subscriber->heard(0.5) ], [], 'one message for one change');

	ok(shared($talk), 'it is there again after the next read');
	like(value($talk), qr/third/, 'with the new message');
	$open->query_safe('BEGIN');
	$open->query_safe("SELECT penny.act_as('$ada', 'penny_user')");
	$open->query_safe("SELECT penny.add_message('$talk', 'user', 'never')");
	$open->query_safe('ROLLBACK');
	is_deeply([ $subscriber->heard(1) ], [], 'a rollback is not told');
	isnt(value($talk), '', 'and deletes nothing');
	$open->quit;

	my @many = map { $node->add_conversation($ada) } 1 .. 5;
	$subscriber->heard(1);
	$node->sql('UPDATE chat.conversations SET title = title || \'!\' WHERE id IN (' . join(', ', map { "'$_'" } @many) . ')');
	@heard = $subscriber->heard(10, 5);
	is_deeply([ sort @heard ], [ sort map { qq({"type":"conversation","id":"$_"}) } @many ], 'each of those that a statement changes');
};

subtest 'own messages do no harm' => sub {
	my $before = state();
	say_in($talk, "more $_") for 1 .. 20;
	ok(comes(sub { state()->{messages_of_own} >= $before->{messages_of_own} + 20 }), 'they come back');
	is(state()->{messages_of_others}, $before->{messages_of_others}, 'and are known as own');
};

subtest 'prepared transactions' => sub {
	ok(shared($talk), 'a value');
	$subscriber->heard(0.3);
	$node->act($ada, 'penny_user', "SELECT penny.add_message('$talk', 'user', 'prepared'); PREPARE TRANSACTION 'one'");
	is_deeply([ $subscriber->heard(1) ], [], 'PREPARE is not told');
	isnt(value($talk), '', 'and deletes nothing');
	$node->sql("COMMIT PREPARED 'one'");
	is_deeply([ $subscriber->heard(10, 1) ], [qq({"type":"conversation","id":"$talk"})], 'COMMIT PREPARED is');
	ok(comes(sub { value($talk) eq '' }), 'and the value is gone');
	shared($talk);
	$node->act($ada, 'penny_user', "SELECT penny.add_message('$talk', 'user', 'undone'); PREPARE TRANSACTION 'two'");
	$node->sql("ROLLBACK PREPARED 'two'");
	is_deeply([ $subscriber->heard(1) ], [], 'ROLLBACK PREPARED is not told');
	isnt(value($talk), '', 'and deletes nothing');
	is(state()->{prepared_changes}, 0, 'nothing is left');

	$node->act($ada, 'penny_user', "SELECT penny.add_message('$talk', 'user', 'over the restart'); PREPARE TRANSACTION 'three'");
	$node->restart;
	$node->wait_ready;
	ok(comes(\&connected), 'connected after a restart');
	$subscriber->heard(0.5);
	$redis->command('SET', "conv:$talk", 'of somebody else');
	$node->sql("COMMIT PREPARED 'three'");
	is_deeply([ $subscriber->heard(10, 1) ], ['{"type":"all"}'], 'one from before a restart is told as a change of everything');
	is(value($talk), '', 'and everything is deleted');
	$http = $node->http(token => $node->token($ada));
};

subtest 'what others say' => sub {
	get($talk);
	my $fills = sub { my $kinds = $node->sql_json('SELECT penny.cache_stats()')->{kinds}; my $n = 0; $n += $_->{fills} for values %$kinds; return $n };
	my $filled = $fills->();
	get($talk);
	is($fills->(), $filled, 'a conversation that is in memory is not read again');
	my $foreign = state()->{messages_of_others};
	$redis->command('PUBLISH', 'cache:invalidate', qq( { "x" : [1, {"type":"no"}], "id" : "\U$talk\E", "type" : "conversation" } ));
	ok(comes(sub { state()->{messages_of_others} == $foreign + 1 }), 'a message of another is heard');
	$filled = $fills->();
	get($talk);
	cmp_ok($fills->(), '>', $filled, 'and the conversation is read again');
	get($talk);
	$filled = $fills->();
	$redis->command('PUBLISH', 'cache:invalidate', '{"type":"all"}');
	ok(comes(sub { state()->{messages_of_others} == $foreign + 2 }), 'all');
	get($talk);
	cmp_ok($fills->(), '>', $filled, 'after which it is read again, too');
	for my $odd ('', 'nonsense', '[]', '{"type":"conversation"}', '{"type":"conversation","id":"x"}', '{"type":"other","id":"' . $talk . '"}',
		'{"type":"conversation","id":"' . $talk . '"', "\xff\xfe", '{"type":{"type":"all"}}', '[' x 1000, '{"type":"all"}' . ' ' x 2000)
	{
		$redis->command('PUBLISH', 'cache:invalidate', $odd);
	}
	$redis->command('PUBLISH', 'cache:invalidate', '{"type":"all"}');
	ok(comes(sub { state()->{messages_of_others} >= $foreign + 3 }), 'and goes on hearing');
	is(state()->{messages_of_others}, $foreign + 3, 'what is no such message is passed over');
};

# Conversations whose bodies have no room in the cache together, and that take
# much longer to build than to fetch.
my @large = map {
	my $id = $node->add_conversation($ada, title => "large $_");
	$node->act($ada, 'penny_user', "SELECT count(penny.add_message('$id', 'user', repeat('text $_ ', 200))) FROM generate_series(1, 60)");
	$id
} 1 .. 20;
# a policy of the user's that takes its time
$node->sql(q{
	CREATE SCHEMA app;
	GRANT USAGE ON SCHEMA app TO penny_user;
	CREATE FUNCTION app.slow(uuid) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$BEGIN PERFORM pg_sleep(0.05); RETURN true; END$$;
	CREATE POLICY slow ON chat.conversations AS RESTRICTIVE FOR SELECT USING (app.slow(id));
});

subtest 'evicted bodies come back' => sub {
	my %body;
	for my $id (@large)
	{
		$body{$id} = get($id)->{body};
		shared($id) or fail("no value of $id");
	}
	my $before = state();
	my $wrong = 0;
	for my $turn (1 .. 3)
	{
		$wrong += get($_)->{body} ne $body{$_} for @large;
	}
	is($wrong, 0, 'the same bytes as before');
	my $after = state();
	cmp_ok($after->{get_hits}, '>', $before->{get_hits} + 10, 'by way of Redis') or diag(explain($after));
	is($after->{values_refused}, $before->{values_refused}, 'none was refused');
	cmp_ok($after->{connections}, '<=', 5, 'over few connections');
};

subtest 'values that are not to be trusted' => sub {
	my %body = map { $_ => get($_)->{body} } @large;
	my %good = map { $_ => value($_) } @large;
	my ($first, $second) = @large;
	my %forge = (
		'text changed' => sub { my ($v) = @_; $v =~ s/text/TEXT/; $v },
		'without a seal' => sub { without_seal($_[0]) },
		'of another conversation' => sub { $good{$second} },
		'cut' => sub { substr $_[0], 0, length($_[0]) - 1 },
		'a seal of zeros' => sub { my ($v) = @_; $v =~ s/"mac":"[0-9a-f]+"/'"mac":"' . '0' x 64 . '"'/e; $v },
		'another token' => sub { my ($v) = @_; $v =~ s/"token":"./"token":"f/; $v },
		'no JSON' => sub { 'hello' },
		'empty' => sub { '' });
	for my $name (sort keys %forge)
	{
		my $before = state();
		for my $id (@large)
		{
			$redis->command('SETEX', "conv:$id", 3600, $id eq $second && $name =~ /another conv/ ? $good{$first} : $forge{$name}->($good{$id}));
		}
		my $wrong = 0;
		$wrong += get($_)->{body} ne $body{$_} for @large;
		is($wrong, 0, "$name: never served");
		my $after = state();
		cmp_ok($after->{values_refused}, '>', $before->{values_refused}, "$name: refused") or diag(explain([ $before, $after ]));
	}
	# a list where a string should be
	$redis->command('DEL', "conv:$_"), $redis->command('RPUSH', "conv:$_", 'x') for @large;
	my $wrong = 0;
	$wrong += get($_)->{body} ne $body{$_} for @large;
	is($wrong, 0, 'a key of another type does no harm');
	is(state()->{breaker}, 'closed', 'and is no fault of the server');

	# replayed: what was true once and was penny's own
	my %old = map { $_ => $good{$_} } @large;
	say_in($_, 'a new one') for @large;
	$wrong = 0;
	for my $turn (1 .. 2)
	{
		for my $id (@large)
		{
			$redis->command('SETEX', "conv:$id", 3600, $old{$id});
			$wrong++ unless get($id)->{body} =~ /a new one/;
		}
	}
	is($wrong, 0, 'an old value put back is never served');
};

$node->sql('DROP POLICY slow ON chat.conversations');

subtest 'TRUNCATE' => sub {
	shared($talk);
	$subscriber->heard(0.5);
	$node->sql('TRUNCATE chat.artifacts CASCADE');
	ok(comes(sub { value($talk) eq '' }), 'sweeps everything');
	ok((grep { $_ eq '{"type":"all"}' } $subscriber->heard(5, 1)), 'and says so');
	is($redis->command('GET', "conv:$talk:other"), '', 'with what else is called like a conversation');
};

subtest 'a sweep takes what is ours only' => sub {
	my $client = $redis->client;
	$client->command('SET', 'conv:statistics', 1);
	$client->command('SET', "xconv:$talk", 1);
	for my $n (1 .. 3000) { $client->send_command('SET', sprintf('conv:%08d-0000-4000-8000-000000000000', $n), 1); }
	$client->reply(10) for 1 .. 3000;
	my $swept = state()->{sweeps};
	$node->sql('TRUNCATE chat.artifacts CASCADE');
	ok(comes(sub { my $s = state(); $s->{sweeps} > $swept && $redis->command('KEYS', 'conv:0*') && !@{ $redis->command('KEYS', 'conv:0*') } }), '3,000 values are gone');
	is($client->command('GET', 'conv:statistics'), 1, 'a key that is none of a conversation stays');
	is($client->command('GET', "xconv:$talk"), 1, 'and so does one with another beginning');
};

subtest 'settings' => sub {
	for my $bad ('rediss://localhost', 'http://localhost', 'redis://', 'unix://relative')
	{
		$node->adjust_conf('postgresql.conf', 'penny.redis_url', "'$bad'");
		$node->reload;
		ok(comes(sub { $node->log_text =~ /invalid value for parameter "penny.redis_url": "\Q$bad\E"/ }), "$bad is refused");
		is($node->sql('SHOW penny.redis_url'), $redis->url, 'and the old one holds');
	}
	like($node->log_text, qr/TLS/, 'with the reason');

	$node->adjust_conf('postgresql.conf', 'penny.redis_url', "''");
	$node->reload;
	ok(comes(sub { !$node->backend_pids('penny relay') }), 'without a URL the relay ends');
	like(doctor(), qr/^t\|not configured/, 'doctor() finds that well');
	$redis->command('SET', "conv:$talk", 'left over');
	is(get($talk)->{status}, 200, 'requests are served');
	say_in($talk, 'unheard');
	$node->adjust_conf('postgresql.conf', 'penny.redis_url', "'" . $redis->tcp_url . "/3'");
	$node->adjust_conf('postgresql.conf', 'penny.redis_prefix', "'app*:'");
	$node->reload;
	ok(comes(\&connected), 'with one it runs, over TCP');
	my $client = $redis->client;
	$client->command('SELECT', 3);
	get($talk), say_in($talk, 'heard again');
	ok(comes(sub { get($talk); $client->command('GET', "app*:conv:$talk") ne '' }), 'in the database and with the prefix that are set');
	my $other = $redis->client->subscribe('app*:cache:invalidate');
	say_in($talk, 'with a prefix');
	is_deeply([ $other->heard(10, 1) ], [qq({"type":"conversation","id":"$talk"})], 'and the channel');
	$node->adjust_conf('postgresql.conf', 'penny.redis_prefix', "''");
	$node->adjust_conf('postgresql.conf', 'penny.redis_url', "'redis://localhost:$redis->{port}'");
	$node->reload;
	ok(comes(sub { connected() && $redis->command('GET', 'penny:lease') ne '' }), 'a name is found, too');
};

subtest 'passwords' => sub {
	my $file = $node->basedir . '/redis.password';
	my $secure = Penny::Redis->start("${dir}s", password => 'open sesame');
	$node->adjust_conf('postgresql.conf', 'penny.redis_url', "'${\$secure->url}'");
	$node->reload;
	ok(comes(sub { $node->log_text =~ /Redis for commands: greeted with "NOAUTH/ }), 'without a password: the log says why');
	like(doctor(), qr/^f\|.*NOAUTH/, 'and doctor()');
	is(get($talk)->{status}, 200, 'requests are served');
	PostgreSQL::Test::Utils::append_to_file($file, "wrong\n");
	chmod 0644, $file;
	$node->adjust_conf('postgresql.conf', 'penny.redis_password_file', "'$file'");
	$node->reload;
	ok(comes(sub { $node->log_text =~ /penny.redis_password_file" is not used/ }), 'a file that others may read is refused');
	like(doctor(), qr/^f\|.*0640/, 'doctor() says how to mend it');
	chmod 0600, $file;
	$node->reload;
	ok(comes(sub { $node->log_text =~ /greeted with "WRONGPASS/ }), 'a wrong one is told');
	unlink $file;
	PostgreSQL::Test::Utils::append_to_file($file, "open sesame\n");
	chmod 0600, $file;
	$node->reload;
	ok(comes(\&connected), 'the right one is used after a reload');
	ok(comes(sub { get($talk); $secure->command('GET', "conv:$talk") ne '' }), 'values are written');
	is(get($_)->{status}, 200, 'requests are served') for @large[ 0, 1 ];
	unlike($node->log_text, qr/open sesame/, 'no password is in the log');
	$secure->stop;
};

is($node->crash_restarts, 0, 'no crash');
unlike($node->log_text, qr/PANIC|terminated by signal/, 'no process was lost');
done_testing;
