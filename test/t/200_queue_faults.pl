# A queue through faults: what was enqueued against what was done, in the end.
#
# Workers of penny, sessions that enqueue, and external workers are killed, the
# server is restarted at once.  `make bench` runs the same with more of it:
# PENNY_QUEUE_FAULTS, PENNY_QUEUE_JOBS in all, PENNY_QUEUE_PAUSE seconds between
# faults.
use strict;
use warnings;
use Penny::JobLog qw(judge);
use Test::More;
use Time::HiRes qw(sleep time);

my $faults = $ENV{PENNY_QUEUE_FAULTS} // 8;
my $jobs = $ENV{PENNY_QUEUE_JOBS} // 20_000;
my $pause = $ENV{PENNY_QUEUE_PAUSE} // 1;
my $enqueuers = 4;
my @kinds = qw(worker claimer worker immediate backend worker immediate worker);

my $programs = $ENV{PENNY_QUEUE_PROGRAMS};
if (!defined $programs)
{
	$programs = PostgreSQL::Test::Utils::tempdir();
	system('make', '-s', '-C', 'test/bench', "OUT=$programs", map { "$programs/$_" } qw(enqueuer claimer)) == 0
	  or BAIL_OUT('the clients cannot be built');
}

# some 14 jobs in a transaction, spread over the time that the faults take
my $interval = $faults * ($pause + 1) * 1000 / ($jobs / $enqueuers / 14);
my $log = Penny::JobLog->start(programs => $programs, enqueuers => $enqueuers, claimers => 2, workers => 4,
	jobs => int($jobs / $enqueuers), interval => int($interval) || 1);
my $began = time;
for my $i (0 .. $faults - 1)
{
	sleep $pause * (0.5 + rand);
	$log->fault($kinds[ $i % @kinds ]);
	note sprintf '%.0f s: %d faults', time - $began, $i + 1 if $i % 10 == 9 || $i == $faults - 1;
}
my %what = $log->finish(300);
my ($bad, $count) = judge(%what);
is(scalar @$bad, 0, 'what was acknowledged is done, once, and nothing else')
  or diag join "\n", @$bad[ 0 .. ($#$bad < 20 ? $#$bad : 20) ];
cmp_ok($count->{acknowledged}, '>=', $jobs / 2, 'there was enough to do');
cmp_ok($count->{rolled_back}, '>', 0, 'some was rolled back');
note 'faults ' . join(', ', map { "$_ $log->{faults}{$_}" } sort keys %{ $log->{faults} })
  . sprintf '; %d acknowledged, %d in doubt, %d rolled back, %d done outside of transactions again, of %d in flight',
  @$count{qw(acknowledged indeterminate rolled_back again in_flight)};
$log->stop;

# ---- the judge judged: logs that were tampered with --------------------------------
my @ledger_numbers = map { $_->[0] } grep { $what{fates}{ $_->[0] } eq 'A ledger' } @{ $what{ledger} };
my ($outside) = grep { ($what{fates}{$_} // '') eq 'A outside' && !$what{holds}{$_}[1] } keys %{ $what{holds} };
my ($never) = sort { $b <=> $a } keys %{ $what{fates} };
$never++;
sub complaints
{
	my ($change) = @_;
	my %copy = (
		fates => { %{ $what{fates} } },
		ledger => [ map { [@$_] } @{ $what{ledger} } ],
		holds => { map { $_ => [ @{ $what{holds}{$_} } ] } keys %{ $what{holds} } },
		dead => { %{ $what{dead} } },
		left => { %{ $what{left} } });
	$change->(\%copy, $ledger_numbers[ @ledger_numbers / 2 ]);
	my ($complaints) = judge(%copy);
	return join "\n", @$complaints;
}
is(complaints(sub { }), '', 'nothing was changed, nothing is said') if !@$bad;
my @tampered = (
	[ 'a job that was never done', qr/acknowledged, and never done/,
		sub { my ($w, $n) = @_; $w->{ledger} = [ grep { $_->[0] != $n } @{ $w->{ledger} } ] } ],
	[ 'one that was never done outside', qr/acknowledged, and never done/, sub { delete $_[0]{holds}{$outside} } ],
	[ 'a double effect', qr/done 2 times$/m, sub { push @{ $_[0]{ledger} }, [ $_[1], 'ledger', 0 ] } ],
	[ 'one that nobody enqueued', qr/never enqueued/, sub { push @{ $_[0]{ledger} }, [ $never, 'ledger', 0 ] } ],
	[ 'one that nobody enqueued, outside', qr/never enqueued/, sub { $_[0]{holds}{$never} = [1] } ],
	[ 'one that was rolled back', qr/rolled back/, sub { $_[0]{fates}{ $_[1] } = 'R ledger' } ],
	[ 'one done by the wrong handler', qr/is fails_once/, sub { $_[0]{fates}{ $_[1] } = 'A fails_once' } ],
	[ 'a failure that counted as success', qr/which fails/,
		sub { $_->[0] == $_[1] and @$_[ 1, 2 ] = ('fails_once', 1) for @{ $_[0]{ledger} } } ],
	[ 'a second start without a reason', qr/2 times, though hold was lost of it 0 times/,
		sub { $_[0]{holds}{$outside}[0]++ } ],
	[ 'a dead letter', qr/is a dead letter: crashed/, sub { $_[0]{dead}{ $_[1] } = 'crashed' } ],
	[ 'what a view says is left', qr/3 left: jobs/, sub { $_[0]{left}{jobs} = 3 } ]);
like(complaints($_->[2]), $_->[1], "noticed: $_->[0]") for @tampered;
# a second start of one whose holder lost hold of it is none
is(complaints(sub { @{ $_[0]{holds}{$outside} } = (2, 1) }), '', 'not complained of: a start after a lost hold') if !@$bad;
# one that is in doubt may or may not have run
is(complaints(sub { $_[0]{fates}{ $_[1] } = 'M ledger' }), '', 'not complained of: one in doubt that ran') if !@$bad;
is(complaints(sub {
	my ($w, $n) = @_;
	$w->{fates}{$n} = 'M ledger';
	$w->{ledger} = [ grep { $_->[0] != $n } @{ $w->{ledger} } ];
}), '', 'not complained of: one in doubt that did not') if !@$bad;
done_testing;
