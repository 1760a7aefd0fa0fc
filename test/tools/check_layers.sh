#!/usr/bin/env bash
# check_layers.sh: every #include "module/..." in src/ against the table of
# layers in src/README.md, and the houses of the foreign libraries.
#
# The table's rows look like:	| `module` | may include `a`, `b` | ... |
# A module may include itself and what its row names.  A row may also name one
# header of another module (`realtime/publish.h`).  Rows of the second table
# say which module alone may include a foreign header: | `hiredis` | `redis` |.
set -u
cd "$(dirname "$0")/../.." || exit 2

exec perl - <<'PERL'
use strict;
use warnings;

my (%may, %house, $bad, $seen);
open my $map, '<', 'src/README.md' or die "src/README.md: $!\n";
my $table = '';
while (<$map>)
{
	$table = 'layers' if /<!-- layers -->/;
	$table = 'foreign' if /<!-- foreign -->/;
	$table = '' if /<!-- end -->/;
	next unless /^\|\s*`([^`]+)`\s*\|([^|]*)\|/;
	my ($key, $names) = ($1, $2);
	my @names = $names =~ /`([^`]+)`/g;
	$may{$key} = { map { $_ => 1 } @names } if $table eq 'layers';
	$house{$key} = { map { $_ => 1 } @names } if $table eq 'foreign';
}
close $map;
die "src/README.md: no table between <!-- layers --> and <!-- end -->\n" unless %may;

sub complain { my ($file, $line, $text) = @_; print "$file:$line: $text\n"; $bad++; }

for my $file (split /\n/, `find src -name '*.[ch]' | sort`)
{
	my ($module) = $file =~ m{^src/([^/]+)/};
	$module = 'penny.c' unless defined $module;
	complain($file, 1, "module \"$module\" is not in the table of layers"), next
	  unless $may{$module};
	open my $in, '<', $file or die "$file: $!\n";
	while (<$in>)
	{
		complain($file, $., 'PG_VERSION_NUM is tested outside base/compat.h')
		  if /\bPG_VERSION_NUM\b/ && $file ne 'src/base/compat.h';
		next unless /^\s*#\s*include\s*[<"]([^>"]+)[>"]/;
		my $header = $1;
		$seen++;
		for my $prefix (keys %house)
		{
			complain($file, $., "\"$header\" may only be included by " .
				join(', ', sort keys %{ $house{$prefix} }))
			  if index($header, $prefix) == 0 && !$house{$prefix}{$module} && !$house{$prefix}{$file =~ s{^src/}{}r};
		}
		next unless -e "src/$header";
		my ($of) = $header =~ m{^([^/]+)/};
		complain($file, $., "\"$header\": write the path from src/"), next unless defined $of;
		complain($file, $., "\"$module\" may not include \"$header\"")
		  unless $of eq $module || $may{$module}{$of} || $may{$module}{$header} || $may{$module}{'*'};
	}
	close $in;
}
print "$seen includes checked\n";
exit($bad ? 1 : 0);
PERL
