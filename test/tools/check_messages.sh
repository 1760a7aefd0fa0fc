#!/usr/bin/env bash
# check_messages.sh: rules for ereport and elog in src/ that a script can see.
#
# An ereport of ERROR or above has an errcode; elog is for DEBUG only; a
# primary message starts in lower case (or with a name) and has no period; a
# detail or hint is a sentence.
set -u
cd "$(dirname "$0")/../.." || exit 2

exec perl - <<'PERL'
use strict;
use warnings;

my ($bad, $seen) = (0, 0);
sub complain { my ($file, $line, $text) = @_; print "$file:$line: $text\n"; $bad++; }

for my $file (split /\n/, `find src -name '*.[ch]' -not -path 'src/edge/*' -not -path 'src/plane/*' | sort`)
{
	open my $in, '<', $file or die "$file: $!\n";
	my $text = do { local $/; <$in> };
	close $in;
	$text =~ s{(/\*.*?\*/)}{ $1 =~ tr/\n//cdr }gse;
	while ($text =~ /\b(ereport|elog)(\((?:[^()"]++|"(?:[^"\\]|\\.)*+"|(?2))*\))/g)
	{
		my ($call, $args) = ($1, $2);
		my $line = 1 + (substr($text, 0, $-[0]) =~ tr/\n//);
		my ($level) = $args =~ /^\(\s*(\w+)/;
		$seen++;
		if ($call eq 'elog')
		{
			complain($file, $line, "elog($level): use ereport with an errcode")
			  unless $level =~ /^DEBUG/;
			next;
		}
		complain($file, $line, "ereport($level) without errcode")
		  if $level =~ /^(ERROR|FATAL|PANIC)$/ && $args !~ /\berrcode\w*\(/;
		if ($args =~ /\berrmsg(?:_internal|_plural)?\(\s*"((?:[^"\\]|\\.)*)"\s*([,)])/)
		{
			my $message = $1;
			complain($file, $line, "message ends with a period: $message") if $message =~ /[.!]$/;
			complain($file, $line, "message starts with a capital: $message")
			  if $message =~ /^[A-Z][a-z]/;
		}
		while ($args =~ /\b(errdetail|errhint)\(\s*((?:"(?:[^"\\]|\\.)*"\s*)+)/g)
		{
			my ($kind, $message) = ($1, $2);
			my $whole = join '', $message =~ /"((?:[^"\\]|\\.)*)"/g;
			complain($file, $line, "$kind is not a sentence: $whole")
			  unless $whole =~ /^[A-Z"\\%]/ && $whole =~ /[.?]$/ || $whole eq '%s';
		}
	}
}
print "$seen messages checked\n";
exit($bad ? 1 : 0);
PERL
