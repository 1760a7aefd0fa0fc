# Figures of what the cache costs and spares inside PostgreSQL: hits by SQL and
# inside a process, commits that invalidate, misses on a trace.
#
# By SQL the client (pairs.c) has a connection for each side and runs a block of
# some hundred statements on one and on the other in turn, hundreds of times;
# compared is within each pair, and the backend's own processor time is read
# before and after each block.
package Bench::Hits;

use strict;
use warnings;

use Bench::Data;
use Bench::Measure;
use JSON::PP ();

use constant ROUNDS => 3;    # of the in-process program
use constant LONG => 66;     # messages of a conversation of some 31 kB

# ---- by SQL ---------------------------------------------------------------------

sub sql
{
	my ($bench) = @_;
	my $id = $bench->{conversations}[0];
	my $server = $bench->{server};

	$server->sql('CREATE OR REPLACE FUNCTION public.bench_kilobyte(args jsonb) RETURNS jsonb
		LANGUAGE sql STABLE AS $$ SELECT jsonb_build_object(\'text\', repeat(\'x\', 1000)) $$');
	my $long = Bench::Data::conversation($bench, LONG);
	my $constant = literal($server->sql(
		"$bench->{act_as}; SELECT penny.conversation('$id', 1)") =~ s/^.*\n//sr);
	return (
		small($bench, 'hit by SQL against SELECT 1: penny.cached(), jsonb of one string',
			q{SELECT penny.cached('public.bench_kilobyte(jsonb)', '{"id": 1}')},
			q{SELECT jsonb_build_object('text', repeat('x', 1000))}),
		small($bench, '  a conversation, its text as routes get it',
			"SELECT _penny.conversation_json('$id', 1)", "SELECT ${constant}::text"),
		small($bench, '  the same as jsonb: penny.conversation()',
			"SELECT penny.conversation('$id', 1)", "SELECT ${constant}::jsonb"),
		large($bench, "penny.conversation('$long', " . LONG . ')', ' IS NULL',
			'hit by SQL of a long conversation against its rebuild, as a value in the server'),
		large($bench, "_penny.conversation_json('$long', " . LONG . ')', '', '  its text, sent to the client'),
		large($bench, "penny.conversation('$long', " . LONG . ')', '', '  the same as jsonb, which PostgreSQL writes out as text'));
}

sub literal
{
	my ($text) = @_;

	return "'" . $text =~ s/'/''/gr . "'";
}

# A hit of about a kilobyte against SELECT 1; and, since most of the difference
# may be PostgreSQL's, the same value made without penny against SELECT 1.
sub small
{
	my ($bench, $name, $hit, $same) = @_;
	my $run = sub { pairs($bench, $bench->{quick} ? 40 : 200, 300, -s => $bench->{act_as},
		-a => 'SELECT 1', -b => $_[0]) };
	my ($cached, $made) = ($run->($hit), $run->($same));
	my @rows;

	print STDERR ".\n";
	for my $what ([ time => 'time' ], [ cpu => 'CPU of the backend' ])
	{
		my ($key, $text) = @$what;
		my @ratio = ratios($cached, $key);

		push @rows, {
			figure => $key eq 'time' ? "$name, $cached->{b_bytes} B, $text" : "    $text",
			measured => spread('%.1f us', @{ $cached->{"b_$key"} }),
			base => sprintf('%s SELECT 1; the same bytes without penny: ratio %.2f',
				spread('%.1f us', @{ $cached->{"a_$key"} }), median(ratios($made, $key))),
			ratio => spread('%.2f', @ratio),
			target => '<= 1.2',
			reached => median(@ratio) <= 1.2,
		};
	}
	return @rows;
}

# A large hit against the same read past the cache.
sub large
{
	my ($bench, $read, $test, $name) = @_;
	my $select = "SELECT $read$test";
	# past the cache until the transaction ends, so both sides stay in one
	my $result = pairs($bench, $bench->{quick} ? 30 : 100, 60,
		-A => "BEGIN; SELECT _penny.cache_past(true); $bench->{act_as}",
		-B => "BEGIN; $bench->{act_as}", -a => $select, -b => $select);

	print STDERR ".\n";
	return map {
		my ($key, $text) = @$_;
		my @ratio = map { 1 / $_ } ratios($result, $key);

		{
			figure => $key eq 'time' ? "$name, $text" : "    $text",
			measured => spread('%.1f us', @{ $result->{"b_$key"} }),
			base => spread('%.1f us', @{ $result->{"a_$key"} }) . ' past the cache',
			ratio => spread('%.1f', @ratio),
			target => '>= 10',
			reached => median(@ratio) >= 10,
		}
	} [ time => 'time' ], [ cpu => 'CPU of the backend' ];
}

# ---- inside a process --------------------------------------------------------------

sub in_process
{
	my ($bench) = @_;
	my %runs;

	for my $round (1 .. ROUNDS)
	{
		my $run = client("$bench->{bin}/cache_hit", $bench->{quick} ? 50000 : 200000);

		push @{ $runs{$_} }, $run->{$_} for keys %$run;
		print STDERR '.';
	}
	print STDERR "\n";
	return map {
		my ($size, $least) = @$_;
		my $p50 = median(@{ $runs{"random_${size}_p50"} });

		{
			figure => sprintf('hit inside a process, 1 of 1,000 keys, %d kB, p50', $size / 1024),
			measured => sprintf('%.2f us, p99 %.2f', $p50 / 1e3, median(@{ $runs{"random_${size}_p99"} }) / 1e3),
			base => sprintf('%.2f us one key again and again', median(@{ $runs{"hot_${size}_p50"} }) / 1e3),
			$least ? (target => "<= $least us", reached => $p50 <= $least * 1e3) : (),
		}
	} ([ 1024 ], [ 8192, 1 ], [ 32768 ]);
}

# Misses of the cache itself on a trace, beside simulators of two others.
sub trace
{
	my ($bench) = @_;
	my ($line) = grep { /^# \{/ } split /\n/, qx($bench->{bin}/cache_trace 1000000);
	my $result = JSON::PP::decode_json($line =~ s/^# //r);

	return ({
		figure => 'miss ratio, 1,000,000 requests by Zipf with churn and scans',
		measured => sprintf('%.4f', $result->{miss_ratio}),
		base => sprintf('%.4f reference S3-FIFO', $result->{reference}),
		ratio => sprintf('%.3f', $result->{to_reference}),
		target => '0.98 to 1.02',
		reached => abs($result->{to_reference} - 1) <= 0.02,
	}, {
		figure => '  against LRU of as many bytes',
		measured => sprintf('%.4f', $result->{miss_ratio}),
		base => sprintf('%.4f', $result->{lru}),
		ratio => sprintf('%.3f', $result->{to_lru}),
		target => '<= 0.90',
		reached => $result->{to_lru} <= 0.9,
	});
}

# ---- commits ------------------------------------------------------------------------

# A row of a user's table with and without one trigger, and a message with and
# without the store's; asynchronous, so that the disk is left out.
sub commits
{
	my ($bench) = @_;
	my $server = $bench->{server};
	my $quiet = join '; ', map { "ALTER TABLE $_->[0] DISABLE TRIGGER $_->[1]" } store_triggers($server);
	my $told = join '; ', map { "ALTER TABLE $_->[0] ENABLE ALWAYS TRIGGER $_->[1]" } store_triggers($server);
	my $alone = $server->sql("$bench->{act_as}; SELECT penny.create_conversation(title => 'Alone') ->> 'id'")
		=~ s/.*\n//sr;
	my $insert = "INSERT INTO chat.messages (conversation_id, role, user_id, content)
		VALUES ('$alone', 'user', '$bench->{user}', 'A sentence such as somebody might say.')";

	$server->sql("CREATE TABLE public.bench_$_ (id int PRIMARY KEY, n bigint NOT NULL, nobody int) WITH (fillfactor = 50);
		INSERT INTO public.bench_$_ SELECT g, 0 FROM generate_series(1, 100) g") for qw(plain told empty);
	# a trigger that fires, and finds nothing to tell: what PostgreSQL takes for any
	$server->sql("CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE ON public.bench_$_->[0]
		FOR EACH ROW EXECUTE FUNCTION penny.invalidate('bench', '$_->[1]');
		ALTER TABLE public.bench_$_->[0] ENABLE ALWAYS TRIGGER invalidate") for [ 'told', 'id' ], [ 'empty', 'nobody' ];
	my $update = sub {
		pairs($bench, $bench->{quick} ? 100 : 800, 100, '-w', -s => 'SET synchronous_commit = off',
			-a => "UPDATE public.bench_$_[0] SET n = n + 1 WHERE id = 7",
			-b => "UPDATE public.bench_$_[1] SET n = n + 1 WHERE id = 7");
	};
	my $user = $update->('plain', 'told');
	print STDERR '.';
	my $own = $update->('empty', 'told');
	print STDERR '.';
	my $message = pairs($bench, $bench->{quick} ? 20 : 100, 200, '-w',
		-s => "$bench->{act_as}; SET synchronous_commit = off", -x => $quiet, -y => $told, -a => $insert,
		-b => $insert);
	$server->sql($told);
	print STDERR ".\n";
	return (added('commit of an UPDATE with one invalidation, asynchronous', $user, 0.5), {
		figure => '  of it what is more than a trigger that does nothing',
		measured => spread('%.2f us', differences($own, 'cpu')),
		base => spread('%.1f us', @{ $own->{a_cpu} }) . ' with such a trigger',
		ratio => spread('%.2f', ratios($own, 'cpu')),
	}, added('commit of a message (its conversation and participant are told too)', $message));
}

# What the store's triggers that invalidate are: [table, trigger].
sub store_triggers
{
	my ($server) = @_;

	return map { [ split /\|/ ] } split /\n/, $server->sql(
		"SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgname ~ '^penny_invalidate' AND NOT tgisinternal
		AND tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'chat'::regnamespace)");
}

# Rows of added processor time and WAL.  WAL counts as none within a rounding:
# headers of its pages fall on either side.
sub added
{
	my ($name, $result, $wal) = @_;
	my ($cpu, $bytes) = map { [ differences($result, $_) ] } qw(cpu wal);

	return ({
		figure => "$name: added CPU of the backend",
		measured => spread('%.2f us', @$cpu),
		base => sprintf('%s without the trigger, of %s', spread('%.1f us', @{ $result->{a_cpu} }),
			spread('%.1f us', @{ $result->{b_cpu} })),
		ratio => spread('%.2f', ratios($result, 'cpu')),
		target => '<= 2 us',
		reached => median(@$cpu) <= 2,
	}, {
		figure => '  added WAL',
		measured => spread('%.1f B', @$bytes),
		base => spread('%.1f B', @{ $result->{a_wal} }),
		$wal ? (target => '0 B', reached => abs(median(@$bytes)) < $wal) : (),
	});
}

# ---- the client -------------------------------------------------------------------------

sub pairs
{
	my ($bench, $pairs, $statements, @options) = @_;

	return client("$bench->{bin}/pairs", '-d', $bench->{server}{conninfo}, '-p', $pairs, '-n', $statements,
		@options);
}

sub differences
{
	my ($result, $key) = @_;

	return map { $result->{"b_$key"}[$_] - $result->{"a_$key"}[$_] } 0 .. $#{ $result->{"a_$key"} };
}

sub ratios
{
	my ($result, $key) = @_;

	return map { $result->{"b_$key"}[$_] / $result->{"a_$key"}[$_] } 0 .. $#{ $result->{"a_$key"} };
}

1;
