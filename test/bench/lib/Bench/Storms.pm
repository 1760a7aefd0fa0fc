# All clients at once: 10,000 lose their server and come back with `since`.
package Bench::Storms;

use strict;
use warnings;

use Bench::Measure;
use Bench::Server;
use IPC::Open2;
use JSON::PP ();

use constant ADDRESSES => 100;    # 127.0.0.2 and on
use constant IN_A_ROOM => 20;
use constant MISSED => 3;         # messages that each has missed

# Users, each with a session, in rooms of 20; a file for the clients.
sub crowd
{
	my ($bench, $count) = @_;
	my $server = $bench->{server};
	my $rooms = $count / IN_A_ROOM;

	$server->sql(<<SQL);
CREATE TEMP TABLE people AS
	SELECT n, gen_random_uuid() AS id FROM generate_series(0, $count - 1) AS n;
CREATE TEMP TABLE rooms AS
	SELECT n, gen_random_uuid() AS id FROM generate_series(0, $rooms - 1) AS n;
INSERT INTO chat.users (id, name) SELECT id, 'Storm ' || n FROM people;
INSERT INTO chat.conversations (id, owner_id)
	SELECT r.id, p.id FROM rooms r JOIN people p ON p.n = r.n * @{[IN_A_ROOM]};
INSERT INTO chat.participants (conversation_id, user_id)
	SELECT r.id, p.id FROM people p JOIN rooms r ON r.n = p.n / @{[IN_A_ROOM]} ON CONFLICT DO NOTHING;
INSERT INTO chat.messages (conversation_id, role, user_id, content)
	SELECT c.id, 'user', c.owner_id, 'message ' || m
	FROM rooms r JOIN chat.conversations c ON c.id = r.id, generate_series(1, 10) AS m;
CREATE TABLE public.storm AS
	SELECT p.n, penny.create_session(p.id, 'penny_user', interval '1 day') AS token, c.id AS room, c.version - @{[MISSED]} AS version
	FROM people p JOIN rooms r ON r.n = p.n / @{[IN_A_ROOM]} JOIN chat.conversations c ON c.id = r.id;
ANALYZE;
SQL
	my $lines = $server->sql(q{SELECT token || ' conversation:' || room || ' {"epoch":"' || penny.epoch() || '","version":' || version || '}'
		FROM public.storm ORDER BY n});
	$server->sql('DROP TABLE public.storm');
	return Bench::Data::write_lines($bench, 'storm', split /\n/, $lines);
}

sub all_at_once
{
	my ($bench) = @_;
	my $server = $bench->{server};
	my $count = $bench->{quick} ? 2_000 : 10_000;
	my (@seconds, @half, $answered, $unavailable, $joined);

	$server->restart_with('penny.max_client_connections' => $count + 100);
	for my $round (1 .. ($bench->{quick} ? 1 : 3))
	{
		my $file = crowd($bench, $count);
		my $pid = open2(my $out, my $in, "$bench->{bin}/storm", '-p', $server->{port}, '-f', $file, '-a', ADDRESSES);
		my $open = JSON::PP::decode_json(readline($out) // die "the clients could not come in\n")->{open};
		die "only $open of $count clients came in\n" if $open < $count;
		print $in "\n";
		close($in);
		kill 'KILL', $server->stats->{gateways}[0]{edge_pid};
		my $result = JSON::PP::decode_json(readline($out) // die "the storm has ended\n");
		waitpid($pid, 0);
		push @seconds, $result->{seconds};
		push @half, $result->{half};
		$joined += $result->{joined};
		$answered += $result->{answered};
		$unavailable += $result->{unavailable};
		print STDERR '.';
		my $end = time() + 30;
		sleep(1) while $server->stats->{gateways}[0]{edge}{websockets} > 0 && time() < $end;
		$joined == $round * $count or last;
	}
	print STDERR "\n";
	$server->restart_with;
	my $longest = (sort { $b <=> $a } @seconds)[0];
	my $lost = @seconds * $count - $joined;

	return ({
		figure => "$count clients come back at once with since: until the last has joined",
		measured => sprintf('%.1f s', $longest) . ($lost ? ", $lost never" : ''),
		base => 'half of them in ' . spread('%.1f s', @half),
		target => '<= 10 s',
		reached => $longest <= 10 && $lost == 0,
	}, {
		figure => '  answered 503',
		measured => sprintf('%.2f %%', 100 * $unavailable / ($answered || 1)),
		target => '<= 1 %',
		reached => $unavailable <= $answered / 100,
	});
}

1;
