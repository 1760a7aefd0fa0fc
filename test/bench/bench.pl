# Measure the chosen figures on a temporary cluster and print the table.
# Called by run, which has built and installed everything.
use strict;
use warnings;

use Bench::Data;
use Bench::Figures;
use Bench::Server;

$| = 1;

# In this order: the import first, so that the fetches meet a filled store; the
# kills last, since they leave the machine warm and the log long.
my @order = (7, 5, 46, 31, 4, 44, 2, 3, 34, 32, 33, 35, 1, 21, 22, 23, 24, 25, 26, 29, 28, 20, 42, 43, 40, 41, 45, 49,
	47, 48, 50, 12, 13, 14, 11, 27, 36, 37, 51, 6, 15);

my %wanted = map { $_ => 1 } grep { /^\d+$/ } split /[\s,]+/, $ENV{BENCH} // '';
my $quick = $ENV{BENCH_QUICK};
my $dir = $ENV{BENCH_DIR};
my $server = Bench::Server->new($dir, $ENV{BENCH_BINDIR});
my $failed = 0;
my %rows;

END { my $status = $?; $server->stop if defined $server; $? = $status; }
$SIG{INT} = $SIG{TERM} = sub { exit 1 };

$server->create;
$server->wait_ready;
my $bench = {
	server => $server,
	dir => $dir,
	bin => "$dir/bin",
	quick => $quick,
	runs => $quick ? 3 : 9,
	seconds => $quick ? 1 : 2,
	sample => -e "$dir/sample.jsonl" ? "$dir/sample.jsonl" : undef,
};
Bench::Data::fill($bench, $ENV{BENCH_TOKEN} // 'session');

for my $number (@order)
{
	next if %wanted && !$wanted{$number};
	print STDERR "figure $number ";
	my @result = eval { $Bench::Figures::FIGURES{$number}->($bench) };
	if ($@)
	{
		print STDERR "\nfigure $number: $@";
		@result = ({ figure => "figure $number could not be measured", reached => 0, target => '?' });
	}
	$rows{$number} = \@result;
}

print_table();
exit($failed > 0);

# The table, columns as wide as they have to be.
sub print_table
{
	my @names = qw(figure measured base ratio target reached);
	my @table = ([@names]);
	my @width;

	for my $number (sort { $a <=> $b } keys %rows)
	{
		for my $row (@{ $rows{$number} })
		{
			my $verdict = '';

			if (defined $row->{target})
			{
				$verdict = $row->{reached} ? 'yes' : 'short';
				$failed++ if !$row->{reached};
			}
			push @table, [ sprintf('%-4s', $row->{figure} =~ /^ / ? '' : $number) . $row->{figure},
				(map { $row->{$_} // '' } qw(measured base ratio target)), $verdict ];
		}
	}
	for my $line (@table)
	{
		for my $i (0 .. $#names)
		{
			my $length = length($line->[$i]);
			$width[$i] = $length if !defined $width[$i] || $length > $width[$i];
		}
	}
	for my $line (@table)
	{
		my $text = join(' | ', map { sprintf("%-$width[$_]s", $line->[$_]) } 0 .. $#names);
		print $text =~ s/\s+$//r, "\n";
	}
}
