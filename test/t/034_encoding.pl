# Databases that are not as penny wants them: other encodings are refused, other
# locales change nothing, template databases stay out of the way.
use strict;
use warnings;
use Penny::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

subtest 'encodings' => sub {
	my $node = Penny::Cluster->prepared('encodings', database => 'ascii');
	$node->start;
	for my $encoding ('SQL_ASCII', 'LATIN1', 'EUC_JP')
	{
		my $name = lc $encoding =~ s/^SQL_//r;
		$node->safe_psql('postgres', "CREATE DATABASE $name ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
		my ($code, $out, $error) = $node->psql($name, 'CREATE EXTENSION penny');
		like($error, qr/penny needs a database of encoding UTF8, this one is of $encoding/, "$encoding: refused");
		like($error, qr/HINT:  .*ENCODING 'UTF8'/, "$encoding: with what to do");
		is($node->safe_psql($name, q{SELECT count(*) FROM pg_namespace WHERE nspname LIKE '%penny'}), 0, "$encoding: nothing was made");
	}
	ok($node->wait_until(sub { my $h = Penny::Http->connect_to(port => $node->{http_port}); my $a = $h && $h->request('GET', '/readyz', timeout => 5); $a && $a->{status} == 503 }, 10), 'penny waits');
	my $exits = () = $node->log_text =~ /exited with exit code/g;
	usleep(1_500_000);
	is(scalar(() = $node->log_text =~ /exited with exit code/g), $exits, 'quietly');
	is($node->crash_restarts, 0, 'no crash');
};

# What a locale could spoil: names of headers and types, keys, comparisons.
sub speaks
{
	my ($node, $name) = @_;
	my $ada = $node->add_user('I');
	my $talk = $node->add_conversation($ada, messages => 2);
	my $token = $node->token($ada);
	my $at = "/api/v1/conversations/$talk";
	my $http = $node->http;
	my $answer = $http->request('GET', $at, headers => [ 'AUTHORIZATION' => "BEARER $token", 'X-REQUEST-ID' => 'IiIi' ]);
	is($answer->{status}, 200, "$name: headers in capitals");
	is($answer->{header}{'x-request-id'}, 'IiIi', "$name: what is an id stays");
	is($http->request('GET', $at, headers => [ 'AUTHORIZATION' => "Bearer $token", 'IF-NONE-MATCH' => $answer->{header}{etag} ])->{status}, 304, "$name: If-None-Match");
	is($http->request('POST', "$at/messages", token => $token, headers => [ 'CONTENT-TYPE' => 'APPLICATION/JSON' ], body => '{"role":"user","content":"\u0130\u0131 Ii ﬃ","client_id":"İI"}')->{status}, 201, "$name: Content-Type in capitals");
	my $id = uc $talk;
	is($http->request('GET', "/api/v1/conversations/$id", token => $token)->{status}, 200, "$name: an id in capitals");
	$node->sql(q{CREATE SCHEMA IF NOT EXISTS app; GRANT USAGE ON SCHEMA app TO penny_user;
		CREATE FUNCTION app.headers(r penny.request) RETURNS penny.response LANGUAGE sql AS $$SELECT (200, '{"X-INFINITE-ID":"Ii"}', r.headers)::penny.response$$;
		INSERT INTO penny.routes (method, pattern, handler, access) VALUES ('GET', '/headers', 'app.headers', 'user')});
	$answer = $http->request('GET', '/headers', token => $token, headers => [ 'X-CLIENT-ID' => 'Ii' ]);
	is($answer->{json}{'x-client-id'}, 'Ii', "$name: names of headers are folded as ASCII");
	is($answer->{header}{'x-infinite-id'}, 'Ii', "$name: also those of a handler");
	my $ws = $node->websocket(token => $token);
	is($ws->join_room("conversation:$talk")->{type}, 'joined', "$name: a room");
	is($ws->call({ type => 'message', room => "conversation:$talk", content => "\x{130}I" })->{type}, 'ack', "$name: a message");
	my ($message) = grep { $_->{type} eq 'message' } @{ $ws->{others} || [] };
	$message //= $ws->wait_type('message') // {};
	is($message->{message}{content}, "\x{130}I", "$name: comes back as it was");
	is($node->sql("SELECT count(*) FROM penny.doctor() WHERE ok IS NOT TRUE"), 0, "$name: doctor() has nothing to say");
}

my %locale = (
	'C' => "ENCODING 'UTF8' LOCALE 'C'",
	'tr-TR by ICU' => "ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'tr-TR' LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'",
	'tr_TR by libc' => "ENCODING 'UTF8' LOCALE 'tr_TR.UTF-8'");
for my $name (sort keys %locale)
{
	subtest "locale $name" => sub {
		plan skip_all => 'the system has no such locale' if $name =~ /libc/ && `locale -a 2>/dev/null` !~ /^tr_TR\.utf-?8$/mi;
		my $node = Penny::Cluster->prepared('locale_' . $name =~ s/\W/_/gr, database => 'app');
		$node->start;
		$node->safe_psql('postgres', "CREATE DATABASE app $locale{$name} TEMPLATE template0");
		$node->sql('CREATE EXTENSION penny');
		$node->sql('SELECT penny.create_store()');
		$node->wait_ready;
		is($node->sql(q{SELECT lower('I' COLLATE "tr-TR-x-icu")}), "\xc4\xb1", 'the locale would fold otherwise') if $name =~ /ICU/;
		speaks($node, $name);
		is($node->crash_restarts, 0, 'no crash');
	};
}

subtest 'template databases' => sub {
	my $node = Penny::Cluster->prepared('template', database => 'template1');
	$node->start;
	$node->sql('CREATE EXTENSION penny');
	$node->sql('SELECT penny.create_store()');
	ok($node->wait_ready(10), 'one is served like any other');
	my $began = time;
	my ($code, $out, $error) = $node->psql('postgres', 'CREATE DATABASE made');
	is($error, '', 'and still copied');
	cmp_ok(time - $began, '<', 20, 'soon');
	ok($node->wait_ready(10), 'serves again');
	is($node->safe_psql('made', 'SELECT count(*) FROM penny.doctor() WHERE ok IS FALSE AND "check" <> $$database$$'), 0, 'the copy is whole');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'made'}), 0, 'nothing of penny is connected to the copy');
	$node->safe_psql('postgres', 'DROP DATABASE made');

	my $off = Penny::Cluster->prepared('template_off', database => 'template0');
	$off->start;
	ok($off->wait_until(sub { my $h = Penny::Http->connect_to(port => $off->{http_port}); my $a = $h && $h->request('GET', '/readyz', timeout => 5); $a && $a->{status} == 503 }, 10), 'one that takes no connections: 503');
	my $size = length $off->log_text;
	usleep(1_500_000);
	is(length $off->log_text, $size, 'quietly');
	is($off->crash_restarts, 0, 'no crash');
};

done_testing;
