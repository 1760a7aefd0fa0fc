# What ends a right ends the answers that it gave: the next request after the
# commit is refused, though the answer before came from the cache.
use strict;
use warnings;
use Penny::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = Penny::Cluster->serving('http_cache_revoked',
	conf => "penny.executors_min = 2\npenny.executors_max = 2\npenny.jwt_roles = 'penny_user, penny_agent, penny_admin, app_agent'\n");
my ($ada, $bob, $root) = map { $node->add_user($_) } qw(Ada Bob Root);
my $talk = $node->add_conversation($ada, messages => 3);
my $path = "/api/v1/conversations/$talk";
my $admin = $node->token($root, 'penny_admin');

sub get { my ($token, $path) = @_; return $node->request('GET', $path, token => $token) }
sub said { my ($answer) = @_; return join ' ', grep { defined } $answer->{status}, $answer->{header}{'x-cache'} }
# Asked until it is a hit (the first may wait for a transaction elsewhere).
sub hit
{
	my ($token, $path, $name) = @_;
	ok($node->wait_until(sub { said(get($token, $path)) eq '200 hit' }, 20), "$name: kept");
}
sub session_token
{
	my ($user, $role, $ttl) = @_;
	return $node->act($root, 'penny_admin', "SELECT penny.create_session('$user', '$role', '" . ($ttl // '1 day') . "')");
}

$node->sql(q{
	CREATE SCHEMA app;
	GRANT USAGE ON SCHEMA app TO penny_user;
	CREATE ROLE app_agent NOLOGIN;
	GRANT penny_agent TO app_agent;
	GRANT app_agent TO penny_authenticator;
	CREATE FUNCTION app.one(r penny.request) RETURNS jsonb LANGUAGE sql AS $$SELECT '{"one":1}'::jsonb$$;
	REVOKE EXECUTE ON FUNCTION app.one(penny.request) FROM PUBLIC;
	GRANT EXECUTE ON FUNCTION app.one(penny.request) TO penny_user;
	INSERT INTO penny.routes (method, pattern, handler, access, cache_scope)
		SELECT 'GET', '/one/' || scope || '/' || access, 'app.one', access, scope
			FROM unnest('{public,role,user}'::text[]) scope, unnest('{user,agent,admin}'::text[]) access;
});
$node->add_conversation($bob);    # so that Bob is there

subtest 'a participant is removed' => sub {
	my $token = $node->token($bob);
	my @load = map {
		my $pid = fork // die;
		if (!$pid)
		{
			local $SIG{TERM} = sub { require POSIX; POSIX::_exit(0) };
			my $http = $node->http(token => $token);
			$http->request('GET', $_ % 2 ? $path : "$path/messages") while 1;
		}
		$pid
	} (1, 2);
	my $session = $node->background_psql('postgres');
	my (@wrong, $hits);
	for my $n (1 .. 40)
	{
		$session->query_safe("INSERT INTO chat.participants (conversation_id, user_id) VALUES ('$talk', '$bob')");
		for (1 .. 3)
		{
			my $answer = get($token, $path);
			push @wrong, "$n in: $answer->{status}" unless $answer->{status} == 200;
			$hits++ if said($answer) eq '200 hit';
		}
		$session->query_safe("DELETE FROM chat.participants WHERE conversation_id = '$talk' AND user_id = '$bob'");
		for my $read ($path, "$path/messages", $path)
		{
			my $answer = get($token, $read);
			push @wrong, "$n out: $answer->{status}" unless $answer->{status} == 404;
		}
		my $list = get($token, '/api/v1/conversations');
		push @wrong, "$n list" if $list->{body} =~ /\Q$talk/;
	}
	$session->quit;
	kill 'TERM', @load;
	waitpid $_, 0 for @load;
	is("@wrong", '', 'each request after a commit obeys it, under load');
	cmp_ok($hits // 0, '>', 0, 'though answers were kept');
};

subtest 'a session is deleted' => sub {
	my (@wrong, $hits);
	for my $n (1 .. 10)
	{
		my $token = session_token($ada, 'penny_user');
		for (1 .. 3)
		{
			my $answer = get($token, $path);
			push @wrong, "$n: $answer->{status}" unless $answer->{status} == 200;
			$hits++ if said($answer) eq '200 hit';
		}
		get($token, '/one/public/user') for 1, 2;
		$node->sql($n % 2 ? "DELETE FROM chat.sessions WHERE token_hash = sha256('$token'::bytea)" : 'DELETE FROM chat.sessions');
		for my $read ($path, '/one/public/user', '/api/v1/conversations')
		{
			my $status = get($token, $read)->{status};
			push @wrong, "$n $read: $status" unless $status == 401;
		}
	}
	is("@wrong", '', 'no request of it after the commit');
	cmp_ok($hits // 0, '>', 0, 'though answers were kept');

	my $token = session_token($ada, 'penny_user');
	hit($token, '/one/public/user', 'a transaction that deletes and waits');
	my $session = $node->background_psql('postgres');
	$session->query_safe('BEGIN; DELETE FROM chat.sessions');
	is(get($token, '/one/public/user')->{status}, 200, 'it is there until the commit');
	is(get($token, '/one/public/user')->{status}, 200, 'and remembered');
	$session->query_safe('COMMIT');
	is(get($token, '/one/public/user')->{status}, 401, 'and gone after it');
	$session->quit;

	$token = session_token($ada, 'penny_user');
	hit($token, '/one/public/user', 'two-phase');
	$node->sql("BEGIN; DELETE FROM chat.sessions; PREPARE TRANSACTION 'p'");
	is(get($token, '/one/public/user')->{status}, 200, 'prepared: still there') for 1 .. 3;
	$node->sql("COMMIT PREPARED 'p'");
	is(get($token, '/one/public/user')->{status}, 401, 'gone');

	$token = session_token($ada, 'penny_user');
	hit($token, '/one/public/user', 'the role of a session');
	$node->sql("UPDATE chat.sessions SET user_id = '$bob'");
	is(get($token, $path)->{status}, 404, 'of another user now');
	$node->sql("UPDATE chat.sessions SET user_id = '$ada'");
	is(get($token, $path)->{status}, 200, 'and back');
	$node->sql('UPDATE chat.sessions SET expires_at = now()');
	is(get($token, $path)->{status}, 401, 'ended');
};

subtest 'a session or token ends' => sub {
	my $begin = time;
	my %token = (
		session => session_token($ada, 'penny_user', '8 s'),
		# as long as penny.jwt_leeway says after its end
		jwt => $node->token($ada, 'penny_user', exp => int($begin) + 8 - 30),
	);
	for my $kind (sort keys %token)
	{
		is(get($token{$kind}, '/one/public/user')->{status}, 200, "$kind") for 1, 2;
	}
	my $keep = $node->token($ada);
	for my $kind (sort keys %token)
	{
		my $ended;
		ok($node->wait_until(sub { get($keep, '/one/public/user'); $ended = get($token{$kind}, '/one/public/user')->{status} == 401 }, 40), "$kind ends");
		cmp_ok(time - $begin, '<', 20, 'in time');
		is(get($token{$kind}, '/one/public/user')->{status}, 401, 'for good');
	}
};

subtest 'rights are revoked' => sub {
	# somebody else keeps the answer alive all the time
	my $check = sub {
		my ($name, $token, $read, $revoke, $status, $restore) = @_;
		hit($token, $read, $name);
		$node->sql($revoke);
		get($admin, $read) for 1 .. 3;
		is(get($token, $read)->{status}, $status, "$name: refused");
		is(get($token, $read)->{status}, $status, "$name: again");
		$node->sql($restore);
		is(get($token, $read)->{status}, 200, "$name: and let in again");
	};
	my $jwt = $node->token($bob, 'app_agent');
	my $session = session_token($bob, 'penny_agent');
	for my $scope (qw(public role user))
	{
		$check->("$scope: a role lost another", $jwt, "/one/$scope/agent", 'REVOKE penny_agent FROM app_agent; GRANT penny_user TO app_agent', 403, 'GRANT penny_agent TO app_agent');
		$check->("$scope: a role may no longer come in", $jwt, "/one/$scope/agent", 'REVOKE app_agent FROM penny_authenticator', 401, 'GRANT app_agent TO penny_authenticator');
		$check->("$scope: the role of sessions may no longer come in", $session, "/one/$scope/agent", 'REVOKE penny_agent FROM penny_authenticator, penny_admin; REVOKE app_agent FROM penny_authenticator', 401,
			'GRANT app_agent, penny_agent TO penny_authenticator; GRANT penny_agent TO penny_admin');
		$check->("$scope: the handler is no longer executable", $jwt, "/one/$scope/agent", 'REVOKE EXECUTE ON FUNCTION app.one(penny.request) FROM penny_user', 403, 'GRANT EXECUTE ON FUNCTION app.one(penny.request) TO penny_user');
		$check->("$scope: the schema is closed", $jwt, "/one/$scope/agent", 'REVOKE USAGE ON SCHEMA app FROM penny_user', 403, 'GRANT USAGE ON SCHEMA app TO penny_user');
		$check->("$scope: the route is for others", $jwt, "/one/$scope/agent", "UPDATE penny.routes SET access = 'admin' WHERE pattern = '/one/$scope/agent'", 403, "UPDATE penny.routes SET access = 'agent' WHERE pattern = '/one/$scope/agent'");
	}
};

subtest 'a policy' => sub {
	$node->sql(q{
		CREATE TABLE app.notes (owner uuid, note text);
		ALTER TABLE app.notes ENABLE ROW LEVEL SECURITY;
		CREATE POLICY own ON app.notes USING (owner = penny.user_id());
		GRANT SELECT ON app.notes TO penny_user;
		CREATE FUNCTION app.notes(r penny.request) RETURNS jsonb LANGUAGE sql AS $$SELECT to_jsonb(count(*)) FROM app.notes$$;
		INSERT INTO penny.routes (method, pattern, handler, cache_ttl) VALUES ('GET', '/notes', 'app.notes', '1 h');
	} . "INSERT INTO app.notes VALUES ('$ada', 'a'), ('$ada', 'b'), ('$bob', 'c')");
	my $token = $node->token($ada);
	my $count = sub { get($token, '/notes'); return get($token, '/notes')->{body} };
	is($count->(), 2, 'her notes');
	my @wrong;
	for my $n (1 .. 10)
	{
		$node->sql('ALTER POLICY own ON app.notes USING (false)');
		push @wrong, "$n false" unless get($token, '/notes')->{body} eq '0' && $count->() eq '0';
		$node->sql('ALTER POLICY own ON app.notes USING (owner = penny.user_id())');
		push @wrong, "$n own" unless get($token, '/notes')->{body} eq '2' && $count->() eq '2';
		$node->sql('ALTER TABLE app.notes DISABLE ROW LEVEL SECURITY');
		push @wrong, "$n all" unless get($token, '/notes')->{body} eq '3' && $count->() eq '3';
		$node->sql('ALTER TABLE app.notes ENABLE ROW LEVEL SECURITY');
	}
	is("@wrong", '', 'each change of a policy is obeyed by the next request');
};

subtest 'settings and keys' => sub {
	my $token = $node->token($bob, 'app_agent');
	hit($token, '/one/public/agent', 'penny.jwt_roles');
	$node->append_conf('postgresql.conf', "penny.jwt_roles = 'penny_user, penny_agent, penny_admin'\n");
	$node->sql('SELECT pg_reload_conf()');
	ok($node->wait_until(sub { get($admin, '/one/public/agent'); get($token, '/one/public/agent')->{status} == 401 }, 20), 'a role that tokens may no longer name');
	ok($node->wait_until(sub { get($admin, '/one/public/agent'); !grep { get($token, '/one/public/agent')->{status} != 401 } 1 .. 20 }, 20), 'by every executor');

	my $old = $node->token($ada);
	my $session = session_token($ada, 'penny_user');
	hit($old, '/one/public/user', 'keys');
	hit($session, '/one/public/user', 'a session');
	my $file = $node->basedir . '/jwt.secret';
	$node->{secret} = 'n' x 48;
	open my $handle, '>', "$file.new" or die;
	print $handle $node->{secret};
	close $handle;
	chmod 0600, "$file.new";
	rename "$file.new", $file or die;
	$node->sql('SELECT penny.reload_keys()');
	is(get($session, '/one/public/user')->{status}, 200, 'sessions go on');
	is(get($node->token($ada), '/one/public/user')->{status}, 200, 'and tokens of the new key');
	is(get($old, '/one/public/user')->{status}, 401, 'those of the old one do not') for 1 .. 3;
	is(get($old, $path)->{status}, 401, 'anywhere');
};

$node->stop;
done_testing();
