# Rooms through faults: what members heard, against the tables, in the end.
#
# Edges and executors are killed, the server is restarted at once, the network is
# cut (some connections reset, some silent), a standby takes over.  Members come
# back by position; writers also roll back.  `make bench` runs the same with more
# faults and members: PENNY_ROOM_FAULTS, PENNY_ROOM_MEMBERS of each of 4 rooms,
# PENNY_ROOM_PAUSE seconds between faults.
use strict;
use warnings;
use Penny::RoomLog qw(judge);
use Test::More;
use Time::HiRes qw(sleep time);

my $faults = $ENV{PENNY_ROOM_FAULTS} // 12;
my $members = $ENV{PENNY_ROOM_MEMBERS} // 15;
my $pause = $ENV{PENNY_ROOM_PAUSE} // 1;
my $enough = $ENV{PENNY_ROOM_DELIVERIES} // 20_000;
my @kinds = qw(edge cut executor edge cut immediate edge cut promotion executor cut immediate);

my $programs = $ENV{PENNY_ROOM_PROGRAMS};
if (!defined $programs)
{
	$programs = PostgreSQL::Test::Utils::tempdir();
	system('make', '-s', '-C', 'test/bench', "OUT=$programs", map { "$programs/$_" } qw(follower scribe cutter)) == 0
	  or BAIL_OUT('the clients cannot be built');
}

my $log = Penny::RoomLog->start(programs => $programs, rooms => 4, members => $members, writers => 4, interval => 20);
my $began = time;
for my $i (0 .. $faults - 1)
{
	sleep $pause * (0.5 + rand);
	$log->fault($kinds[ $i % @kinds ]);
	note sprintf '%.0f s: %d faults, %d frames', time - $began, $i + 1, ($log->ask)[0]
	  if $i % 10 == 9 || $i == $faults - 1;
}
sleep 0.2 while ($log->ask)[0] < $enough && time - $began < 3600;
my ($committed, @rooms) = $log->finish;
my %sum = (frames => 0, joins => 0, resets => 0);
my @bad;
for my $i (0 .. $#rooms)
{
	my ($bad, $count) = judge(%{ $rooms[$i] });
	push @bad, map { "room $i, $_" } @$bad;
	$sum{$_} += $count->{$_} for keys %sum;
}
is(scalar @bad, 0, 'members heard everything, once, in order, and nothing that was rolled back')
  or diag join "\n", @bad[ 0 .. ($#bad < 20 ? $#bad : 20) ];
cmp_ok($sum{frames}, '>=', $enough, 'there was enough to hear');
cmp_ok($sum{joins}, '>', 4 * $members, 'and reason to come back');
cmp_ok($committed, '>', 0, 'writers wrote');
note "faults " . join(', ', map { "$_ $log->{faults}{$_}" } sort keys %{ $log->{faults} })
  . "; $sum{frames} deliveries, $sum{joins} joins, $sum{resets} of them told to begin anew, $committed transactions";
$log->stop;

# ---- the judge judged: logs that were tampered with --------------------------------
sub complaints
{
	my ($change) = @_;
	my %room = %{ $rooms[0] };
	$room{logs} = [ map { [ map { [@$_] } @{ $_ // [] } ] } @{ $room{logs} } ];
	my $events = $room{logs}[0];
	# what was told with its text, and is as it was told
	my @at = grep { my ($kind, $version, $text) = @{ $events->[$_] }; $kind eq 'F' && exists $room{rows}{$version} && $text ne '-' && !exists $room{later}{$text} } 0 .. $#$events;
	$change->($events, $at[ @at / 2 ], $at[ @at / 2 + 1 ], \%room);
	my ($bad) = judge(%room);
	return join "\n", @$bad;
}
is(complaints(sub { }), '', 'nothing was changed, nothing is said') if !@bad;
like(complaints(sub { splice @{ $_[0] }, $_[1], 1 }), qr/never saw/, 'a frame that is missing is noticed');
like(complaints(sub { @{ $_[0] }[ @_[ 1, 2 ] ] = @{ $_[0] }[ @_[ 2, 1 ] ] }), qr/version \d+ after/, 'two in the wrong order');
like(complaints(sub { splice @{ $_[0] }, $_[1], 0, [ @{ $_[0][ $_[1] ] } ] }), qr/version \d+ after/, 'one that came twice');
like(complaints(sub { $_[0][ $_[1] ][2] = 'rolled-back-1' }), qr/saw rolled-back/, 'one that was rolled back');
like(complaints(sub { $_[0][ $_[1] ][2] = 'kept-9-9' }), qr/, and |stored is/, 'one that is not what is stored');
like(complaints(sub { delete $_[3]{rows}{ $_[0][ $_[1] ][1] } }), qr/not in the room's history/, 'one that is nowhere');
like(complaints(sub { pop @{ $_[0] } for 1 .. 3 }), qr/ends at/, 'an end that did not come');
done_testing;
