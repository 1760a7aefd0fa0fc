#!/usr/bin/perl
# token.pl SECRET_FILE USER_ID ROLE [SECONDS]: print a token signed with HS256.
# The secret is read from the file, so that no command line shows it.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../t/lib";
use Penny::Token;

my ($file, $user, $role, $seconds) = @ARGV;
die "usage: token.pl SECRET_FILE USER_ID ROLE [SECONDS]\n" unless defined $role;
open my $in, '<', $file or die "$file: $!\n";
my $secret = do { local $/; <$in> };
$secret =~ s/\s+\z//;
print Penny::Token::hs256($secret, sub => $user, role => $role,
	iat => time(), exp => time() + ($seconds || 3600)), "\n";
