# One builds, the others wait: for as long as it takes, but not for one who
# waits himself, and not one after the other when the value cannot be kept.
use strict;
use warnings;
use Penny::Cluster;
use Test::More;
use Time::HiRes qw(time);

use constant READERS => 8;
use constant BUILD => 1;    # seconds

my $node = Penny::Cluster->serving('cacheflight', store => 0, conf => "max_connections = 60\n");

$node->sql(<<'SQL');
CREATE TABLE opened (gate int);
CREATE PROCEDURE hold_gate(number int) LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_advisory_lock(number);
		WHILE NOT EXISTS (SELECT FROM opened WHERE gate = number) LOOP PERFORM pg_sleep(0.01); END LOOP;
		PERFORM pg_advisory_unlock(number);
	END $$;
CREATE FUNCTION pass_gate(number int) RETURNS void LANGUAGE sql
	AS 'SELECT pg_advisory_lock_shared(number); SELECT pg_advisory_unlock_shared(number)';
SQL
$node->sql('CREATE FUNCTION slow(j jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
	BEGIN
		RAISE LOG \'built % of %\', j->>\'length\', j->>\'gate\';
		PERFORM pg_sleep(' . BUILD . ');
		PERFORM pass_gate((j->>\'gate\')::int);
		RETURN to_jsonb(repeat(\'x\', (j->>\'length\')::int));
	END $$');

sub built { my ($length, $gate) = @_; return scalar(() = $node->log_text =~ /built $length of $gate$/mg) }

sub close_gate
{
	my ($number) = @_;
	my $gate = $node->background_sql("CALL hold_gate($number)");
	$node->wait_until(sub { $node->sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $number AND granted") == 1 })
	  or die 'the gate does not close';
	return $gate;
}

sub queued
{
	my ($number, $readers) = @_;
	return $node->wait_until(sub { $node->sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $number AND NOT granted") == $readers });
}

sub reads { my ($length, $gate) = @_; return "SELECT length(penny.cached('slow(jsonb)', '{\"length\":$length,\"gate\":$gate}')::text)" }

# All begin together; how long it took until the last had the value.
sub read_at_once
{
	my ($number, $length) = @_;
	my $gate = close_gate($number);
	my @readers = map { $node->background_sql("SELECT pass_gate($number); " . reads($length, 1)) } 1 .. READERS;
	ok(queued($number, READERS), 'all stand at the gate');
	my $begun = time;
	$node->sql("INSERT INTO opened VALUES ($number)");
	like($_->finish, qr/^@{[ $length + 2 ]}$/m, 'has the value') for @readers;
	$gate->finish;
	return time - $begun;
}

subtest 'a value that takes long' => sub {
	read_at_once(101, 10);
	is(built(10, 1), 1, 'was built once');
};

subtest 'a value that is too large to be kept' => sub {
	my $took = read_at_once(102, 2_000_000);
	is(built(2_000_000, 1), READERS, 'was built by each');
	cmp_ok($took, '<', READERS * BUILD * 0.8, sprintf 'and not one after the other: %.1f s', $took);
};

subtest 'a builder who waits for a lock' => sub {
	my $gate = close_gate(103);
	my $first = $node->background_sql(reads(10, 103));
	ok(queued(103, 1), 'waits');
	my $begun = time;
	my $second = $node->background_sql(reads(10, 103));
	ok(queued(103, 2), 'is passed by');
	cmp_ok(time - $begun, '<', 5, 'before patience ends');
	is(built(10, 103), 2, 'both build');
	$node->sql('INSERT INTO opened VALUES (103)');
	like($_->finish, qr/^12$/m, 'has the value') for $first, $second;
	$gate->finish;
};
done_testing;
