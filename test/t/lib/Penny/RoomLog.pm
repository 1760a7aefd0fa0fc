# Penny::RoomLog: members of rooms through faults, and the judgement afterwards.
#
# A pair of servers, the second a synchronous standby of the first; members
# (test/bench/follower.c) behind a network that can be cut (cutter.c); writers
# by SQL, who also roll back (scribe.c).  fault() does one thing to them.
# judge() is a function of logs and tables alone, so that tests can show it
# logs that were tampered with.
package Penny::RoomLog;

use strict;
use warnings;
use Exporter 'import';
use IPC::Open2;
use Penny::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep time);

our @EXPORT_OK = qw(judge read_log);

use constant PATIENCE => 90;    # seconds for all members to be back

# ---- the judge -------------------------------------------------------------------

# A log as a list of events of each member.
sub read_log
{
	my ($file) = @_;
	my @members;
	open my $fh, '<', $file or die "$file: $!";
	while (my $line = <$fh>)
	{
		my ($kind, $member, @rest) = split ' ', $line;
		push @{ $members[$member] }, [ $kind, @rest ];
	}
	return \@members;
}

# Complaints about what the members of one room saw:
#	logs   [[events of a member], ...]
#	rows   { version => text }   everything in the room's tables at the end: the first
#	                             word of a message, '-' for what has none
#	last   the room's version at the end
# A member has everything between the position with which it began, or began
# anew, and its last one: each row of the tables in its last version.  Versions
# ascend.  All see the same under one version.  Nothing was rolled back, nothing
# is neither in the tables nor superseded by something that is.
sub judge
{
	my (%room) = @_;
	my (@bad, %text_of);
	my %count = (frames => 0, joins => 0, resets => 0);

	for my $member (0 .. $#{ $room{logs} })
	{
		my (%seen, @spans, $epoch, $last);
		for my $event (@{ $room{logs}[$member] })
		{
			my ($kind, @what) = @$event;
			if ($kind eq 'J')
			{
				my ($new_epoch, $version, $how, $reason) = @what;
				my $again = defined $epoch;
				$count{joins}++;
				if ($how eq 'whole')
				{
					push @bad, "member $member: called whole without a position" unless $again;
					push @bad, "member $member: called whole across epochs" if $again && $new_epoch ne $epoch;
				}
				else
				{
					push @bad, "member $member: began anew ($reason) in the same epoch"
					  if $again && $new_epoch eq $epoch;
					push @bad, "member $member: began anew at $version, had $last"
					  if $again && $version < $last;
					$count{resets}++ if $again;
					$spans[-1][1] = $last if @spans;
					push @spans, [ $version, undef ];
					$last = $version;
				}
				$epoch = $new_epoch;
			}
			elsif ($kind eq 'F')
			{
				my ($version, $text) = @what;
				$count{frames}++;
				push @bad, "member $member: version $version after $last" if $version <= $last;
				push @bad, "member $member: saw $text of version $version" if $text =~ /^rolled-back/;
				push @bad, "version $version is $text, and $text_of{$version}"
				  if ($text_of{$version} //= $text) ne $text;
				$seen{ $last = $version } = 1;
			}
			elsif ($kind eq 'P')
			{
				push @bad, "member $member: position $what[0] after $last" if $what[0] < $last;
				$last = $what[0];
			}
		}
		next unless @spans;
		$spans[-1][1] = $last;
		push @bad, "member $member: ends at $last, not at $room{last}" if $last != $room{last};
		for my $span (@spans)
		{
			my @lost = grep { exists $room{rows}{$_} && !$seen{$_} } $span->[0] + 1 .. $span->[1];
			push @bad, "member $member: never saw version(s) @lost between $span->[0] and $span->[1]" if @lost;
		}
	}
	for my $version (sort { $a <=> $b } keys %text_of)
	{
		push @bad, "version $version was seen, the room ends at $room{last}" if $version > $room{last};
		push @bad, "version $version was seen as $text_of{$version}, stored is $room{rows}{$version}"
		  if exists $room{rows}{$version} && $room{rows}{$version} ne $text_of{$version};
		push @bad, "version $version, $text_of{$version}, was seen and is not in the room's history"
		  if $text_of{$version} ne '-' && !exists $room{rows}{$version}
		  && !exists $room{later}{ $text_of{$version} };
	}
	return (\@bad, \%count);
}

# ---- the stage -------------------------------------------------------------------

# programs: where the clients are; rooms, members of each, writers, interval ms.
sub start
{
	my ($class, %with) = @_;
	my $self = bless { %with, faults => {}, serial => 0 }, $class;
	$self->{node} = Penny::Cluster->serving('roomlog0', init => { allows_streaming => 1 }, fsync => 1,
		conf => "max_wal_senders = 10\nwal_keep_size = '256MB'\nhot_standby = on\n"
		  . "wal_receiver_status_interval = 1\nwal_retrieve_retry_interval = 100\n");
	my $node = $self->{node};
	$self->{dir} = PostgreSQL::Test::Utils::tempdir();
	# what happened to a message before it became what it is: kept by the tables' owner
	$node->sql('CREATE TABLE public.history (conversation_id uuid, version bigint, text text);
		CREATE FUNCTION public.remember() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO public.history VALUES (OLD.conversation_id, OLD.version, split_part(OLD.content, $q$ $q$, 1));
			RETURN NULL; END $$;
		CREATE TRIGGER remember AFTER UPDATE OR DELETE ON chat.messages FOR EACH ROW EXECUTE FUNCTION public.remember()');
	$self->{user} = $node->add_user('Ada');
	$self->{rooms} = [ map { $node->add_conversation($self->{user}, messages => 1) } 1 .. $with{rooms} ];
	$self->write_file('rooms', map { "$_\n" } @{ $self->{rooms} });
	$self->write_file('token', $node->token($self->{user}, 'penny_agent', exp => time() + 86400));
	$self->{cut_port} = Penny::Cluster::free_port();
	$self->add_standby;
	$self->aim;
	$self->{cutter} = $self->client('cutter', '-p', $self->{cut_port}, '-f', "$self->{dir}/port");
	readline $self->{cutter}{out};
	$self->{followers} = [ map { $self->client('follower', '-p', $self->{cut_port}, '-k', "$self->{dir}/token",
		'-r', "conversation:$_", '-n', $with{members}, '-o', "$self->{dir}/log.$_") } @{ $self->{rooms} } ];
	$self->wait_joined;
	$self->{scribes} = [ map { $self->client('scribe', '-d', "$self->{dir}/conninfo", '-R', "$self->{dir}/rooms",
		'-u', $self->{user}, '-i', $with{interval}, '-n', $_) } 1 .. $with{writers} ];
	return $self;
}

sub write_file
{
	my ($self, $name, @text) = @_;
	open my $fh, '>', "$self->{dir}/$name.new" or die "$name: $!";
	print $fh @text;
	close $fh;
	rename "$self->{dir}/$name.new", "$self->{dir}/$name" or die "$name: $!";
}

# Members and writers go to the server that is the primary now.
sub aim
{
	my ($self) = @_;
	$self->write_file('conninfo', $self->{node}->connstr('postgres'));
	$self->write_file('port', $self->{node}{http_port});
}

sub client
{
	my ($self, $program, @args) = @_;
	my $pid = open2(my $out, my $in, "$self->{programs}/$program", @args);
	$in->autoflush(1);
	return { pid => $pid, out => $out, in => $in, name => $program };
}

# ---- faults ------------------------------------------------------------------------

# A synchronous standby: what a member may have seen is there when it takes over.
sub add_standby
{
	my ($self) = @_;
	my $node = $self->{node};
	my $number = ++$self->{serial};
	$node->backup("copy$number");
	my $standby = Penny::Cluster->new("roomlog$number");
	$standby->init_from_backup($node, "copy$number", has_streaming => 1);
	PostgreSQL::Test::Utils::system_or_bail('rm', '-rf', $node->backup_dir . "/copy$number");
	$standby->{http_port} = Penny::Cluster::free_port();
	@$standby{qw(database secret)} = @$node{qw(database secret)};
	$standby->append_conf('postgresql.conf',
		"penny.port = $standby->{http_port}\nsynchronous_standby_names = '*'\n");
	$standby->start;
	$node->safe_psql('postgres', "ALTER SYSTEM SET synchronous_standby_names = '*'"), $node->reload
	  if $number == 1;
	$self->{standby} = $standby;
	$self->wait_standby;
}

sub wait_standby
{
	my ($self) = @_;
	$self->wait_answer("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'sync'")
	  or die 'the standby does not follow';
}

# Until a query, asked of a server that may not accept sessions yet, returns 1.
sub wait_answer
{
	my ($self, $sql) = @_;
	my $node = $self->{node};
	return $node->wait_until(sub {
		# psql that is refused before it has read the query is no answer, and an exception
		my ($code, $out) = eval { $node->psql('postgres', $sql) };
		return defined $code && $code == 0 && $out eq '1';
	}, PATIENCE);
}

sub fault
{
	my ($self, $kind) = @_;
	my $node = $self->{node};
	$self->{faults}{$kind}++;
	if ($kind eq 'edge')
	{
		my @edges;
		$node->wait_until(sub { @edges = $node->edge_pids }, PATIENCE) or die 'there is no edge';
		kill 'KILL', @edges;
	}
	elsif ($kind eq 'cut') { kill 'USR1', $self->{cutter}{pid}; }
	elsif ($kind eq 'executor')
	{
		my @pids;
		my $before = $node->crash_restarts;
		$node->wait_until(sub { @pids = $node->backend_pids('penny executor') }, PATIENCE) or die 'there is no executor';
		kill 'KILL', $pids[ rand @pids ];
		# PostgreSQL ends all sessions before it begins anew
		$node->wait_until(sub { $node->crash_restarts > $before }, PATIENCE) or die 'nothing happened';
		$self->wait_answer('SELECT 1') or die 'no sessions';
	}
	elsif ($kind eq 'immediate')
	{
		$node->stop('immediate');
		$node->start;
	}
	elsif ($kind eq 'promotion')
	{
		# only one that has everything may take over
		$self->wait_standby;
		$node->stop('immediate');
		$self->{standby}->promote;
		$self->{node} = $self->{standby};
		$self->aim;
		# the directory above holds the secret of all of them
		PostgreSQL::Test::Utils::system_or_bail('rm', '-rf', $node->data_dir);
		$self->add_standby;
	}
	$self->wait_joined;
}

# Until all members are joined; a client that ended is a fault of its own.
sub wait_joined
{
	my ($self) = @_;
	my $want = $self->{members} * @{ $self->{rooms} };
	$self->{node}->wait_until(sub { ($self->ask)[1] == $want }, PATIENCE)
	  or die sprintf 'only %d members are back', ($self->ask)[1];
}

# Frames in all, members joined, lowest version in each room.
sub ask
{
	my ($self) = @_;
	my ($frames, $joined, @lowest) = (0, 0);
	for my $follower (@{ $self->{followers} })
	{
		print { $follower->{in} } "?\n";
		my ($f, $j, $low) = split ' ', readline($follower->{out}) // die 'a follower ended';
		$frames += $f;
		$joined += $j;
		push @lowest, $low;
	}
	return ($frames, $joined, @lowest);
}

# ---- the end -----------------------------------------------------------------------

sub stop_client
{
	my ($client) = @_;
	close $client->{in};
	my $line = readline $client->{out};
	waitpid $client->{pid}, 0;
	die "$client->{name} failed" if $?;
	return $line;
}

# Writers stop, members get what is left, logs are closed; [room => log, tables].
sub finish
{
	my ($self) = @_;
	my $committed = 0;
	$self->wait_standby;
	$committed += stop_client($_) for @{ delete $self->{scribes} };
	my $node = $self->{node};
	my @last = map { $node->sql("SELECT version FROM chat.conversations WHERE id = '$_'") } @{ $self->{rooms} };
	$node->wait_until(sub {
		my (undef, undef, @lowest) = $self->ask;
		return !grep { $lowest[$_] < $last[$_] } 0 .. $#last;
	}, PATIENCE);
	stop_client($_) for @{ $self->{followers} };
	kill 'TERM', $self->{cutter}{pid};
	waitpid $self->{cutter}{pid}, 0;
	return ($committed, map { $self->tables($self->{rooms}[$_], $last[$_]) } 0 .. $#last);
}

# A room as judge() wants it.
sub tables
{
	my ($self, $room, $last) = @_;
	my $node = $self->{node};
	my %rows = map { split /\|/ } split /\n/, $node->sql(
		"SELECT version, split_part(content, ' ', 1) FROM chat.messages WHERE conversation_id = '$room'
		 UNION ALL SELECT version, '-' FROM chat.tombstones WHERE conversation_id = '$room'");
	my %later = map { $_ => 1 } split /\n/,
	  $node->sql("SELECT text FROM public.history WHERE conversation_id = '$room'");
	return { logs => read_log("$self->{dir}/log.$room"), rows => \%rows, later => \%later, last => $last };
}

sub stop
{
	my ($self) = @_;
	$_->stop('immediate') for $self->{standby}, $self->{node};
}

# Nobody is left behind when a test dies.
sub DESTROY
{
	my ($self) = @_;
	kill 'KILL', grep { defined } map { $_->{pid} } $self->{cutter} // (), @{ $self->{followers} // [] }, @{ $self->{scribes} // [] };
}

1;
