# Cached routes over HTTP: what X-Cache, Age, ETag and Cache-Control say, what is
# kept and what is not, and that a request after a commit never gets older data.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = Penny::Cluster->serving('http_cache', conf => "penny.executors_min = 2\npenny.executors_max = 2\n");
my $ada = $node->add_user('Ada');
my $token = $node->token($ada);
my $http = $node->http(token => $token);

sub get { my ($path, @headers) = @_; return $http->request('GET', $path, headers => \@headers) }
# "200 hit", "304 miss", "404" when there is no X-Cache
sub said { my ($answer) = @_; return join ' ', grep { defined } $answer->{status}, $answer->{header}{'x-cache'} }
sub route
{
	my ($pattern, $handler, %with) = @_;
	my $caching = join ', ', map { defined $with{$_} ? "'$with{$_}'" : 'NULL' } qw(ttl scope);
	$node->sql("INSERT INTO penny.routes (method, pattern, handler, access, cache_ttl, cache_scope) VALUES ('GET', '$pattern', '$handler', '@{[ $with{access} || 'user' ]}', $caching)");
}

$node->sql(q{
	CREATE SCHEMA app;
	GRANT USAGE ON SCHEMA app TO penny_user;
	CREATE TABLE app.things (id integer PRIMARY KEY, name text NOT NULL);
	INSERT INTO app.things SELECT n, 'thing ' || n FROM generate_series(1, 10) n;
	GRANT SELECT ON app.things TO penny_user;
	CREATE TRIGGER penny_invalidate AFTER INSERT OR UPDATE OR DELETE ON app.things
		FOR EACH ROW EXECUTE FUNCTION penny.invalidate('thing', 'id');
	ALTER TABLE app.things ENABLE ALWAYS TRIGGER penny_invalidate;
	-- "built" is another each time the handler runs
	CREATE FUNCTION app.thing(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		wanted integer := r.params ->> 'id';
	BEGIN
		PERFORM penny.cache_tag('thing:' || wanted);
		RETURN (SELECT jsonb_build_object('name', t.name, 'built', gen_random_uuid()) FROM app.things t WHERE t.id = wanted);
	END $$;
	CREATE FUNCTION app.echo(r penny.request) RETURNS jsonb LANGUAGE sql AS $$
		SELECT to_jsonb(r) || jsonb_build_object('built', gen_random_uuid()) $$;
	CREATE FUNCTION app.answer(r penny.request) RETURNS penny.response LANGUAGE sql AS $$
		SELECT (coalesce((r.query ->> 'status')::integer, 200), coalesce((r.query ->> 'headers')::jsonb, '{}'),
			jsonb_build_object('built', gen_random_uuid()))::penny.response $$;
});
route('/things/{id}', 'app.thing', ttl => '1 h');
route('/echo/{a}', 'app.echo', scope => 'user');
route('/echo/{a}/{b}', 'app.echo', scope => 'user');
route('/answer', 'app.answer', ttl => '1 h');
route('/answer/all', 'app.answer', scope => 'public');
route('/plain', 'app.echo');

subtest 'rows of penny.routes' => sub {
	my $row = sub { return $node->sql("SELECT cache_ttl, cache_scope FROM penny.routes WHERE pattern = '$_[0]'") };
	is($row->('/things/{id}'), '01:00:00|user', 'a ttl alone is for the user');
	is($row->('/answer/all'), '00:05:00|public', 'a scope alone has 300 seconds');
	is($row->('/plain'), '|', 'neither');
	is($node->sql("SELECT count(*) FROM penny.routes WHERE builtin AND pattern NOT LIKE '/api/v1/jobs/%' AND (method = 'GET') <> (cache_ttl = '1 h' AND cache_scope = 'user') IS NOT FALSE AND NOT (method <> 'GET' AND cache_ttl IS NULL AND cache_scope IS NULL)"),
		0, 'built-in GET routes are kept for an hour, for the user, but those of jobs');
	my %wrong = (
		"('POST', '/w', 'app.echo', '1 h', NULL)" => qr/answers to POST cannot be kept/,
		"('DELETE', '/w', 'app.echo', NULL, 'public')" => qr/answers to DELETE cannot be kept/,
		"('HEAD', '/w', 'app.echo', '1 h', NULL)" => qr/answers to HEAD cannot be kept/,
		"('GET', '/w', 'app.echo', '-1 s', NULL)" => qr/violates check constraint/,
		"('GET', '/w', 'app.echo', '2 years', NULL)" => qr/cache_ttl must be at most a year/,
		"('GET', '/w', 'app.echo', NULL, 'everybody')" => qr/violates check constraint/,
		"('GET', '/w', 'app.echo', NULL, '')" => qr/violates check constraint/,
		"('GET', '/w', 'app.echo', '1 h', 'USER')" => qr/violates check constraint/,
	);
	for my $values (sort keys %wrong)
	{
		my ($code, $out, $error) = $node->psql('postgres', "INSERT INTO penny.routes (method, pattern, handler, cache_ttl, cache_scope) VALUES $values");
		like($error, $wrong{$values}, $values);
	}
	route('/changes', 'app.echo', ttl => '1 h', scope => 'public');
	$node->sql("UPDATE penny.routes SET cache_ttl = NULL WHERE pattern = '/changes'");
	is($row->('/changes'), '|', 'a ttl that is taken away takes the scope with it');
	$node->sql("UPDATE penny.routes SET cache_scope = 'role' WHERE pattern = '/changes'");
	is($row->('/changes'), '00:05:00|role', 'a scope brings a ttl');
	$node->sql("UPDATE penny.routes SET cache_scope = NULL WHERE pattern = '/changes'");
	is($row->('/changes'), '00:05:00|user', 'the narrowest scope for one that is taken away');
};

subtest 'miss, hit, Age' => sub {
	my $first = get('/things/1');
	is(said($first), '200 miss', 'first');
	is($first->{header}{age}, undef, 'what was built now has no Age');
	is($first->{header}{'cache-control'}, 'private, no-cache', 'Cache-Control');
	like($first->{header}{etag}, qr/^"[0-9a-f]{16}"$/, 'ETag');
	for my $n (2 .. 5)
	{
		my $again = get('/things/1');
		is(said($again), '200 hit', "request $n");
		is($again->{body}, $first->{body}, "body $n");
		is($again->{header}{$_}, $first->{header}{$_}, "$_ $n") for qw(etag cache-control content-type);
		like($again->{header}{age}, qr/^\d+$/, "Age $n");
	}
	ok($node->wait_until(sub { (get('/things/1')->{header}{age} // 0) >= 1 }, 10), 'Age grows');
	is(get('/things/1')->{body}, $first->{body}, 'and it is the same');
	my $other = $node->request('GET', '/things/1', token => $token);
	is(said($other), '200 hit', 'over another connection, too');
	is(said(get('/plain')), '200', 'a route that is not cached does not speak of it');
	is(said(get('/answer/all')), '200 miss', 'scope public');
	is(get('/answer/all')->{header}{'cache-control'}, 'public, no-cache', 'its Cache-Control');
};

subtest 'after the commit' => sub {
	my $session = $node->background_psql('postgres');
	my (@late, @hits);
	for my $n (1 .. 40)
	{
		$session->query_safe("UPDATE app.things SET name = 'name $n' WHERE id = 1");
		my $answer = get('/things/1');
		push @late, "$n: $answer->{body}" unless $answer->{status} == 200 && $answer->{json}{name} eq "name $n";
		push @hits, $n if ($answer->{header}{'x-cache'} // '') eq 'hit';
		$answer = $node->request('GET', '/things/1', token => $token);
		push @late, "again $n: $answer->{body}" unless $answer->{json}{name} eq "name $n";
	}
	is("@late", '', 'every request sees what was committed before it');
	is("@hits", '', 'and never finds what was before');
	my $before = get('/things/1');
	my $kept = get('/things/2');
	$session->query_safe("BEGIN; UPDATE app.things SET name = 'not yet' WHERE id = 1");
	is(get('/things/1')->{json}{name}, 'name 40', 'nothing of a transaction that runs');
	$session->query_safe('ROLLBACK');
	is(get('/things/1')->{json}{name}, 'name 40', 'nor of one that was rolled back');
	is(get('/things/2')->{json}{built}, $kept->{json}{built}, 'other tags are as they were');
	$session->query_safe('DELETE FROM app.things WHERE id = 2');
	is(get('/things/2')->{status}, 404, 'deleted');
	$session->query_safe("INSERT INTO app.things VALUES (2, 'back')");
	is(get('/things/2')->{json}{name}, 'back', 'and made again: a 404 is not kept');
	get('/things/3');
	$session->query_safe('TRUNCATE app.things');
	is(get('/things/3')->{status}, 404, 'TRUNCATE');
	$session->query_safe("INSERT INTO app.things SELECT n, 'thing ' || n FROM generate_series(1, 10) n");
	$session->quit;
	is(get('/things/3')->{json}{name}, 'thing 3', 'filled again');
};

subtest 'a table with one tag' => sub {
	$node->sql(q{
		CREATE TABLE app.notes (note text);
		GRANT SELECT ON app.notes TO penny_user;
		CREATE TRIGGER penny_invalidate AFTER INSERT OR UPDATE OR DELETE ON app.notes
			FOR EACH ROW EXECUTE FUNCTION penny.invalidate();
		ALTER TABLE app.notes ENABLE ALWAYS TRIGGER penny_invalidate;
		CREATE FUNCTION app.count(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM penny.cache_tag('app.notes');
			RETURN (SELECT to_jsonb(count(*)) FROM app.notes);
		END $$});
	route('/notes', 'app.count', scope => 'public', access => 'public');
	my @wrong;
	for my $n (1 .. 10)
	{
		$node->sql("INSERT INTO app.notes VALUES ('$n')");
		my ($first, $again) = map { get('/notes') } 1, 2;
		push @wrong, $n unless $first->{body} eq $n && said($again) eq '200 hit' && $again->{body} eq $n;
	}
	is("@wrong", '', 'exact, and kept between the changes');
};

subtest 'without a tag, time alone' => sub {
	route('/short', 'app.answer', ttl => '1500 ms');
	my $first = get('/short');
	my $built = time;
	is(said($first), '200 miss', 'built');
	is(get('/short')->{body}, $first->{body}, 'kept');
	my $next;
	ok($node->wait_until(sub { $next = get('/short'); said($next) eq '200 miss' }, 10), 'built again');
	cmp_ok(time - $built, '>=', 1.4, 'when its time was over');
	isnt($next->{body}, $first->{body}, 'it is another');
};

subtest 'conditional requests' => sub {
	my $answer = get('/things/4');
	my $etag = $answer->{header}{etag};
	(my $bare = $etag) =~ tr/"//d;
	for my $list ($etag, "W/$etag", '*', "\"a\", $etag", "\"a\",W/\"b\",$etag ", qq("$bare-gzip"), qq(W/"$bare-br"), qq("x", "$bare-deflate"))
	{
		my $not = get('/things/4', 'If-None-Match' => $list);
		is(said($not), '304 hit', "304 for $list");
		is($not->{header}{'cache-control'}, 'private, no-cache', 'with Cache-Control');
		like($not->{header}{etag}, qr{^(?:W/)?"$bare(?:-\w+)?"$}, 'and ETag');
		like($not->{header}{age}, qr/^\d+$/, 'and Age');
	}
	for my $list ('"a"', "\"x$bare\"", "\"$bare-x\"", $bare, '""', qq("$bare-gzip-br"))
	{
		is(said(get('/things/4', 'If-None-Match' => $list)), '200 hit', "200 for $list");
	}
	$node->sql("UPDATE app.things SET name = 'changed' WHERE id = 4");
	my $new = get('/things/4', 'If-None-Match' => $etag);
	is(said($new), '200 miss', 'changed: the whole answer');
	is($new->{json}{name}, 'changed', 'the new one');
	is(said(get('/things/4', 'If-None-Match' => $new->{header}{etag})), '304 hit', 'and then 304 again');
	# built for a conditional request, and yet whole
	$node->sql("UPDATE app.things SET name = 'again' WHERE id = 4");
	is(said(get('/things/4', 'If-None-Match' => '*')), '304 miss', '304 of a miss');

	my $now = get('/things/4')->{header}{etag};
	(my $variant = $now) =~ s/"$/-gzip"/;
	is(said(get('/things/4', 'If-Match' => $_)), '200 hit', "If-Match: $_") for $now, $variant, qq("x", $now), '*';
	is(get('/things/4', 'If-Match' => $_)->{status}, 412, "412 for If-Match: $_") for '"x"', "W/$now", qq("x", W/$now), 'x';
	is(get('/things/4', 'If-Match' => '"x"', 'If-None-Match' => $now)->{status}, 412, 'If-Match is looked at first');
	is(get('/plain', 'If-Match' => '"x"')->{status}, 412, 'also of a route that is not kept');
	is(get('/plain', 'If-Match' => '*')->{status}, 200, 'where "*" is anything');
	is(get('/things/4')->{json}{name}, 'again', 'kept is the whole answer');
	is(said(get('/things/999', 'If-None-Match' => '*')), '404 bypass', 'no 304 of what is not there');
};

subtest 'HEAD' => sub {
	$node->sql("UPDATE app.things SET name = 'head' WHERE id = 5");
	my $head = $http->request('HEAD', '/things/5');
	is(said($head), '200 miss', 'HEAD builds');
	my $get = get('/things/5');
	is(said($get), '200 hit', 'what GET finds');
	is($head->{header}{'content-length'}, length $get->{body}, 'its length');
	is($head->{header}{etag}, $get->{header}{etag}, 'and tag');
	$head = $http->request('HEAD', '/things/5');
	is(said($head), '200 hit', 'and HEAD');
	is(said($http->request('HEAD', '/things/5', headers => ['If-None-Match' => $get->{header}{etag}])), '304 hit', 'HEAD with If-None-Match');
	is($http->request('HEAD', '/echo/head')->{status}, 200, 'a handler that tells the method');
	is(get('/echo/head')->{json}{method}, 'GET', 'is told the one of the key');
};

subtest 'Cache-Control of the request' => sub {
	my $kept = get('/things/6');
	for my $no ('no-store', 'no-store, max-age=0', 'max-age=0,NO-STORE')
	{
		my $own = get('/things/6', 'Cache-Control' => $no);
		is(said($own), '200 bypass', "$no goes around");
		isnt($own->{body}, $kept->{body}, 'built for it');
	}
	is(get('/things/6')->{body}, $kept->{body}, 'nothing of that is kept');
	my $fresh = get('/things/6', 'Cache-Control' => 'no-cache');
	is(said($fresh), '200 miss', 'no-cache builds');
	isnt($fresh->{body}, $kept->{body}, 'anew');
	is(get('/things/6')->{body}, $fresh->{body}, 'and keeps it');
	is(said(get('/things/6', 'Cache-Control' => $_)), '200 hit', "$_ is answered from the cache") for 'max-age=0', 'no-transform', 'x-no-cache', 'only-if-cached';
	my $body = $http->request('GET', '/echo/body', json => { a => 1 });
	is(said($body), '200 bypass', 'a GET with a body goes around');
	is_deeply($body->{json}{body}, { a => 1 }, 'and its handler gets it');
	is(said(get('/echo/body')), '200 miss', 'nothing of it is kept');
	is(get('/echo/body')->{json}{body}, undef, 'nor found');
};

subtest 'what is not kept' => sub {
	my %headers = (
		'Set-Cookie' => '"a=b"',
		'set-cookie' => '["a=b","c=d"]',
		'Cache-Control' => '"no-store"',
		'cache-control' => '"private, no-cache"',
		'CACHE-CONTROL' => '"max-age=5, No-Store"',
	);
	for my $name (sort keys %headers)
	{
		my $path = "/answer?headers={%22$name%22:" . $headers{$name} =~ s/"/%22/gr =~ s/ /%20/gr . '}';
		my ($one, $two) = map { get($path) } 1, 2;
		is(said($one), '200 bypass', "$name: $headers{$name}");
		is(said($two), '200 bypass', 'nor the next time');
		isnt($one->{body}, $two->{body}, 'each its own');
		ok(defined $one->{header}{ lc $name }, 'and it is sent');
	}
	my $private = '/answer/all?headers={%22Cache-Control%22:%22private%22}';
	is(said(get($private)), '200 bypass', 'private, of a route for everybody') for 1, 2;
	my $age = '/answer?headers={%22Cache-Control%22:%22max-age=60%22,%22X-Own%22:%221%22}';
	is(said(get($age)), '200 miss', 'max-age may be kept');
	my $hit = get($age);
	is(said($hit), '200 hit', 'and found');
	is($hit->{header}{'cache-control'}, 'max-age=60', 'with the Cache-Control of the handler');
	is($hit->{header}{'x-own'}, '1', 'and its other headers');
	for my $status (201, 203, 204, 404, 410, 500, 503)
	{
		is(said(get("/answer?status=$status")), "$status bypass", "status $status") for 1, 2;
	}
	$node->sql(q{
		CREATE FUNCTION app.fails(r penny.request) RETURNS jsonb LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM penny.cache_tag('fails');
			RAISE EXCEPTION 'no' USING ERRCODE = r.params ->> 'code';
		END $$;
		CREATE FUNCTION app.nothing(r penny.request) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb'});
	route('/fails/{code}', 'app.fails', ttl => '1 h');
	route('/nothing', 'app.nothing', ttl => '1 h');
	my %status = (PY403 => 403, PY409 => 409, '22012' => 400, XX001 => 500, '40001' => 503, '40P01' => 503);
	for my $code (sort keys %status)
	{
		is(said(get("/fails/$code")), "$status{$code} bypass", "error $code") for 1, 2;
	}
	is(said(get('/nothing')), '404 bypass', 'nothing') for 1, 2;
	is(said(get('/things/7')), '200 miss', 'after all that, other routes are kept');
	is(said(get('/things/7')), '200 hit', 'and found');
	is($node->sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'penny executor' AND xact_start IS NOT NULL"), 0, 'no transaction is left');
};

subtest 'one key for what means the same' => sub {
	my @same = (
		[ '/echo/1?a=1&b=2', '/echo/1?b=2&a=1', '/echo/1?%61=1&b=%32', '/echo/1?a=1&b=2&access_token=x.y.z' ],
		[ '/echo/ab', '/echo/a%62', '/echo/%61%62' ],
		[ '/echo/2?q=a+b', '/echo/2?q=a%20b' ],
		[ '/echo/%C3%A4', '/echo/%c3%a4' ],
	);
	for my $paths (@same)
	{
		my @answers = map { $http->request('GET', $_, token => $token) } @$paths;
		is(join(', ', map { said($_) } @answers), join(', ', '200 miss', ('200 hit') x $#answers), "@$paths");
		is($_->{body}, $answers[0]->{body}, 'the same body') for @answers;
	}
	my @other = ('/echo/1', '/echo/1?', '/echo/3?a=1&a=2', '/echo/3?a=2&a=1', '/echo/3?a=2', '/echo/3?A=2',
		'/echo/a/b', '/echo/a%2Fb', '/echo/a%2Fb/c', '/echo/a/b%2Fc', '/echo/3?a=1%26b=2', '/echo/3?a=1&b=2');
	my (%first, @mixed);
	for my $round (1 .. 2)
	{
		for my $path (@other)
		{
			my $json = get($path)->{json};
			my $is = $node->sql_json("SELECT '" . JSON::PP->new->canonical->encode({ map { $_ => $json->{$_} } qw(params query) }) . "'::jsonb");
			my ($segments, $query) = split /\?/, $path;
			my @values = map { s/%2F/\//gr } (split m{/}, $segments)[ 2 .. 3 ];
			my @got = @{ $is->{params} }{qw(a b)};
			my %query = map { my ($name, $value) = map { s/%26/&/gr } split /=/, $_, 2; $name => $value } grep { length } split /&/, $query // '';
			push @mixed, "$path: " . JSON::PP->new->canonical->encode($is)
			  unless join('|', map { $_ // '' } @values) eq join('|', map { $_ // '' } @got)
			  && JSON::PP->new->canonical->encode(\%query) eq JSON::PP->new->canonical->encode($is->{query});
		}
	}
	is("@mixed", '', 'what means something else has an answer of its own');
	my $long = '/echo/long?q=' . 'x' x 5000;
	is(said(get($long)), '200 bypass', 'too long for a key') for 1, 2;
};

subtest 'changes of the route' => sub {
	route('/moving', 'app.echo', ttl => '1 h', scope => 'public');
	get('/moving');
	is(said(get('/moving')), '200 hit', 'kept');
	$node->sql("UPDATE penny.routes SET handler = 'app.answer' WHERE pattern = '/moving'");
	my $answer = get('/moving');
	is(said($answer), '200 miss', 'another handler');
	is(join(' ', keys %{ $answer->{json} }), 'built', 'whose answer it is');
	$node->sql("CREATE OR REPLACE FUNCTION app.nothing(r penny.request) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb(1)'; UPDATE penny.routes SET handler = 'app.nothing' WHERE pattern = '/moving'");
	my @wrong;
	for my $n (1 .. 20)
	{
		$node->sql("CREATE OR REPLACE FUNCTION app.nothing(r penny.request) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb($n)'");
		push @wrong, "$n: $_" for grep { $_ ne $n } map { get('/moving')->{body} } 1, 2;
	}
	is("@wrong", '', 'each version of the handler is seen by the next request');
	$node->sql("UPDATE penny.routes SET cache_ttl = NULL WHERE pattern = '/moving'");
	is(said(get('/moving')), '200', 'no longer cached') for 1, 2;
	$node->sql("UPDATE penny.routes SET cache_ttl = '1 h' WHERE pattern = '/moving'");
	is(said(get('/moving')), '200 miss', 'and cached again');
	$node->sql("UPDATE penny.routes SET access = 'admin' WHERE pattern = '/moving'");
	is(get('/moving')->{status}, 403, 'for admins alone');
	$node->sql("DELETE FROM penny.routes WHERE pattern = '/moving'");
	is(get('/moving')->{status}, 404, 'gone');
};

subtest 'built-in routes' => sub {
	my $talk = $node->add_conversation($ada, messages => 3);
	my $path = "/api/v1/conversations/$talk";
	for my $read ($path, "$path/messages", '/api/v1/conversations', "$path?messages=1")
	{
		is(said(get($read)), '200 miss', "$read is built");
		is(said(get($read)), '200 hit', 'and found');
	}
	my @wrong;
	for my $n (4 .. 20)
	{
		my $posted = $http->request('POST', "$path/messages", json => { role => 'user', content => "message $n" });
		my $all = get($path);
		push @wrong, "conversation $n" unless $all->{json}{messages}[0]{content} eq "message $n";
		push @wrong, "messages $n" unless get("$path/messages")->{body} =~ /"message $n"/;
		push @wrong, "list $n" unless get('/api/v1/conversations')->{json}{data}[0]{id} eq $talk;
	}
	is("@wrong", '', 'what was written by HTTP is read by the next request');
	my $etag = get($path)->{header}{etag};
	(my $gzip = $etag) =~ s/"$/-gzip"/;
	my $patch = sub { return $http->request('PATCH', $path, json => { title => $_[0] }, headers => ['If-Match' => $_[1]])->{status} };
	is($patch->('one', $gzip), 200, 'If-Match with the tag of a compressed answer');
	is($patch->('two', $gzip), 412, 'which is another now');
	is($patch->('two', get($path)->{header}{etag}), 200, 'If-Match with the tag of a hit');
	for my $coding (qw(br deflate))
	{
		(my $tag = get($path)->{header}{etag}) =~ s/"$/-$coding"/;
		is($patch->($coding, qq("a", $tag)), 200, "If-Match with -$coding in a list");
	}
	(my $odd = get($path)->{header}{etag}) =~ s/"$/-zstd"/;
	is($patch->('odd', $odd), 412, 'no tag of ours');
	is(get($path)->{json}{title}, 'deflate', 'as the last one left it');
	$http->request('DELETE', $path);
	is(get($path)->{status}, 404, 'deleted');
	is(said(get('/api/v1/conversations?archived=perhaps')), '400 bypass', 'a wrong parameter');
};

subtest 'without a cache' => sub {
	$node->append_conf('postgresql.conf', "penny.cache_size = 0\n");
	$node->restart;
	$node->wait_ready;
	$http = $node->http(token => $token);
	my @answers = map { get('/things/8') } 1, 2;
	is(said($_), '200 bypass', 'nothing is kept') for @answers;
	isnt($answers[0]->{body}, $answers[1]->{body}, 'each is built');
	is(said(get('/things/8', 'Cache-Control' => 'no-cache')), '200 bypass', 'no-cache');
	is_deeply(get('/echo/off', 'X-Secret' => 'sesame')->{json}{headers}, {}, 'handlers are told as much as with one');
	my @wrong;
	for my $n (1 .. 5)
	{
		$node->sql("INSERT INTO penny.routes (method, pattern, handler, access) VALUES ('GET', '/off/$n', 'app.echo', 'public')");
		push @wrong, $n unless get("/off/$n")->{status} == 200;
	}
	is("@wrong", '', 'routes are seen by the next request');
	my $session = $node->act($ada, 'penny_admin', "SELECT penny.create_session('$ada')");
	is($node->request('GET', '/things/8', token => $session)->{status}, 200, 'a session');
	$node->sql('DELETE FROM chat.sessions');
	is($node->request('GET', '/things/8', token => $session)->{status}, 401, 'and its end');
};

$node->stop;
done_testing();
