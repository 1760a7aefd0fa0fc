# Rooms: how soon, how whole and at what price members hear what is said.
#
# The members, and those who speak, are test/bench/members.c.  Processor time is
# that of all processes of penny together: edge, gateways, executors, relay.
package Bench::Rooms;

use strict;
use warnings;

use Bench::Crowds;
use Bench::Hits;
use Bench::Measure;
use Bench::Server;
use IPC::Open2;
use JSON::PP ();
use Time::HiRes qw(time sleep);

use constant ADDRESSES => 64;
use constant AUDIENCE => 1000;
use constant CUT => 10;    # seconds after which who does not read must be out

# From COMMIT to the frame; the client is that of figure 4.
sub commit_to_frame
{
	my ($bench) = @_;
	my $run = sub {
		my ($durable) = @_;
		return client("$bench->{bin}/room", '-p', $bench->{server}{port}, '-k', $bench->{token_file},
			'-r', "conversation:$bench->{write_conversation}", '-q', $bench->{write}, '-n',
			$bench->{quick} ? 100 : 500, '-i', 60, '-d',
			"$bench->{server}{conninfo} options='-c synchronous_commit=$durable'");
	};
	my ($on, $off) = alternate($bench->{quick} ? 1 : 3, sub { $run->('on') }, sub { $run->('off') });
	my $row = sub {
		my ($name, $values) = @_;
		my %ms = map { $_ => median(map { $_ / 1e3 } @{ $values->{$_} }) } keys %$values;

		return {
			figure => "commit to frame, idle, $name",
			measured => sprintf('p50 %.2f ms, p95 %.2f, p99 %.2f', @ms{qw(frame_p50_us frame_p95_us frame_p99_us)}),
			base => sprintf('COMMIT answered p50 %.2f ms; frame behind it p50 %.2f, p99 %.2f',
				@ms{qw(commit_p50_us behind_p50_us behind_p99_us)}),
			target => 'p50 <= 1 ms, p99 <= 5 ms',
			reached => $ms{frame_p50_us} <= 1 && $ms{frame_p99_us} <= 5,
		};
	};
	return ($row->('synchronous_commit off', $off), $row->('durable', $on));
}

# ---- members -------------------------------------------------------------------

# Start the members and wait until they stand.
sub gather
{
	my ($bench, $port, $rooms, @options) = @_;
	my $pid = open2(my $out, my $in, "$bench->{bin}/members", '-p', $port, '-k', $bench->{token_file},
		'-R', $rooms, '-a', ADDRESSES, @options);
	my $line = readline($out) // die "the members could not come\n";

	return { pid => $pid, out => $out, in => $in };
}

# Let them speak; their result, with the processor time that $cpu->() counts, ns.
sub talk
{
	my ($members, $cpu, $meanwhile) = @_;
	my $before = $cpu->();

	print { $members->{in} } "go\n";
	$members->{in}->flush;
	$meanwhile->() if $meanwhile;
	my $line = readline($members->{out}) // die "the members failed\n";
	my $used = $cpu->() - $before;
	close($members->{in});
	waitpid($members->{pid}, 0);
	return { %{ JSON::PP::decode_json($line) }, cpu => $used };
}

# Processor time of all processes of penny, those that came meanwhile too.
sub penny_cpu
{
	my ($bench) = @_;
	my $kinds = $bench->{server}->processes;
	my $sum = 0;

	$sum += Bench::Measure::cpu_ns($_) for map { @$_ } values %$kinds;
	return $sum;
}

# So many conversations of the benchmark's user; the file that names them.
sub rooms
{
	my ($bench, $count) = @_;
	my $ids = $bench->{server}->sql("$bench->{act_as};
		SELECT penny.create_conversation(title => 'A room') ->> 'id' FROM generate_series(1, $count)");
	my @ids = grep { /^[0-9a-f-]{36}$/ } split /\n/, $ids;

	die "rooms could not be made\n" if @ids != $count;
	return Bench::Data::write_lines($bench, "rooms.$count", @ids);
}

# Faults in a result as text, '' for none.
sub faults
{
	my ($result) = @_;
	my $lost = $result->{sent} - $result->{complete};

	return '' if !grep { $_ } $lost, @$result{qw(missed repeated refused ended)};
	return sprintf('%d not everywhere, %d missed, %d repeated, %d refused, %d ended', $lost,
		@$result{qw(missed repeated refused ended)});
}

# ---- against ws ----------------------------------------------------------------

# The `ws` package, from the registry into the benchmark's directory; the base
# is a server of a few lines with it.
sub start_peer
{
	my ($bench) = @_;
	my $port = Bench::Server::free_port();
	my $dir = "$bench->{dir}/peer";

	mkdir $dir;
	if (!-d "$dir/node_modules/ws")
	{
		system("cd $dir && HOME=$dir npm install --no-audit --no-fund --prefix $dir ws@8 >$dir/npm.log 2>&1") == 0
			or die "could not install ws; see $dir/npm.log\n";
	}
	my $pid = open(my $pipe, '-|', 'node', "$bench->{dir}/peer/broadcast.mjs", $port, $dir)
		// die "could not run node: $!\n";
	readline($pipe) // die "the server by ws does not start\n";
	open(my $fh, '<', "$dir/node_modules/ws/package.json") or die "no ws: $!\n";
	my $version = JSON::PP::decode_json(do { local $/; <$fh> })->{version};
	return { pid => $pid, pipe => $pipe, port => $port, version => $version };
}

sub against_ws
{
	my ($bench) = @_;
	my $server = $bench->{server};
	my @rows;

	$server->restart_with('penny.websocket_messages_per_second' => 100000);
	my $peer = start_peer($bench);
	my $rooms = rooms($bench, 1);
	my $seconds = $bench->{seconds} * 2;
	my @common = ('-n', AUDIENCE, '-t', $seconds);
	my $pair = sub {
		my ($name, $target, @how) = @_;
		my (@window) = @{ pop @how };
		my %bad;
		my $measure = sub {
			my ($who, $port, $cpu, @options) = @_;
			my $members = gather($bench, $port, $rooms, @common, @how, @options);
			my $result = talk($members, $cpu);
			my $faults = faults($result);

			$bad{$who} = $faults if $faults ne '';
			return { cpu => $result->{cpu} / $result->{deliveries} / 1e3,
				rate => $result->{complete} / $result->{seconds},
				bytes => $result->{bytes} / $result->{deliveries},
				frames => $result->{frames} / $result->{deliveries}, p50 => $result->{p50_us} / 1e3 };
		};
		my ($p, $w) = alternate($bench->{runs},
			sub { $measure->('penny', $server->{port}, sub { penny_cpu($bench) }, @window) },
			sub { $measure->('ws', $peer->{port}, sub { Bench::Measure::cpu_ns($peer->{pid}) }, '-P') });
		my @ratio = map { $p->{cpu}[$_] / $w->{cpu}[$_] } 0 .. $#{ $p->{cpu} };
		my $said = sub {
			my ($of) = @_;
			return sprintf('%s, %.0f messages/s, p50 %.0f ms, %.0f B a message, %.2f frames',
				spread('%.2f us', @{ $of->{cpu} }), map { median(@{ $of->{$_} }) } qw(rate p50 bytes frames));
		};

		push @rows, {
			figure => $name,
			measured => $said->($p) . ($bad{penny} ? ", $bad{penny}" : ''),
			base => $said->($w) . " by ws $peer->{version}" . ($bad{ws} ? ", $bad{ws}" : ''),
			ratio => spread('%.2f', @ratio),
			defined $target ? (target => sprintf('<= %.2f', $target),
				reached => median(@ratio) <= $target && !$bad{penny}) : (),
		};
	};

	$pair->('CPU per delivery to 1,000 members, 4 messages in flight', 1 / 3, '-f', 4, []);
	$pair->('  50 messages/s', 0.8, '-i', 50, []);
	$pair->('  4 in flight, batch window 0', undef, '-f', 4, [ '-b', 0 ]);
	$pair->('  50 messages/s, batch window 0', undef, '-i', 50, [ '-b', 0 ]);
	kill 'TERM', $peer->{pid};
	close($peer->{pipe});
	$server->restart_with;
	return @rows;
}

# ---- many rooms -----------------------------------------------------------------

# 100 rooms of 20, stored messages with durable commits.
sub many_rooms
{
	my ($bench) = @_;
	my $rooms = rooms($bench, 100);
	my $seconds = $bench->{quick} ? 5 : 20;
	my (%p99, %p50, %bad, $rate);

	for my $round (0 .. ($bench->{quick} ? 1 : 5))
	{
		for my $window (50, 0)
		{
			my $members = gather($bench, $bench->{server}{port}, $rooms, '-n', 2000, '-t',
				$round == 0 ? 2 : $seconds, '-i', 500, '-b', $window);
			my $result = talk($members, sub { 0 });
			my $faults = faults($result);

			# nothing may be lost in the first round either
			$bad{$window} = $faults if $faults ne '';
			next if $round == 0;
			push @{ $p99{$window} }, $result->{p99_us} / 1e3;
			push @{ $p50{$window} }, $result->{p50_us} / 1e3;
			$rate = $result->{complete} / $result->{seconds};
			print STDERR '.';
		}
	}
	print STDERR "\n";
	return map {
		my ($window, $target) = @$_;
		{
			figure => $window ? '100 rooms of 20, 500 durable messages/s: from due to the member, p99'
				: '  batch window 0',
			measured => sprintf('%s, p50 %.1f', spread('%.1f ms', @{ $p99{$window} }),
				median(@{ $p50{$window} })) . (exists $bad{$window} ? "; $bad{$window}" : '; 0 lost, repeated, out of order'),
			base => sprintf('%.0f messages/s came whole', $rate),
			target => "<= $target ms",
			reached => median(@{ $p99{$window} }) <= $target && !exists $bad{$window},
		};
	} [ 50, 80 ], [ 0, 15 ];
}

# ---- what a message costs who writes it --------------------------------------------

# A table as chat.messages is, with its indexes, checks, foreign keys and the
# triggers of the cache, but without penny_order, penny_publish, penny_flush;
# and a row of counters such as an application would keep by hand.
sub plain_tables
{
	my ($bench) = @_;

	$bench->{server}->sql(<<'EOF_SQL');
CREATE SCHEMA plain;
CREATE SEQUENCE plain.numbers CACHE 1000;
CREATE TABLE plain.messages (LIKE chat.messages INCLUDING ALL);
CREATE TABLE plain.counted (LIKE chat.messages INCLUDING ALL);
CREATE TABLE plain.conversations (LIKE chat.conversations INCLUDING ALL);
INSERT INTO plain.conversations OVERRIDING SYSTEM VALUE SELECT * FROM chat.conversations;
DO $$
DECLARE
	def text;
	name text;
	twin text;
BEGIN
	FOREACH twin IN ARRAY '{plain.messages,plain.counted}'::text[] LOOP
	FOR name, def IN SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
		WHERE conrelid = 'chat.messages'::regclass AND contype = 'f'
	LOOP
		EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I %s', twin, name,
			replace(def, 'chat.messages', twin));
	END LOOP;
	FOR name, def IN SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger
		WHERE tgrelid = 'chat.messages'::regclass AND tgname LIKE 'penny_invalidate%'
	LOOP
		EXECUTE replace(def, 'chat.messages', twin);
		EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', twin, name);
	END LOOP;
	END LOOP;
END $$;
EOF_SQL
}

# Statements that insert one message each: as penny has it, plain, and plain with
# an UPDATE that numbers and counts.
sub inserts
{
	my ($bench, $conversation) = @_;
	my $content = 'A message of the length that people write when they have something to say to others.';
	my $columns = 'id, conversation_id, seq, version, created_version, role, user_id, content';
	my $values = sub { "gen_random_uuid(), '$conversation', $_[0], $_[1], $_[1], 'user', '$bench->{user}', '$content'" };

	return (
		"INSERT INTO chat.messages (conversation_id, role, user_id, content)
			VALUES ('$conversation', 'user', '$bench->{user}', '$content')",
		"INSERT INTO plain.messages ($columns) VALUES ("
			. $values->("nextval('plain.numbers')", "currval('plain.numbers')") . ')',
		"WITH c AS (UPDATE plain.conversations SET version = version + 1, last_seq = last_seq + 1,
			message_count = message_count + 1, last_message_at = now(), updated_at = now()
			WHERE id = '$conversation' RETURNING last_seq)
			INSERT INTO plain.counted ($columns) SELECT " . $values->('last_seq', 'last_seq') . ' FROM c');
}

# Without and with members in the room; vacuumed between the rounds.
sub cost_of_triggers
{
	my ($bench) = @_;
	my $server = $bench->{server};
	my $conversation = $server->sql("$bench->{act_as};
		SELECT penny.create_conversation(title => 'Costs') ->> 'id'") =~ s/.*\n//sr;
	my @rows;

	plain_tables($bench) if !$bench->{plain}++;
	my ($penny, @bases) = inserts($bench, $conversation);
	for my $with (0, 1)
	{
		my $members = $with ? Bench::Crowds::gather($bench, 20, '-r', "conversation:$conversation") : undef;
		my $limit = $with ? 40 : 15;
		my %added;
		my %cpu;

		for my $round (1 .. ($bench->{quick} ? 2 : 5))
		{
			for my $base (0, 1)
			{
				my $result = Bench::Hits::pairs($bench, 20, 100, -s => 'SET synchronous_commit = off',
					-a => $bases[$base], -b => $penny);

				push @{ $added{$base} }, map { $result->{b_cpu}[$_] - $result->{a_cpu}[$_] }
					0 .. $#{ $result->{a_cpu} };
				push @{ $cpu{$base} }, @{ $result->{a_cpu} };
				push @{ $cpu{penny} }, @{ $result->{b_cpu} };
				$server->sql('VACUUM chat.messages, chat.conversations, chat.participants, plain.messages,
					plain.counted, plain.conversations');
			}
			print STDERR '.';
		}
		my $ended = $members ? Bench::Crowds::dismiss($bench, $members) : 0;
		die "members were put out\n" if $ended > 0;
		push @rows, {
			figure => ($with ? '  ' : '') . 'CPU that a message adds: triggers against a table without, '
				. ($with ? '20 members' : 'no member'),
			measured => spread('%.1f us', @{ $added{0} }),
			base => sprintf('%s, with triggers %s', spread('%.1f us', @{ $cpu{0} }), spread('%.1f us', @{ $cpu{penny} })),
			target => "<= $limit us",
			reached => median(@{ $added{0} }) <= $limit,
		}, {
			figure => '  against one that numbers and counts by an UPDATE',
			measured => spread('%.1f us', @{ $added{1} }),
			base => spread('%.1f us', @{ $cpu{1} }),
		};
	}
	print STDERR "\n";
	return @rows;
}

# ---- who does not read ---------------------------------------------------------------

# Healthy members beside many that never read, pair by pair.
sub who_does_not_read
{
	my ($bench) = @_;
	my $server = $bench->{server};
	my ($healthy, $slow) = (200, 1000);
	my $rooms = rooms($bench, 1);
	my $seconds = 15;
	my (@memory, @cut);
	my $bad = '';

	my $run = sub {
		my ($with) = @_;
		my $members = gather($bench, $server->{port}, $rooms, '-n', $healthy, '-t', $seconds, '-i', 25,
			'-c', 4000, $with ? ('-S', $slow) : ());
		my $edge = $server->stats->{gateways}[0]{edge_pid};
		my $before = Bench::Server::memory($edge);
		my ($most, $out) = ($before, undef);
		my $result = talk($members, sub { 0 }, sub {
			my $begin = time();
			my $last = 0;

			while (time() - $begin < $seconds)
			{
				my $now = Bench::Server::memory($edge);
				$most = $now if $now > $most;
				if ($with && !defined $out && time() - $last >= 0.25)
				{
					$last = time();
					$out = $last - $begin
						if $server->stats->{gateways}[0]{edge}{websockets} <= $healthy;
				}
				sleep(0.05);
			}
		});
		my $faults = faults($result);

		$bad = $faults if $faults ne '';
		push @memory, ($most - $before) / 1e6 if $with;
		push @cut, $out // 1e3 if $with;
		return { p99 => $result->{p99_us} / 1e3, p50 => $result->{p50_us} / 1e3, memory => ($most - $before) / 1e6 };
	};
	my ($s, $n) = alternate($bench->{runs}, sub { $run->(1) }, sub { $run->(0) });
	my @ratio = map { $s->{p99}[$_] / $n->{p99}[$_] } 0 .. $#{ $s->{p99} };
	my ($most) = sort { $b <=> $a } @memory;
	my ($last) = sort { $b <=> $a } @cut;

	return ({
		figure => "$healthy members beside $slow that never read: p99",
		measured => spread('%.1f ms', @{ $s->{p99} }) . ($bad ne '' ? "; $bad" : '; 0 lost, repeated'),
		base => spread('%.1f ms', @{ $n->{p99} }) . ' without',
		ratio => spread('%.2f', @ratio),
		target => '<= 1.5',
		reached => median(@ratio) <= 1.5 && $bad eq '',
	}, {
		figure => '  memory of the edge, the most at any time',
		measured => sprintf('%.1f MB more', $most),
		base => sprintf('%.1f MB more without', median(@{ $n->{memory} })),
		target => '<= 64 MB',
		reached => $most <= 64,
	}, {
		figure => '  from the first message until the last of them is out',
		measured => $last < 1e3 ? sprintf('p50 %.1f s, max %.1f s', median(@cut), $last) : 'not out',
		target => '<= ' . CUT . ' s',
		reached => $last <= CUT,
	});
}

1;
