# Penny::Cluster: a temporary PostgreSQL with penny preloaded and serving.
#
# A node of PostgreSQL::Test::Cluster with more: a free HTTP port, a JWT secret,
# the extension and the store, users, tokens, clients, and a look at penny's
# processes.  Ready means that /readyz says so, asked with a bounded patience.
package Penny::Cluster;

use strict;
use warnings;
use Carp;
use JSON::PP;
use Penny::Http;
use Penny::Token;
use Penny::WebSocket;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils qw(append_to_file slurp_file);
use Socket;
use Time::HiRes qw(time usleep);

our @ISA = ('PostgreSQL::Test::Cluster');

my $json = JSON::PP->new->canonical->utf8->allow_nonref;

# The END blocks that stop the nodes run only when a signal becomes a die.
$SIG{TERM} = $SIG{INT} = sub { die "ended by signal\n" };

# Penny::Cluster->serving('name', conf => 'lines', fsync => 1, store => 0,
# extension => 0, database => 'name'): initialised, started, ready.
sub serving
{
	my ($class, $name, %with) = @_;
	my $self = $class->prepared($name, %with);
	$self->start;
	$self->create_penny(%with);
	$self->wait_ready if ($with{extension} // 1) && ($with{store} // 1);
	return $self;
}

# Initialised but not started.
sub prepared
{
	my ($class, $name, %with) = @_;
	my $self = $class->new($name);
	$self->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ], %{ $with{init} || {} });
	$self->{http_port} = $with{http_port} || free_port();
	$self->{secret} = join '', map { ('a' .. 'z', 0 .. 9)[ rand 36 ] } 1 .. 48;
	$self->{database} = $with{database} || 'postgres';
	my $secret_file = $self->basedir . '/jwt.secret';
	my $old = umask 077;
	append_to_file($secret_file, $self->{secret});
	umask $old;
	my $edge = $ENV{PENNY_EDGE_PROGRAM} ? "penny.edge_program = '$ENV{PENNY_EDGE_PROGRAM}'\n" : '';
	my $courier = $ENV{PENNY_COURIER_PROGRAM} ? "penny.courier_program = '$ENV{PENNY_COURIER_PROGRAM}'\n" : '';
	$self->append_conf('postgresql.conf',
		    ($with{preload} // 1 ? "shared_preload_libraries = 'penny'\n" : '')
		  . "penny.port = $self->{http_port}\n"
		  . "penny.database = '$self->{database}'\n"
		  . "penny.jwt_secret_file = '$secret_file'\n"
		  . $edge
		  . $courier
		  . 'fsync = ' . ($with{fsync} ? 'on' : 'off') . "\n"
		  . "restart_after_crash = on\n"
		  . "max_worker_processes = 32\n"
		  . "max_prepared_transactions = 20\n"
		  . "log_statement = none\n"
		  . ($with{conf} || ''));
	return $self;
}

sub create_penny
{
	my ($self, %with) = @_;
	my $database = $self->{database};
	$self->safe_psql('postgres', "CREATE DATABASE \"$database\"") if $database ne 'postgres';
	return unless $with{extension} // 1;
	$self->safe_psql($database, 'CREATE EXTENSION penny');
	$self->safe_psql($database, 'SELECT penny.create_store()') if $with{store} // 1;
}

sub free_port
{
	for (1 .. 1000)
	{
		my $port = 20000 + int rand 12000;
		socket(my $socket, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
		return $port if bind $socket, sockaddr_in($port, INADDR_ANY);
	}
	die 'no free port';
}

# ---- waiting -----------------------------------------------------------------

# Ask until $condition->() is true; false after $limit seconds.
sub wait_until
{
	my ($self, $condition, $limit) = @_;
	my $deadline = time() + ($limit // 60);
	while (1)
	{
		my $value = $condition->();
		return $value if $value;
		return 0 if time() > $deadline;
		usleep(20_000);
	}
}

sub is_ready
{
	my ($self) = @_;
	my $http = Penny::Http->connect_to(port => $self->{http_port}) or return 0;
	my $answer = $http->request('GET', '/readyz', timeout => 5);
	return $answer && $answer->{status} == 200;
}

sub wait_ready
{
	my ($self, $limit) = @_;
	return 1 if $self->wait_until(sub { $self->is_ready }, $limit // 60);
	print "### the end of the server's log:\n", join '', map { "$_\n" } $self->log_tail(40);
	croak 'penny is not ready in time';
}

# ---- SQL ---------------------------------------------------------------------

sub sql
{
	my ($self, $sql) = @_;
	return $self->safe_psql($self->{database}, $sql);
}

# Start psql on these statements and go on; ->finish waits and returns its output.
sub background_sql
{
	my ($self, $sql) = @_;
	return Penny::Cluster::Background->start($self, $sql);
}

sub sql_json { return $json->decode($_[0]->sql($_[1])) }

# A user of chat.users; returns the id.
sub add_user
{
	my ($self, $name) = @_;
	return $self->sql("INSERT INTO chat.users (id, name) VALUES (gen_random_uuid(), '$name') RETURNING id");
}

# A conversation owned by the user, with so many messages; returns the id.
sub add_conversation
{
	my ($self, $owner, %with) = @_;
	my $messages = $with{messages} // 0;
	my $id = $self->act(
		$owner,
		$with{role} || 'penny_user',
		"SELECT (penny.create_conversation('" . ($with{title} // 'a conversation') . "'))->>'id'");
	$self->act($owner, 'penny_user',
		"SELECT count(penny.add_message('$id', 'user', 'message ' || n)) FROM generate_series(1, $messages) n")
	  if $messages;
	return $id;
}

# Run SQL as a user in a role, as an executor would.
sub act
{
	my ($self, $user, $role, $sql) = @_;
	my $out = $self->sql("BEGIN; SELECT penny.act_as('$user', '$role'); $sql; COMMIT;");
	$out =~ s/^[^\n]*\n?//;    # what act_as said
	return $out;
}

# ---- clients -----------------------------------------------------------------

sub token
{
	my ($self, $user, $role, %claims) = @_;
	return Penny::Token::hs256($self->{secret}, sub => $user, role => $role || 'penny_user', %claims);
}

sub http
{
	my ($self, %with) = @_;
	return Penny::Http->open(port => $self->{http_port}, %with);
}

# One request over a connection of its own.
sub request
{
	my ($self, $method, $path, %with) = @_;
	return $self->http->request($method, $path, %with);
}

sub websocket
{
	my ($self, %with) = @_;
	return Penny::WebSocket->open(port => $self->{http_port}, %with);
}

# ---- processes ---------------------------------------------------------------

# Process ids by backend_type, such as 'penny executor'.
sub backend_pids
{
	my ($self, $type) = @_;
	return split /\n/,
	  $self->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = '$type' ORDER BY pid");
}

# The running penny-edge processes: children of the gateways.
sub edge_pids
{
	my ($self) = @_;
	my %gateway = map { $_ => 1 } $self->backend_pids('penny gateway');
	my @edges;
	for my $dir (glob '/proc/[0-9]*')
	{
		open my $stat, '<', "$dir/stat" or next;
		my ($pid, $parent) = (<$stat> // '') =~ /^(\d+) \(.*\) \S (\d+)/ or next;
		push @edges, $pid if $gateway{$parent};
	}
	return sort { $a <=> $b } @edges;
}

sub postmaster_pid
{
	my ($self) = @_;
	my ($pid) = slurp_file($self->data_dir . '/postmaster.pid') =~ /^(\d+)/;
	return $pid;
}

sub log_text { return slurp_file($_[0]->logfile) }

sub log_tail
{
	my ($self, $n) = @_;
	my @lines = split /\n/, $self->log_text;
	return @lines > $n ? @lines[ -$n .. -1 ] : @lines;
}

# How often the whole server restarted because a process crashed.
sub crash_restarts
{
	my ($self) = @_;
	return scalar(() = $self->log_text =~ /terminating any other active server processes/g);
}

package Penny::Cluster::Background;

use IPC::Run;

my $number = 0;

# By files, so that psql goes on without anybody pumping its streams.
sub start
{
	my ($class, $node, $sql) = @_;
	my $base = $node->basedir . '/background_' . ++$number;
	my $self = bless { out => "$base.out" }, $class;
	PostgreSQL::Test::Utils::append_to_file("$base.sql", $sql);
	$self->{run} = IPC::Run::start(
		[ $node->installed_command('psql'), '-XAtq', '-d', $node->connstr($node->{database}), '-f', "$base.sql" ],
		'<', '/dev/null', '>', $self->{out}, '2>&1',
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return $self;
}

# Wait for its end; its output, errors too.
sub finish
{
	my ($self) = @_;
	$self->{run}->finish;
	return PostgreSQL::Test::Utils::slurp_file($self->{out});
}

1;
