# Penny::JobLog: a queue through faults, and the judgement afterwards.
#
# Clients enqueue numbered jobs in every way (test/bench/enqueuer.c); jobs are
# SQL functions that write a row, the same that fail at first, and work of
# programs that claim and complete (test/bench/claimer.c), in the transaction of
# their effect or outside of it.  fault() does one thing to the server or to
# them.  What was enqueued, what was done, and what was given up by whom is
# compared when the queue is empty: a queue that is right as a whole, whatever
# the order (a "total queue").  judge() is a function of what logs and tables
# say alone, so that tests can show it logs that were tampered with.
package Penny::JobLog;

use strict;
use warnings;
use Exporter 'import';
use IPC::Open2;
use Penny::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep time);

our @EXPORT_OK = qw(judge read_fates read_holds);

use constant PATIENCE => 90;    # seconds for a server to be back
use constant QUEUES => qw(checked outside inside);
use constant LEASE => '10 s';   # of a claimer that was killed nobody hears
my %in_ledger = map { $_ => 1 } qw(ledger fails_once inside);

# ---- the judge -------------------------------------------------------------------

# Logs of enqueuers: { number => [fate, kind] }.
sub read_fates
{
	my (@files) = @_;
	my %fates;
	for my $file (@files)
	{
		open my $fh, '<', $file or die "$file: $!";
		while (my $line = <$fh>)
		{
			my ($fate, $kind, $number) = split ' ', $line;
			$fates{$number} = "$fate $kind";
		}
	}
	return \%fates;
}

# Logs of those who work outside of transactions: { number => [starts, how often its holder
# lost hold of it] }.  A log that ends after a start is that of one who was killed.
sub read_holds
{
	my (@files) = @_;
	my %holds;
	for my $file (@files)
	{
		my %open;
		open my $fh, '<', $file or die "$file: $!";
		while (my $line = <$fh>)
		{
			# the last line of one who was killed may be half a line
			my ($what, $number) = $line =~ /^([SCLG]) (\d+)\n/ or next;
			if ($what eq 'S')
			{
				$holds{$number}[0]++;
				$open{$number} = 1;
			}
			elsif ($what eq 'C') { delete $open{$number}; }
			elsif ($what eq 'L') { $holds{$number}[1]++ if delete $open{$number}; }
		}
		$holds{$_}[1]++ for keys %open;
	}
	return \%holds;
}

# Complaints about a queue that had come to rest:
#	fates   { number => "fate kind" }                 what was enqueued (enqueuer.c)
#	ledger  [ [number, kind, attempt], ... ]          effects in transactions, all that there are
#	holds   { number => [starts, holds lost] }        effects outside (claimer.c)
#	dead    { number => reason }                      dead letters
#	left    { what => how many }                      what tables and views say is not done
# Whatever was acknowledged ran to its end; nothing ran that was not enqueued, or
# was rolled back; effects in a transaction are there once; others as often as
# somebody lost hold of the job in between, and once; and nothing is left.
sub judge
{
	my (%what) = @_;
	my ($fates, $holds) = @what{qw(fates holds)};
	my (@bad, %rows);
	my %count = map { $_ => 0 } qw(acknowledged indeterminate rolled_back effects again in_flight);

	for my $row (@{ $what{ledger} })
	{
		my ($number, $kind, $attempt) = @$row;
		$rows{$number}++;
		$count{effects}++;
		my ($fate, $enqueued) = split ' ', $fates->{$number} // '- -';
		push @bad, "$number ($kind) was done, and is $enqueued" if $fate =~ /[AM]/ && $enqueued ne $kind;
		push @bad, "$number ($kind) was done at attempt $attempt, which fails"
		  if $kind eq 'fails_once' && $attempt < 2;
	}
	for my $number (sort { $a <=> $b } keys %rows)
	{
		push @bad, "$number was done $rows{$number} times" if $rows{$number} > 1;
	}
	for my $number (sort { $a <=> $b } keys %rows, keys %$holds)
	{
		my ($fate) = split ' ', $fates->{$number} // '-';
		push @bad, "$number was done, and never enqueued" if $fate eq '-';
		push @bad, "$number was done, and rolled back" if $fate eq 'R';
	}
	for my $number (sort { $a <=> $b } keys %$holds)
	{
		my ($starts, $lost) = map { $_ // 0 } @{ $holds->{$number} }[ 0, 1 ];
		$count{effects} += $starts;
		$count{again} += $starts - 1;
		$count{in_flight} += $lost;
		my (undef, $kind) = split ' ', $fates->{$number} // '- -';
		push @bad, "$number ($kind) was done outside" if $kind ne 'outside' && $kind ne '-';
		push @bad, "$number was done $starts times, though hold was lost of it $lost times"
		  if $starts > 1 + $lost;
	}
	while (my ($number, $said) = each %$fates)
	{
		my ($fate, $kind) = split ' ', $said;
		$count{ { A => 'acknowledged', M => 'indeterminate', R => 'rolled_back' }->{$fate} }++;
		next if $fate ne 'A';
		push @bad, "$number ($kind) was acknowledged, and never done"
		  unless $in_ledger{$kind} ? $rows{$number} : $holds->{$number};
	}
	push @bad, map { "$_ is a dead letter: $what{dead}{$_}" } sort { $a <=> $b } keys %{ $what{dead} };
	push @bad, map { "$what{left}{$_} left: $_" } grep { $what{left}{$_} } sort keys %{ $what{left} };
	return (\@bad, \%count);
}

# ---- the stage -------------------------------------------------------------------

# programs: where the clients are; enqueuers, how many, so many jobs each, one
# transaction in interval ms; claimers of each of both sorts; workers of penny.
sub start
{
	my ($class, %with) = @_;
	my $self = bless { %with, faults => {}, serial => 0, outside => [] }, $class;
	$self->{node} = Penny::Cluster->serving('joblog', conf => "penny.job_workers = $with{workers}\n");
	$self->{dir} = PostgreSQL::Test::Utils::tempdir();
	$self->write_handlers;
	$self->write_file('conninfo', $self->{node}->connstr('postgres'));
	$self->{claimers} = [ map { $self->claimer($_) } ('outside') x $with{claimers}, ('inside') x $with{claimers} ];
	$self->{enqueuers} = [ map { $self->client('enqueuer', '-d', "$self->{dir}/conninfo", '-o',
		"$self->{dir}/enqueuer.$_", '-c', $_, '-C', $with{enqueuers}, '-n', $with{jobs}, '-i', $with{interval}) }
		0 .. $with{enqueuers} - 1 ];
	return $self;
}

# Attempts enough that faults do not use them up.
sub write_handlers
{
	my ($self) = @_;
	my $queues = join '; ', map { "SELECT penny.create_queue('$_', concurrency => NULL, rate_limit => NULL,
		attempts => 100, backoff => '20 ms', backoff_type => 'fixed')" } QUEUES;
	$self->{node}->sql("$queues;
		CREATE TABLE public.ledger (number bigint, kind text, attempt int);
		CREATE FUNCTION public.to_ledger(job jsonb) RETURNS jsonb LANGUAGE sql AS \$\$
			INSERT INTO public.ledger VALUES ((job ->> 'n')::bigint, 'ledger', 0) RETURNING NULL::jsonb \$\$;
		CREATE FUNCTION public.fails_once(job jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$
			DECLARE
				attempt int := (penny.job_context() ->> 'attempt')::int;
			BEGIN
				INSERT INTO public.ledger VALUES ((job ->> 'n')::bigint, 'fails_once', attempt);
				IF attempt < 2 THEN
					RAISE EXCEPTION 'the first attempt fails';
				END IF;
				RETURN NULL;
			END \$\$;
		SELECT penny.handle('ledger', 'public.to_ledger', queue => 'checked');
		SELECT penny.handle('fails_once', 'public.fails_once', queue => 'checked');
		SELECT penny.handle('outside', queue => 'outside');
		SELECT penny.handle('inside', queue => 'inside')");
}

sub write_file
{
	my ($self, $name, @text) = @_;
	open my $fh, '>', "$self->{dir}/$name.new" or die "$name: $!";
	print $fh @text;
	close $fh;
	rename "$self->{dir}/$name.new", "$self->{dir}/$name" or die "$name: $!";
}

sub client
{
	my ($self, $program, @args) = @_;
	local $ENV{PGAPPNAME} = $program;
	my $pid = open2(my $out, my $in, "$self->{programs}/$program", @args);
	$in->autoflush(1);
	return { pid => $pid, out => $out, in => $in, name => $program };
}

sub claimer
{
	my ($self, $mode) = @_;
	my $number = ++$self->{serial};
	my $log = "$self->{dir}/$mode.$number";
	push @{ $self->{outside} }, $log if $mode eq 'outside';
	return { mode => $mode, %{ $self->client('claimer', '-d', "\@$self->{dir}/conninfo", '-q', $mode, '-m', $mode,
		'-o', $log, '-n', 5, '-l', LEASE, '-c', $number) } };
}

# ---- faults ------------------------------------------------------------------------

# worker, backend (of one who enqueues), claimer: one is killed; immediate: the server is
# restarted without a shutdown.
sub fault
{
	my ($self, $kind) = @_;
	my $node = $self->{node};
	$self->{faults}{$kind}++;
	if ($kind eq 'worker') { $self->kill_backend("backend_type = 'penny worker'"); }
	elsif ($kind eq 'backend') { $self->kill_backend("application_name = 'enqueuer'"); }
	elsif ($kind eq 'claimer')
	{
		my $claimers = $self->{claimers};
		my $victim = $claimers->[ my $i = int rand @$claimers ];
		kill 'KILL', $victim->{pid};
		waitpid $victim->{pid}, 0;
		$claimers->[$i] = $self->claimer($victim->{mode});
	}
	elsif ($kind eq 'immediate')
	{
		$node->stop('immediate');
		$node->start;
	}
}

# Kill one process of the server, after which PostgreSQL starts all over.
sub kill_backend
{
	my ($self, $which) = @_;
	my $node = $self->{node};
	my $before = $node->crash_restarts;
	my @pids;
	$node->wait_until(sub {
		@pids = split /\n/, $self->ask("SELECT pid FROM pg_stat_activity WHERE $which") // '';
	}, PATIENCE) or die "there is no process where $which";
	kill 'KILL', $pids[ rand @pids ];
	$node->wait_until(sub { $node->crash_restarts > $before }, PATIENCE) or die 'nothing happened';
	$node->wait_until(sub { $self->left(0) }, PATIENCE) or die 'no sessions';
}

# ---- the end -----------------------------------------------------------------------

# What is not done, as memory says; with `all` as tables and views say, too.  undef: nobody answers.
sub left
{
	my ($self, $all) = @_;
	my $queues = join ', ', map { "'$_'" } QUEUES;
	my $out = $self->ask(join ' UNION ALL ',
		"SELECT 'waiting or running in penny.queues', sum(waiting + delayed + active) FROM penny.queues WHERE name IN ($queues)",
		"SELECT 'jobs not in memory', (loaded IS NOT TRUE OR missed)::int FROM _penny.queue_facts()",
		"SELECT 'prepared transactions', count(*) FROM pg_prepared_xacts",
		"SELECT 'deferred jobs', count(*) FROM _penny.jobs_deferred",
		$all ? ("SELECT 'keys', count(*) FROM _penny.job_keys",
			# each has one receipt of its end, and no more
			(map { "SELECT 'rows of segment $_ beyond the receipts of ends', (SELECT count(*) FROM _penny.job_$_) -
				(SELECT coalesce(sum(jobs), 0) FROM _penny.receipt_$_ WHERE outcome <> 2)" } 0 .. 7),
			"SELECT 'jobs', count(*) FROM penny.jobs WHERE queue IN ($queues) AND state NOT IN ('completed', 'failed', 'cancelled')")
		: ());
	return defined $out ? { map { split /\|/ } split /\n/, $out } : undef;
}

# The answer of a server that may not accept sessions; undef: there is none.
sub ask
{
	my ($self, $sql) = @_;
	# psql that is refused before it has read the query is no answer, and an exception
	my ($code, $out) = eval { $self->{node}->psql('postgres', $sql) };
	die $@ if $@ =~ /^ended by signal/;
	return defined $code && $code == 0 ? $out : undef;
}

sub stop_client
{
	my ($client) = @_;
	close $client->{in};
	waitpid $client->{pid}, 0;
	die "$client->{name} failed" if $?;
}

# All is enqueued, and what is there gets done: then everything for the judge.
sub finish
{
	my ($self, $patience) = @_;
	my $node = $self->{node};
	for my $enqueuer (@{ $self->{enqueuers} })
	{
		# it ends when it has used its numbers
		readline $enqueuer->{out} // die 'an enqueuer ended';
		stop_client($enqueuer);
	}
	delete $self->{enqueuers};
	my $left;
	$node->wait_until(sub {
		for my $all (0, 1)
		{
			$left = $self->left($all);
			return 0 if !defined $left || grep { $_ } values %$left;
		}
		return 1;
	}, $patience);
	$left = $self->left(1);
	stop_client($_) for @{ delete $self->{claimers} };
	my @ledger = map { [ split /\|/ ] } split /\n/, $node->sql('SELECT number, kind, attempt FROM public.ledger');
	my %dead = map { split /\|/, $_, 2 } split /\n/,
	  $node->sql("SELECT payload ->> 'n', reason || ': ' || (errors ->> -1) FROM _penny.jobs_dead WHERE payload ? 'n'");
	return (fates => read_fates(glob "$self->{dir}/enqueuer.*"), ledger => \@ledger,
		holds => read_holds(@{ $self->{outside} }), dead => \%dead, left => $left // { 'nobody answers' => 1 });
}

sub stop
{
	my ($self) = @_;
	$self->{node}->stop('immediate');
}

# Nobody is left behind when a test dies.
sub DESTROY
{
	my ($self) = @_;
	kill 'KILL', map { $_->{pid} } @{ $self->{enqueuers} // [] }, @{ $self->{claimers} // [] };
}

1;
