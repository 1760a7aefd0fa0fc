#!/usr/bin/perl
# sample.pl [N]: N conversations (default 60) in OpenAI chat form, one a line,
# the same every time: what `make run` shows when no SAMPLE is given.
use strict;
use utf8;
use warnings;
use JSON::PP;

my $line = JSON::PP->new->canonical->utf8;
my $text = JSON::PP->new->canonical;    # inside a string of the line
my @cities = ('Lisbon', 'Osaka', 'Montréal', 'Nairobi', 'Reykjavík', 'Valparaíso', 'Kraków', 'Hà Nội');
my @dishes = ('ramen', 'feijoada', 'pierogi', 'poutine', 'injera', 'ceviche', 'phở', 'caldeirada');
my @times = ('noon', 'half past six', 'eight in the evening', 'a quarter to nine');
my $seed = 20240229;

# A small generator of our own: the sample must not change with perl's.
sub pick
{
	$seed = ($seed * 1103515245 + 12345) % 2**31;
	return $_[ ($seed >> 8) % @_ ];
}

for my $n (1 .. $ARGV[0] || 60)
{
	my ($city, $dish, $time, $people) = (pick(@cities), pick(@dishes), pick(@times), pick(2 .. 6));
	my $call = "call_$n";
	my @messages = (
		{ role => 'system', content => 'You book tables and answer questions about restaurants.' },
		{ role => 'user', content => "Where can I have good $dish in $city?" },
		{ role => 'assistant', content => undef,
			tool_calls => [ { id => "${call}_1", type => 'function', function =>
				{ name => 'find_restaurants', arguments => $text->encode({ city => "$city", dish => "$dish" }) } } ] },
		{ role => 'tool', tool_call_id => "${call}_1",
			content => $text->encode([ { name => "Casa $dish", stars => 4 + $n % 2 }, { name => "$city $dish", stars => 4 } ]) },
		{ role => 'assistant', content => "Two places stand out: Casa $dish and $city $dish. Shall I book one?" },
		{ role => 'user', content => "The first one, for $people at $time, please." },
		{ role => 'assistant', content => undef,
			tool_calls => [ { id => "${call}_2", type => 'function', function =>
				{ name => 'reserve_table', arguments => $text->encode({ name => "Casa $dish", people => $people, time => "$time" }) } } ] },
		{ role => 'tool', tool_call_id => "${call}_2",
			content => $text->encode({ reserved => JSON::PP::true, code => sprintf('%06d', $n * 7919 % 1000000) }) },
		{ role => 'assistant', content => "Done: a table for $people at $time." });
	for my $more (1 .. $n % 7)
	{
		push @messages,
		  { role => 'user', content => pick('Is it far from the station?', 'Do they have a terrace?', 'What does it cost?', 'May I bring a dog?') },
		  { role => 'assistant', content => pick('Ten minutes on foot.', 'Yes, with a view.', 'About thirty a person.', 'They ask to call before.') };
	}
	print $line->encode({ id => sprintf('sample_%04d', $n), title => "$dish in $city",
		metadata => { source => 'generated' }, messages => \@messages }), "\n";
}
