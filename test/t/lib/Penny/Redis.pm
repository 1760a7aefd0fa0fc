# Penny::Redis: a real redis-server for tests, a client that speaks its protocol
# and nothing of penny's, and a proxy that does it harm.
package Penny::Redis;

use strict;
use warnings;
use Carp;
use IO::Select;
use IO::Socket::INET;
use Socket qw(SOL_SOCKET SO_LINGER);
use IO::Socket::UNIX;
use Penny::Cluster;
use POSIX ();
use Time::HiRes qw(time usleep);

my @children;
END { my $status = $?; kill "KILL", @children; waitpid $_, 0 for @children; $? = $status }

# Is there a redis-server?
sub available { return !system 'command -v redis-server >/dev/null 2>&1' }

# Penny::Redis->start($dir, args => [...]): on a Unix socket and a port.
sub start
{
	my ($class, $dir, %with) = @_;
	mkdir $dir;
	my $self = bless {
		dir => $dir, path => "$dir/redis.sock", port => $with{port} || Penny::Cluster::free_port(),
		args => $with{args} || [], password => $with{password} }, $class;
	$self->run;
	return $self;
}

# The server's process; waits until it answers.
sub run
{
	my ($self) = @_;
	unlink $self->{path};
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		open STDOUT, '>>', "$self->{dir}/redis.log";
		open STDERR, '>&', \*STDOUT;
		no warnings 'exec';
		exec 'redis-server', '--port', $self->{port}, '--bind', '127.0.0.1', '--unixsocket', $self->{path},
		  '--save', '', '--dir', $self->{dir}, '--daemonize', 'no',
		  (defined $self->{password} ? ('--requirepass', $self->{password}) : ()), @{ $self->{args} };
		POSIX::_exit(127);
	}
	$self->{pid} = $pid;
	push @children, $pid;
	for (1 .. 500)
	{
		my $client = eval { $self->client };
		return if $client && (eval { $client->command('PING') } // '') eq 'PONG';
		usleep(20_000);
	}
	croak 'redis-server does not answer';
}

# End it by a signal and wait.
sub stop
{
	my ($self, $signal) = @_;
	return unless $self->{pid};
	kill $signal || 'TERM', $self->{pid};
	waitpid $self->{pid}, 0;
	@children = grep { $_ != $self->{pid} } @children;
	$self->{pid} = undef;
}

sub signal { kill $_[1], $_[0]{pid} }

sub url { return "unix://$_[0]{path}" }

sub tcp_url { return "redis://127.0.0.1:$_[0]{port}" }

# A connection of one's own.
sub client
{
	my ($self) = @_;
	my $client = Penny::Redis::Client->over(
		IO::Socket::UNIX->new(Peer => $self->{path}) || croak "connect: $!");
	$client->command('AUTH', $self->{password}) if defined $self->{password};
	return $client;
}

# One command over a connection that is kept.
sub command
{
	my ($self, @args) = @_;
	$self->{client} = $self->client unless $self->{client} && eval { $self->{client}->command('PING') };
	return $self->{client}->command(@args);
}

# Run a sub in a child; returns its pid.
sub in_child
{
	my ($work) = @_;
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		@children = ();
		$SIG{TERM} = 'DEFAULT';
		eval { $work->() };
		print STDERR "# child: $@" if $@;
		POSIX::_exit($@ ? 1 : 0);
	}
	push @children, $pid;
	return $pid;
}

sub end_child
{
	my ($pid) = @_;
	kill 'KILL', $pid;
	waitpid $pid, 0;
	@children = grep { $_ != $pid } @children;
}

# A proxy on a port of its own before this server; how:
#	hole	accepts and never answers
#	slow	each answer comes $ms later
#	reset	cuts the connection by RST in the middle of the first answer of a GET or SCAN
# Returns (pid, port).
sub proxy
{
	my ($self, $how, $ms) = @_;
	my $listen = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', LocalPort => 0, ReuseAddr => 1)
	  || die "listen: $!";
	my $port = $listen->sockport;
	my $pid = in_child(sub { $self->_serve($listen, $how, $ms || 0) });
	close $listen;
	return ($pid, $port);
}

sub _serve
{
	my ($self, $listen, $how, $ms) = @_;
	my $select = IO::Select->new($listen);
	my (%peer, %client, %asked, @later);
	while (1)
	{
		my $wait = @later ? $later[0][0] - time() : 60;
		for my $ready ($select->can_read($wait > 0 ? $wait : 0))
		{
			if ($ready == $listen)
			{
				my $from = $listen->accept or next;
				$select->add($from);
				next if $how eq 'hole';
				my $to = IO::Socket::UNIX->new(Peer => $self->{path});
				if (!$to) { $select->remove($from); close $from; next; }
				$select->add($to);
				@peer{ $from, $to } = ($to, $from);
				$client{$from} = 1;
				next;
			}
			my $n = sysread $ready, my $bytes, 65536;
			my $other = $peer{$ready};
			if (!$n)
			{
				for my $end (grep { defined } $ready, $other)
				{
					$select->remove($end);
					delete $peer{$end};
					close $end;
				}
				next;
			}
			next unless $other;
			$asked{$other} = 1 if $client{$ready} && $bytes =~ /\r\n(GET|SCAN)\r\n/;
			if ($how eq 'reset' && !$client{$ready} && $asked{$ready} && length $bytes > 2)
			{
				syswrite $other, substr $bytes, 0, length($bytes) / 2;
				setsockopt $other, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0;
				for my $end ($ready, $other)
				{
					$select->remove($end);
					delete $peer{$end};
					close $end;
				}
				next;
			}
			if ($how eq 'slow' && !$client{$ready}) { push @later, [ time() + $ms / 1000, $other, $bytes ]; next; }
			syswrite $other, $bytes;
		}
		while (@later && $later[0][0] <= time())
		{
			my ($at, $to, $bytes) = @{ shift @later };
			syswrite $to, $bytes if defined fileno $to;
		}
	}
}

package Penny::Redis::Client;

use Carp;
use IO::Select;
use Time::HiRes qw(time);

sub over
{
	my ($class, $socket) = @_;
	$socket->autoflush(1);
	return bless { socket => $socket, in => '' }, $class;
}

sub send_command
{
	my ($self, @args) = @_;
	my $socket = $self->{socket};
	print $socket '*' . @args . "\r\n" . join '', map { '$' . length($_) . "\r\n$_\r\n" } @args;
}

sub command
{
	my ($self, @args) = @_;
	$self->send_command(@args);
	return $self->reply(10) // croak "no answer to $args[0]";
}

# The next reply; undef when none comes in time.  Nil is an empty string, an error "-…".
sub reply
{
	my ($self, $limit) = @_;
	my $deadline = time() + $limit;
	while (1)
	{
		my $at = 0;
		my @found = $self->_parse(\$at);
		if (@found) { substr $self->{in}, 0, $at, ''; return $found[0]; }
		my $left = $deadline - time();
		return undef if $left <= 0 || !IO::Select->new($self->{socket})->can_read($left);
		sysread $self->{socket}, $self->{in}, 65536, length $self->{in} or croak 'redis closed the connection';
	}
}

sub _parse
{
	my ($self, $at) = @_;
	my $end = index $self->{in}, "\r\n", $$at;
	return if $end < 0;
	my $type = substr $self->{in}, $$at, 1;
	my $text = substr $self->{in}, $$at + 1, $end - $$at - 1;
	$$at = $end + 2;
	return $type eq '-' ? "-$text" : $text if $type =~ /^[-+:]$/;
	return '' if $text < 0;
	if ($type eq '$')
	{
		return if length $self->{in} < $$at + $text + 2;
		$$at += $text + 2;
		return substr $self->{in}, $$at - $text - 2, $text;
	}
	my @all;
	for (1 .. $text)
	{
		my @one = $self->_parse($at) or return;
		push @all, $one[0];
	}
	return \@all;
}

# Subscribed to penny's channel.
sub subscribe
{
	my ($self, $channel) = @_;
	$self->command('SUBSCRIBE', $channel || 'cache:invalidate');
	return $self;
}

# What is heard in so many seconds, until $enough messages are there.
sub heard
{
	my ($self, $limit, $enough) = @_;
	my $deadline = time() + $limit;
	my @heard;
	while ((my $left = $deadline - time()) > 0)
	{
		my $reply = $self->reply($left) // last;
		push @heard, $reply->[2] if ref $reply && $reply->[0] eq 'message';
		last if $enough && @heard >= $enough;
	}
	return @heard;
}

1;
