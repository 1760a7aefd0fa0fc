# What is fetched: users, conversations of 50 messages, tokens, targets.
#
# Everything goes through penny's own functions as an agent, so triggers and
# policies see it as they would in earnest.
package Bench::Data;

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256);
use JSON::PP ();
use MIME::Base64 qw(encode_base64url);

use constant CONVERSATIONS => 16;
use constant MESSAGES => 50;
use constant SMALL_BYTES => 9000;
use constant GENERATED => 500;    # conversations of the generated sample

my @words = qw(please book a table for two at the place near station tomorrow evening and tell me what it
	costs with tax because my friend would like to come along if there is still one seat by window);

sub fill
{
	my ($bench, $token_kind) = @_;
	my $server = $bench->{server};

	srand(1);
	$bench->{sample} //= generate_sample("$bench->{dir}/sample.jsonl");
	$bench->{users} = [ map { "00000000-0000-4000-8000-00000000000$_" } 1 .. 5 ];
	$bench->{user} = $bench->{users}[0];
	# what the import brings must not count among the conversations of those who fetch
	$bench->{importer} = '00000000-0000-4000-8000-000000000009';
	$server->sql('INSERT INTO chat.users (id, name) VALUES '
		. join(',', map { "('$_', 'Somebody called " . substr($_, -1) . "')" } @{ $bench->{users} }, $bench->{importer}));
	$bench->{act_as} = "SELECT penny.act_as('$bench->{user}', 'penny_agent')";
	$bench->{conversations} = [ map { conversation($bench, MESSAGES) } 1 .. CONVERSATIONS ];
	$bench->{write_conversation} = conversation($bench, 1);
	$bench->{write} = "INSERT INTO chat.messages (conversation_id, role, user_id, content)
		VALUES ('$bench->{write_conversation}', 'user', '$bench->{user}', \$1)";
	$server->sql('VACUUM ANALYZE');

	$bench->{token} = $token_kind eq 'jwt' ? jwt($bench) : $server->sql(
		"SELECT penny.create_session('$bench->{user}', 'penny_agent', interval '1 day')");
	$bench->{token_file} = write_lines($bench, 'token', $bench->{token});
	my @paths = map { "/api/v1/conversations/$_" } @{ $bench->{conversations} };
	$bench->{fetch_path} = $paths[0];
	$bench->{conversations_file} = write_lines($bench, 'conversations', @{ $bench->{conversations} });
	$bench->{fetch_targets} = write_lines($bench, 'targets.fetch', @paths);
	$bench->{post_targets} = write_lines($bench, 'targets.post',
		"/api/v1/conversations/$bench->{write_conversation}/messages");
	small_targets($bench, @paths);
}

# A conversation of `count` messages, every one by one of the users; its id.
# Every third message is an assistant's.
sub conversation
{
	my ($bench, $count) = @_;
	my @users = @{ $bench->{users} };
	my $id = $bench->{server}->sql("$bench->{act_as};
		SELECT penny.create_conversation(title => 'A table for two') ->> 'id'") =~ s/.*\n//sr;

	$bench->{server}->sql(join('', map { "SELECT penny.add_participant('$id', '$_');" }
		@users[ 1 .. $#users ]));
	my @rows = map { sprintf("('$id', '%s', '%s', '%s')", $_ % 3 == 0 ? 'assistant' : 'user',
		$users[ $_ % @users ], sentence()) } 1 .. $count;
	$bench->{server}->sql('INSERT INTO chat.messages (conversation_id, role, user_id, content) VALUES '
		. join(',', @rows));
	return $id;
}

# A sentence of 20 to 160 characters.
sub sentence
{
	my $length = 20 + int(rand(140));
	my $text = '';

	$text .= ($text eq '' ? '' : ' ') . $words[ rand(@words) ] while length($text) < $length;
	return ucfirst($text) . '.';
}

# Fetches whose answer is about 9 kB long, by the number of messages asked for.
sub small_targets
{
	my ($bench, @paths) = @_;
	my ($messages, $length) = (0, 0);

	while ($length < SMALL_BYTES && $messages < MESSAGES)
	{
		$messages++;
		my $answer = $bench->{server}->get("$paths[0]?messages=$messages", $bench->{token});
		die "GET $paths[0]: $answer->{status} $answer->{content}\n" if $answer->{status} != 200;
		$length = length($answer->{content});
	}
	$bench->{small_bytes} = $length;
	$bench->{small_targets} =
		write_lines($bench, 'targets.small', map { "$_?messages=$messages" } @paths);
}

# A token of the key that the server was configured with.
sub jwt
{
	my ($bench) = @_;
	my %claims = (sub => $bench->{user}, role => 'penny_agent', exp => time() + 86400);
	my $text = join('.', map { encode_base64url(JSON::PP::encode_json($_)) }
		{ alg => 'HS256', typ => 'JWT' }, \%claims);

	return "$text." . encode_base64url(hmac_sha256($text, $bench->{server}{secret}));
}

# A sample where there is none: task-oriented conversations with a tool call.
sub generate_sample
{
	my ($file) = @_;

	open(my $fh, '>', $file) or die "could not write $file: $!\n";
	for my $i (1 .. GENERATED)
	{
		my @messages = map { ({ role => 'user', content => sentence() },
			{ role => 'assistant', content => sentence() }) } 1 .. 11;
		my $call = { id => "call_$i", type => 'function', function => { name => 'book',
			arguments => JSON::PP::encode_json({ seats => '2', place => sentence() }) } };

		push @messages, { role => 'assistant', content => undef, tool_calls => [$call] },
			{ role => 'tool', tool_call_id => "call_$i", content => sentence() };
		print $fh JSON::PP::encode_json({ id => "sample-$i", title => sentence(),
			metadata => {}, messages => \@messages }), "\n";
	}
	close($fh) or die "could not write $file: $!\n";
	return $file;
}

sub write_lines
{
	my ($bench, $name, @lines) = @_;
	my $file = "$bench->{dir}/$name";

	open(my $fh, '>', $file) or die "could not write $file: $!\n";
	print $fh "$_\n" for @lines;
	close($fh) or die "could not write $file: $!\n";
	return $file;
}

1;
