# Whose a kept answer is: nobody gets what only another may see, whatever a handler
# asks about its caller and whoever asked first.
use strict;
use warnings;
use JSON::PP;
use Penny::Cluster;
use Test::More;

my $node = Penny::Cluster->serving('http_cache_scope', conf => "penny.executors_min = 2\npenny.executors_max = 2\n");
my ($ada, $bob, $eve, $root) = map { $node->add_user($_) } qw(Ada Bob Eve Root);
my %token = (
	ada => $node->token($ada, 'penny_user', name => 'Ada Lovelace'),
	bob => $node->token($bob, 'penny_user', name => 'Bob'),
	eve => $node->token($eve, 'penny_agent'),
	root => $node->token($root, 'penny_admin'),
	nobody => undef,
);
my @everybody = qw(ada bob eve root nobody);
my %http = map { $_ => $node->http(token => $token{$_}) } @everybody;

sub get { my ($who, $path, @headers) = @_; return $http{$who}->request('GET', $path, headers => \@headers) }
sub said { my ($answer) = @_; return join ' ', grep { defined } $answer->{status}, $answer->{header}{'x-cache'} }

# Everything a handler could learn of its caller.
$node->sql(q{
	CREATE SCHEMA app;
	GRANT USAGE ON SCHEMA app TO penny_user;
	CREATE FUNCTION app.who(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		RETURN jsonb_build_object('request', to_jsonb(r), 'user_id', penny.user_id(), 'claims', penny.claims(),
			'setting', current_setting('request.jwt.claims', true), 'current_user', current_user, 'session_user', session_user,
			'query', current_query(), 'address', inet_client_addr(), 'application', current_setting('application_name'),
			'activity', (SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid()),
			'built', gen_random_uuid());
	END $$;
	CREATE TABLE app.notes (owner uuid, note text);
	INSERT INTO app.notes SELECT id, 'note of ' || name FROM chat.users;
	ALTER TABLE app.notes ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own ON app.notes USING (owner = penny.user_id());
	GRANT SELECT ON app.notes TO penny_user;
	CREATE FUNCTION app.notes(r penny.request) RETURNS jsonb LANGUAGE sql AS
		$$SELECT coalesce(jsonb_agg(note ORDER BY note), '[]') FROM app.notes$$;
	CREATE TABLE app.roles (name text PRIMARY KEY);
	INSERT INTO app.roles VALUES ('penny_user'), ('penny_agent'), ('penny_admin');
	ALTER TABLE app.roles ENABLE ROW LEVEL SECURITY;
	CREATE POLICY same ON app.roles USING (pg_has_role(current_user, name::name, 'usage'));
	GRANT SELECT ON app.roles TO penny_user;
	CREATE FUNCTION app.roles(r penny.request) RETURNS jsonb LANGUAGE sql AS
		$$SELECT coalesce(jsonb_agg(name ORDER BY name), '[]') FROM app.roles$$;
	INSERT INTO penny.routes (method, pattern, handler, access, cache_scope)
		SELECT 'GET', '/' || f || '/' || scope || '/' || access, 'app.' || f, access, scope
			FROM unnest('{who,notes,roles}'::text[]) f, unnest('{public,role,user}'::text[]) scope, unnest('{public,user,agent,admin}'::text[]) access;
});

subtest 'who the handler is told that asks' => sub {
	my @mine = ('X-Secret' => 'sesame', Cookie => 'id=7', 'X-Request-Id' => 'secret-request');
	for my $scope (qw(public role user))
	{
		for my $who (@everybody)
		{
			my $answer = get($who, "/who/$scope/public?$who-$scope", @mine);
			my $is = $answer->{json};
			my $what = "$scope, $who";
			is(said($answer), '200 miss', "$what: built");
			is_deeply($is->{request}{headers}, {}, 'no headers');
			is($is->{request}{request_id}, undef, 'no request id');
			unlike($answer->{body}, qr/sesame|id=7|secret-request/, 'nor anywhere else');
			unlike($answer->{body}, qr/\Q$token{$who}\E/, 'no token') if defined $token{$who};
			my %id = (ada => $ada, bob => $bob, eve => $eve, root => $root);
			my %role = (ada => 'penny_user', bob => 'penny_user', eve => 'penny_agent', root => 'penny_admin', nobody => 'penny_user');
			if ($scope eq 'user')
			{
				is($is->{$_}, $id{$who}, "$_ is the caller's") for 'user_id';
				is($is->{request}{user_id}, $id{$who}, 'in the request, too');
				is($is->{claims}{sub}, $id{$who}, 'and in the claims');
			}
			else
			{
				is($is->{user_id}, undef, 'no user id');
				is($is->{request}{user_id}, undef, 'nor in the request');
				is($is->{claims}, undef, 'no claims');
				is($is->{setting} || '', '', 'nor in the setting');
				unlike($answer->{body}, qr/\Q$id{$who}\E|Lovelace/, 'nor anywhere else') if $id{$who};
			}
			is($is->{current_user}, $scope eq 'public' ? 'penny_user' : $role{$who}, 'in the right role');
			is($is->{request}{role}, $scope eq 'public' ? undef : $scope eq 'role' ? $role{$who} : $who eq 'nobody' ? undef : $role{$who}, 'and told so');
		}
	}
};

subtest 'who shares' => sub {
	my %shares = (
		public => [ [ @everybody ] ],
		role => [ [qw(ada bob nobody)], ['eve'], ['root'] ],
		user => [ map { [$_] } @everybody ],
	);
	for my $scope (sort keys %shares)
	{
		my %body;
		for my $group (@{ $shares{$scope} })
		{
			my @answers = map { get($_, "/who/$scope/public") } @$group;
			is(join(', ', map { said($_) } @answers), join(', ', '200 miss', ('200 hit') x $#answers), "$scope: @$group");
			is($_->{body}, $answers[0]->{body}, 'the same body') for @answers;
			$body{ $answers[0]->{body} }++;
		}
		is(scalar keys %body, scalar @{ $shares{$scope} }, "$scope: the others have another");
	}
	my @tokens = map { $node->token($ada, 'penny_user', name => 'Ada Lovelace', %$_) } { exp => time + 100 }, { iat => time - 5, jti => 'a' }, { nbf => time - 1 };
	is(said($node->request('GET', '/who/user/public', token => $_)), '200 hit', 'another token of the same claims shares') for @tokens;
	is(said($node->request('GET', '/who/user/public', token => $node->token($ada, 'penny_user', name => 'Ada'))), '200 miss', 'other claims do not');
	is(said($node->request('GET', '/who/user/public', token => $node->token($ada, 'penny_agent', name => 'Ada Lovelace'))), '200 miss', 'nor another role');
};

subtest 'policies' => sub {
	my %seen = (
		notes => { public => { map { $_ => [] } @everybody }, role => { map { $_ => [] } @everybody },
			user => { ada => ['note of Ada'], bob => ['note of Bob'], eve => ['note of Eve'], root => ['note of Root'], nobody => [] } },
		roles => { public => { map { $_ => ['penny_user'] } @everybody } },
	);
	my %roles = (ada => ['penny_user'], bob => ['penny_user'], nobody => ['penny_user'], eve => [qw(penny_agent penny_user)], root => [qw(penny_admin penny_agent penny_user)]);
	$seen{roles}{$_} = \%roles for qw(role user);
	for my $round (1 .. 2)
	{
		for my $table (sort keys %seen)
		{
			for my $scope (sort keys %{ $seen{$table} })
			{
				# root first: what it may see must not be there for those after it
				is_deeply(get($_, "/$table/$scope/public")->{json}, $seen{$table}{$scope}{$_}, "$round: $table, $scope, $_") for reverse @everybody;
			}
		}
	}
};

subtest 'who may use the route is asked first' => sub {
	my %may = (public => [@everybody], user => [qw(ada bob eve root)], agent => [qw(eve root)], admin => ['root']);
	for my $access (qw(user agent admin))
	{
		for my $scope (qw(public role user))
		{
			my $path = "/who/$scope/$access";
			get($_, $path) for @{ $may{$access} };
			is(said(get('root', $path)), '200 hit', "$path is kept");
			for my $who (@everybody)
			{
				my $may = grep { $_ eq $who } @{ $may{$access} };
				my $answer = get($who, $path);
				is($answer->{status}, $may ? 200 : $who eq 'nobody' ? 401 : 403, "$path by $who");
				unlike($answer->{body}, qr/built/, 'and nothing of it') unless $may;
			}
		}
	}
	is($node->request('GET', '/who/public/public', token => "$token{ada}x")->{status}, 401, 'a bad token does not even get what everybody gets');
	is($node->request('GET', '/who/public/public', token => 'pns_' . 'A' x 43)->{status}, 401, 'nor an unknown session');
};

subtest 'conversations of others' => sub {
	my $hers = $node->add_conversation($ada, messages => 2, title => 'of Ada');
	my $his = $node->add_conversation($bob, messages => 2, title => 'of Bob');
	for my $round (1 .. 3)
	{
		for my $path ("/api/v1/conversations/$hers", "/api/v1/conversations/$hers/messages")
		{
			is(get('ada', $path)->{status}, 200, "$round: Ada");
			is(get($_, $path)->{status}, 404, "$round: not $_") for qw(bob eve);
			is(get('nobody', $path)->{status}, 401, "$round: nobody");
			is(get('root', $path)->{status}, 200, "$round: an admin");
		}
		is_deeply([ map { $_->{id} } @{ get('ada', '/api/v1/conversations')->{json}{data} } ], [$hers], "$round: her list");
		is_deeply([ map { $_->{id} } @{ get('bob', '/api/v1/conversations')->{json}{data} } ], [$his], "$round: his list");
		is_deeply(get('eve', '/api/v1/conversations')->{json}{data}, [], "$round: an empty one");
	}
	# two tokens of one user in turn over one connection, and two users over one
	my $one = $node->http;
	my @wrong;
	for my $n (1 .. 60)
	{
		my $who = (qw(ada bob eve nobody))[ $n % 4 ];
		my $answer = $one->request('GET', "/api/v1/conversations/$hers", token => $token{$who});
		push @wrong, "$n $who $answer->{status}" unless $answer->{status} == { ada => 200, bob => 404, eve => 404, nobody => 401 }->{$who};
	}
	is("@wrong", '', 'nor over the connection of another');
};

$node->stop;
done_testing();
