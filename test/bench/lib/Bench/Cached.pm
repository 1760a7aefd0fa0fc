# Figures of answers from the cache: what the edge takes for a hit, beside what
# nginx takes to return as many bytes from its memory.
#
# Compared is processor time for one request of the process that serves (the
# inverse of requests per CPU second), within pairs of runs.  nginx has the
# answer in its configuration, so it opens no file; it makes a request id, adds
# the same headers, writes no log, and looks at no token.
package Bench::Cached;

use strict;
use warnings;

use Bench::Measure;
use Bench::Server;
use HTTP::Tiny;
use JSON::PP ();
use Time::HiRes qw(sleep);

use constant CONNECTIONS => 32;

# A hit as it is, against nginx.
sub identity
{
	my ($bench) = @_;
	my $sample = warm($bench);
	my $nginx = start_nginx($bench, $sample);
	my ($p, $n) = eval {
		alternate($bench->{runs}, sub { penny($bench) },
			sub { serve($bench, { nginx => [ $nginx->{pid} ] }, $nginx->{port}) });
	};
	my $failed = $@;

	kill 'TERM', $nginx->{pid};
	waitpid($nginx->{pid}, 0);
	die $failed if $failed;
	my @ratio = map { $n->{cpu}[$_] / $p->{cpu}[$_] } 0 .. $#{ $p->{cpu} };
	return {
		figure => sprintf('hit of %d B, authorised, CPU of the edge per request', length $sample->{content}),
		measured => spread('%.1f us', @{ $p->{cpu} }),
		base => sprintf('%s nginx, the same bytes', spread('%.1f us', @{ $n->{cpu} })),
		ratio => spread('%.2f', @ratio),
		target => '>= 0.8',
		reached => median(@ratio) >= 0.8,
	};
}

# The same, compressed: each coding against the identity.
sub compressed
{
	my ($bench) = @_;

	warm($bench);
	return map { against_identity($bench, "hit in $_, CPU of the edge per request", 0.9,
		"Accept-Encoding: $_") } qw(gzip br);
}

# The client has it: 304 against the identity.
sub not_modified
{
	my ($bench) = @_;

	warm($bench);
	return against_identity($bench, '304, CPU of the edge per request', 1.0, 'If-None-Match: *');
}

sub against_identity
{
	my ($bench, $name, $least, $header) = @_;
	my ($p, $identity) = alternate($bench->{runs}, sub { penny($bench, $header) }, sub { penny($bench) });
	my @ratio = map { $identity->{cpu}[$_] / $p->{cpu}[$_] } 0 .. $#{ $p->{cpu} };

	return {
		figure => $name,
		measured => sprintf('%s, %.0f B', spread('%.1f us', @{ $p->{cpu} }), median(@{ $p->{bytes} })),
		base => sprintf('%s identity, %.0f B', spread('%.1f us', @{ $identity->{cpu} }),
			median(@{ $identity->{bytes} })),
		ratio => spread('%.2f', @ratio),
		target => ">= $least",
		reached => median(@ratio) >= $least,
	};
}

# Every target is in the cache, and the edge knows the token; one of the answers.
sub warm
{
	my ($bench) = @_;
	my $answer;

	open(my $fh, '<', $bench->{small_targets}) or die "could not read the targets: $!\n";
	for my $target (map { s/\n//r } <$fh>)
	{
		for my $try (1 .. 10)
		{
			$answer = $bench->{server}->get($target, $bench->{token});
			last if ($answer->{headers}{'x-cache'} // '') eq 'hit';
			sleep(0.1);
		}
		die "GET $target is not answered from the cache: "
			. ($answer->{headers}{'x-cache'} // $answer->{status}) . "\n"
			if ($answer->{headers}{'x-cache'} // '') ne 'hit';
	}
	return $answer;
}

# Hits alone count: the edge must have answered all of them by itself.
sub penny
{
	my ($bench, @headers) = @_;
	my $server = $bench->{server};
	my $before = hits($server);
	my $result = serve($bench, { edge => $server->processes->{edge} }, $server->{port}, @headers);
	my $hits = hits($server) - $before;

	die "only $hits of $result->{requests} requests were hits of the edge\n"
		if $hits < $result->{requests};
	return $result;
}

sub hits
{
	my ($server) = @_;
	my $sum = 0;

	$sum += $_->{edge}{cache_hits} for @{ $server->stats->{gateways} };
	return $sum;
}

sub serve
{
	my ($bench, $groups, $port, @headers) = @_;
	my ($name) = keys %$groups;
	my ($load, $used) = cpu_of($groups, sub {
		client("$bench->{bin}/load", '-p', $port, '-c', CONNECTIONS, '-t', $bench->{seconds}, '-k',
			$bench->{token_file}, '-f', $bench->{small_targets}, map { ('-H', $_) } @headers);
	});

	die "requests were refused: status $load->{refusal}\n" if $load->{refused} > 0;
	die "connections broke\n" if $load->{broken} + $load->{failed} > 0;
	return { cpu => $used->{$name} / 1e3 / $load->{requests}, bytes => $load->{bytes},
		requests => $load->{requests} };
}

# An nginx of one process that returns the body of the answer under any path.
sub start_nginx
{
	my ($bench, $answer) = @_;
	my $port = Bench::Server::free_port();
	my $dir = "$bench->{dir}/nginx";
	my ($nginx) = grep { -x $_ } '/usr/sbin/nginx', '/usr/local/sbin/nginx', '/usr/bin/nginx';
	my $body = $answer->{content} =~ s/[\$'\\\n]/x/gr; # what its configuration would take for its own
	my @parts = unpack('(a3000)*', $body);
	my $set = join '', map { "set \$part$_ '$parts[$_]';\n" } 0 .. $#parts;
	my $all = join '', map { "\${part$_}" } 0 .. $#parts;

	die "there is no nginx\n" if !defined $nginx;
	mkdir $dir;
	open(my $conf, '>', "$dir/nginx.conf") or die "could not write $dir/nginx.conf: $!\n";
	print $conf <<EOF;
daemon off;
master_process off;
pid $dir/pid;
error_log $dir/error.log;
events { worker_connections 1024; }
http {
	access_log off;
	keepalive_requests 1000000000;
	client_body_temp_path $dir/body;
	proxy_temp_path $dir/proxy;
	fastcgi_temp_path $dir/fastcgi;
	uwsgi_temp_path $dir/uwsgi;
	scgi_temp_path $dir/scgi;
	server {
		listen 127.0.0.1:$port;
		location / {
			default_type application/json;
			add_header ETag '"0123456789abcdef"';
			add_header Cache-Control 'private, no-cache';
			add_header Vary Accept-Encoding;
			add_header X-Request-Id \$request_id;
			$set
			return 200 "$all";
		}
	}
}
EOF
	close($conf) or die "could not write $dir/nginx.conf: $!\n";
	my $pid = fork() // die "could not fork: $!\n";
	if ($pid == 0)
	{
		open(STDERR, '>', "$dir/stderr");
		exec($nginx, '-e', "$dir/error.log", '-p', $dir, '-c', "$dir/nginx.conf") or exit(127);
	}
	my $http = HTTP::Tiny->new(timeout => 5);
	for (1 .. 100)
	{
		my $got = $http->get("http://127.0.0.1:$port/x");

		return { pid => $pid, port => $port }
			if $got->{status} == 200 && length($got->{content}) == length($answer->{content});
		sleep(0.05);
	}
	kill 'TERM', $pid;
	waitpid($pid, 0);
	die "nginx does not answer; see $dir\n";
}

1;
