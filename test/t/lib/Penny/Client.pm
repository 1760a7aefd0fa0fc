# Penny::Client: the tests of the JavaScript client, which node runs, as TAP of
# this process.
package Penny::Client;

use strict;
use warnings;
use Cwd qw(abs_path);
use Test::More;

my $tests = abs_path('test/client');
my $home = $ENV{PENNY_CLIENT} || abs_path('src/client');
# A check brings one of its own where the system's is too old.
my $node_program = -x "$home/node" ? "$home/node" : 'node';

# Why they cannot run, or nothing.
sub missing
{
	my $version = `$node_program --version 2>/dev/null` // '';
	return 'node is not installed' unless $version =~ /^v(\d+)/;
	return "node is $version, the client is for 20 and later" if $1 < 20;
	return 'the client is not built: make client' unless $home && -f "$home/dist/penny.min.js" && -d "$home/node_modules/ws";
	return;
}

# The program to show pages with, or nothing.
sub chromium
{
	for my $name ('chromium', 'chromium-browser', 'google-chrome')
	{
		my ($path) = grep { -x } map { "$_/$name" } split /:/, $ENV{PATH};
		return $path if $path;
	}
	return;
}

# Run files of tests; each test in them is one here, with what it said if it failed.
sub run_tests
{
	my (@files) = @_;
	local $ENV{PENNY_CLIENT} = $home;
	for my $file (@files)
	{
		my $ran = 0;
		my ($result, @said);
		my $pid = open my $out, '-|' or do {
			open STDERR, '>&', \*STDOUT;
			exec $node_program, '--no-warnings', '--test-reporter=tap', "$tests/$file.test.mjs" or exit 127;
		};
		my $report = sub {
			return unless $result;
			my ($ok, $name, $skip) = @$result;
			$ran++;
			if (defined $skip) { SKIP: { skip "$file: $name: $skip", 1 } }
			else { ok($ok, "$file: $name") or diag(join '', @said) }
			($result, @said) = ();
		};
		while (my $line = <$out>)
		{
			# A suite is what its tests are: the lines of those are indented.
			if ($line =~ /^\s*(not )?ok \d+ - (.*?)(?: # SKIP ?(.*))?$/) { $report->(); $result = [ !$1, $2, $3 ]; }
			else { note($1) if $line =~ /^\s*# (\{.*\}|\d+ bytes)$/; push @said, $line; }
		}
		$report->();
		ok(close($out), "$file: all of it") or diag(join '', @said);
		ok($ran, "$file: there are tests");
	}
}

# The same with a server.
sub run_tests_on
{
	my ($server, @files) = @_;
	local $ENV{PENNY_URL} = "http://127.0.0.1:$server->{http_port}";
	local $ENV{PENNY_SECRET} = $server->{secret};
	local $ENV{PENNY_DATA} = $server->data_dir;
	local $ENV{PGHOST} = $server->host;
	local $ENV{PGPORT} = $server->port;
	local $ENV{PGDATABASE} = $server->{database};
	run_tests(@files);
	# They may have restarted it.
	$server->_update_pid(1);
}

1;
