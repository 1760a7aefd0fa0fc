# Real conversations, as `make run SAMPLE=…` loads them: every message, tool
# call, argument and result of the file is in the tables and over HTTP; loading
# again changes nothing.
use strict;
use warnings;
use JSON::PP;
use Penny::Cluster;
use Test::More;

my $sample = $ENV{PENNY_SAMPLE} // '';
plan skip_all => 'the sample of real conversations is not there (../shared/data)' unless -r $sample;

my $json = JSON::PP->new->utf8;
my (%count, $last);
open my $in, '-|', 'gzip', '-dcf', $sample or die "gzip: $!";
while (my $line = <$in>)
{
	$last = $json->decode($line);
	$count{conversations}++;
	$count{messages} += @{ $last->{messages} };
	$count{calls} += @{ $_->{tool_calls} || [] } for @{ $last->{messages} };
	$count{results} += grep { $_->{role} eq 'tool' } @{ $last->{messages} };
}
close $in;

my $node = Penny::Cluster->serving('sample');
my $owner = $node->add_user('Owner');
my $import = sub {
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => $node->{database});
	return system('test/tools/import.sh', $sample, $owner);
};
is($import->(), 0, 'imported');
is($node->sql('SELECT count(*) FROM chat.conversations'), $count{conversations}, "$count{conversations} conversations");
is($node->sql('SELECT count(*) FROM chat.messages'), $count{messages}, "$count{messages} messages");
is($node->sql('SELECT count(*) FROM chat.tool_executions'), $count{calls}, "$count{calls} tool calls");
is($node->sql('SELECT count(*) FROM chat.tool_executions WHERE output IS NOT NULL'), $count{results}, "$count{results} results");
is($node->sql('SELECT count(*) FROM chat.conversations c WHERE last_seq <> message_count OR last_seq <> (SELECT max(seq) FROM chat.messages m WHERE m.conversation_id = c.id)'),
	0, 'seq runs without a hole');

# One of them, member by member, as the API shows it.
my $id = $node->sql("SELECT id FROM chat.conversations WHERE external_id = '$last->{id}'");
my $got = $node->request('GET', "/api/v1/conversations/$id?messages=200", token => $node->token($owner))->{json};
is($got->{title}, $last->{title}, 'title');
my @messages = reverse @{ $got->{messages} };
is_deeply([ map { [ $_->{role}, $_->{content} ] } @messages ],
	[ map { [ $_->{role}, $_->{content} ] } @{ $last->{messages} } ], 'roles and contents');
my %called = map { $_->{tool_call_id} => $_ } map { @{ $_->{tool_executions} || [] } } @messages;
my (@wanted, @stored);
for my $call (map { @{ $_->{tool_calls} || [] } } @{ $last->{messages} })
{
	my $execution = $called{ $call->{id} } || {};
	push @wanted, [ $call->{function}{name}, $json->decode($call->{function}{arguments}) ];
	push @stored, [ $execution->{tool_id}, $execution->{input} ];
}
is_deeply(\@stored, \@wanted, 'tool calls with their arguments');

my $version = $node->sql('SELECT sum(version) FROM chat.conversations');
is($import->(), 0, 'imported again');
is($node->sql('SELECT sum(version) FROM chat.conversations'), $version, 'changes nothing');
is($node->crash_restarts, 0, 'no crash');
done_testing;
