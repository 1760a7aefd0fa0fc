# The temporary cluster that is measured: start, stop, SQL, tokens, processes.
#
# Durable as PostgreSQL is by default (fsync and synchronous_commit on), with
# penny's settings at their defaults too, but for the ports.  Socket directory
# and data lie in a directory of mode 0700, so that local connections need no
# password.
package Bench::Server;

use strict;
use warnings;

use HTTP::Tiny;
use IO::Handle;
use IPC::Open2;
use JSON::PP ();
use Socket;
use Time::HiRes qw(time sleep);

use constant START_TIMEOUT => 30;

sub new
{
	my ($class, $dir, $bindir) = @_;
	my $self = bless {
		dir => $dir,
		bindir => $bindir,
		data => "$dir/data",
		sock => "$dir/sock",
		port => free_port(),
		pgport => free_port(),
	}, $class;

	$self->{conninfo} = "host=$self->{sock} port=$self->{pgport} dbname=postgres";
	$self->{http} = HTTP::Tiny->new(timeout => 10, keep_alive => 0);
	return $self;
}

# A port nobody listens at, below the range of outgoing connections.
sub free_port
{
	for (1 .. 1000)
	{
		my $port = 20000 + int(rand(12000));
		socket(my $fh, PF_INET, SOCK_STREAM, 0) or die "could not make a socket: $!\n";
		return $port if bind($fh, sockaddr_in($port, INADDR_LOOPBACK));
	}
	die "no free port\n";
}

sub create
{
	my ($self) = @_;

	mkdir $self->{sock}, 0700 or die "could not make $self->{sock}: $!\n";
	$self->command('initdb', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8', '-D', $self->{data});
	open(my $conf, '>>', "$self->{data}/postgresql.conf") or die "could not write the settings: $!\n";
	print $conf <<EOF;
listen_addresses = ''
port = $self->{pgport}
unix_socket_directories = '$self->{sock}'
unix_socket_permissions = 0700
shared_preload_libraries = 'penny, pg_stat_statements'
pg_stat_statements.track = none
max_worker_processes = 32
shared_buffers = 256MB
max_wal_size = 4GB
checkpoint_timeout = 1h
penny.port = $self->{port}
penny.jwt_secret_file = '$self->{data}/jwt_secret'
EOF
	close($conf);
	$self->{secret} = 'a secret of this temporary cluster ' . rand();
	umask(077);
	open(my $secret, '>', "$self->{data}/jwt_secret") or die "could not write the secret: $!\n";
	print $secret $self->{secret};
	close($secret);
	$self->start;
	$self->sql('CREATE EXTENSION pg_stat_statements');
	$self->sql('CREATE EXTENSION penny');
	$self->sql('SELECT penny.create_store()');
}

sub start
{
	my ($self) = @_;

	$self->command('pg_ctl', 'start', '-w', '-D', $self->{data}, '-l', "$self->{dir}/server.log");
	$self->{running} = 1;
	open(my $fh, '<', "$self->{data}/postmaster.pid") or die "no postmaster.pid: $!\n";
	chomp($self->{postmaster} = <$fh>);
}

# Wait until penny says that it serves.
sub wait_ready
{
	my ($self) = @_;
	my $end = time() + START_TIMEOUT;

	while (time() < $end)
	{
		return if $self->get('/readyz', undef)->{status} == 200;
		sleep(0.05);
	}
	die "penny does not get ready; see $self->{dir}/server.log\n";
}

sub stop
{
	my ($self) = @_;

	return if !delete $self->{running};
	$self->command('pg_ctl', 'stop', '-w', '-m', 'fast', '-D', $self->{data});
}

# Run a program of PostgreSQL; its output is shown only when it fails.
sub command
{
	my ($self, $program, @args) = @_;
	my $log = "$self->{dir}/command.log";
	my $pid = fork() // die "could not fork: $!\n";

	if ($pid == 0)
	{
		open(STDOUT, '>', $log);
		open(STDERR, '>&', \*STDOUT);
		exec("$self->{bindir}/$program", @args) or exit(127);
	}
	waitpid($pid, 0);
	return if $? == 0;
	system('cat', $log);
	die "$program failed\n";
}

# Run SQL in a new session; the result as text, one line a row.
sub sql
{
	my ($self, $sql, @options) = @_;
	my $psql = "$self->{bindir}/psql";

	open(my $pipe, '-|', $psql, '-XAtq', '-v', 'ON_ERROR_STOP=1', @options, '-d', $self->{conninfo},
		'-c', $sql) or die "could not run psql: $!\n";
	my $out = join('', <$pipe>);
	close($pipe) or die "psql failed: $sql\n";
	chomp($out);
	return $out;
}

# A session that stays open; session_sql() runs SQL in it, and dies when it ended.
sub session
{
	my ($self) = @_;
	my $pid = open2(my $out, my $in, "$self->{bindir}/psql", '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d',
		$self->{conninfo});

	return { pid => $pid, out => $out, in => $in };
}

sub session_sql
{
	my ($self, $session, $sql) = @_;
	my $text = '';

	local $SIG{PIPE} = 'IGNORE';
	print { $session->{in} } "$sql;\n\\echo ::done\n";
	$session->{in}->flush;
	while (defined(my $line = readline($session->{out})))
	{
		if ($line eq "::done\n")
		{
			chomp($text);
			return $text;
		}
		$text .= $line;
	}
	die "the SQL session ended\n";
}

sub session_end
{
	my ($self, $session) = @_;

	close($session->{in});
	waitpid($session->{pid}, 0);
}

# An HTTP request as HTTP::Tiny gives it.
sub get
{
	my ($self, $path, $token) = @_;
	my %headers = defined $token ? (Authorization => "Bearer $token") : ();

	return $self->{http}->get("http://127.0.0.1:$self->{port}$path", { headers => \%headers });
}

# Processes of penny by kind: {executor => [pids], ...}, the edges among them.
sub processes
{
	my ($self) = @_;
	my %kinds = map { $_ => [] } qw(supervisor gateway executor worker relay edge);
	my $rows = $self->sql(
		"SELECT backend_type, pid FROM pg_stat_activity WHERE backend_type LIKE 'penny %'");

	for my $row (split /\n/, $rows)
	{
		my ($kind, $pid) = $row =~ /^penny (\w+)\|(\d+)$/ or die "unknown process: $row\n";
		push @{ $kinds{$kind} }, $pid;
	}
	push @{ $kinds{edge} }, edges_of($_) for @{ $kinds{gateway} };
	return \%kinds;
}

# How many descriptors a process has open; undef when nobody may tell (an edge
# shows them to root alone, see run).
sub descriptors
{
	my ($self, $pid) = @_;

	return scalar(() = glob "/proc/$pid/fd/*") if -r "/proc/$pid/fd" && -O "/proc/$pid/fd";
	return undef if !$ENV{BENCH_COUNTER};
	if (!$self->{ask})
	{
		open($self->{ask}, '>', "$self->{dir}/ask") or die "could not ask for descriptors: $!\n";
		open($self->{told}, '<', "$self->{dir}/told") or die "could not ask for descriptors: $!\n";
		$self->{ask}->autoflush(1);
	}
	print { $self->{ask} } "$pid\n";
	return readline($self->{told}) + 0;
}

# Resident memory of a process in bytes, without what it shares.
sub memory
{
	my ($pid) = @_;

	open(my $fh, '<', "/proc/$pid/status") or return 0;
	my ($kb) = join('', <$fh>) =~ /^RssAnon:\s*(\d+)/m;
	return ($kb // 0) * 1024;
}

# Settings for the next start; starts again.
sub restart_with
{
	my ($self, %settings) = @_;

	$self->sql("ALTER SYSTEM SET $_ = '$settings{$_}'") for sort keys %settings;
	$self->sql('ALTER SYSTEM RESET ALL') if !%settings;
	$self->stop;
	$self->start;
	$self->wait_ready;
}

# How often PostgreSQL has started all its processes again after a crash.
sub crash_restarts
{
	my ($self) = @_;

	open(my $log, '<', "$self->{dir}/server.log") or die "could not read the log: $!\n";
	return scalar(grep { /all server processes terminated; reinitializing/ } <$log>);
}

# Statistics of penny as a hash.
sub stats
{
	my ($self) = @_;

	return JSON::PP::decode_json($self->sql('SELECT penny.stats()'));
}

# The living penny-edge processes whose parent is a gateway.
sub edges_of
{
	my ($gateway) = @_;

	return grep { stat_of($_)->{comm} eq 'penny-edge' && stat_of($_)->{state} ne 'Z' }
		children($gateway);
}

sub children
{
	my ($parent) = @_;
	my @children;

	for my $file (glob '/proc/[0-9]*/stat')
	{
		my ($pid) = $file =~ /(\d+)/;
		my $stat = stat_of($pid);
		push @children, $pid if $stat->{parent} == $parent;
	}
	return @children;
}

# Name, title, parent and state of a process; state Z when it has ended.
sub stat_of
{
	my ($pid) = @_;
	my %stat = (comm => '', title => '', parent => 0, state => 'Z');

	open(my $fh, '<', "/proc/$pid/stat") or return \%stat;
	my @fields = (<$fh> // '') =~ /\((.*)\) (\S) (\d+)/s or return \%stat;
	@stat{qw(comm state parent)} = @fields;
	open($fh, '<', "/proc/$pid/cmdline") or return \%stat;
	$stat{title} = (<$fh> // '') =~ s/\0.*//sr;
	return \%stat;
}

1;
