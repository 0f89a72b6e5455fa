# Strings, hashes, sorting and regular expressions.
use strict;
use warnings;
my $x = 42;
sub rnd { $x = ($x * 1103515245 + 12345) % 2147483648; return ($x >> 8) % $_[0]; }

my @words = map { join '', map { chr(97 + rnd(26)) } 1 .. 2 + rnd(6) } 1 .. 12000;
my %count;
$count{ substr($_, 0, 3) }++ for @words;
print join(",", map { "$_=$count{$_}" } (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0 .. 40]), "\n";
my $text = join ' ', @words;
my $n = () = $text =~ /\b(\w)\w+\1\b/g;
print "$n\n";
(my $changed = $text) =~ s/([aeiou])([^aeiou ])/uc($2) . $1/ge;
print substr($changed, 0, 400), "\n";
my @sieve = (1) x 60000;
for my $i (2 .. 244) {
    next unless $sieve[$i];
    for (my $j = $i * $i; $j < 60000; $j += $i) { $sieve[$j] = 0; }
}
print scalar(grep { $sieve[$_] } 2 .. 59999), "\n";
print join(" ", map { sprintf "%04x", unpack("%16C*", $_) } @words[0 .. 200]), "\n";
print join(" ", (sort { length($a) <=> length($b) || reverse($a) cmp reverse($b) } @words)[0 .. 99]), "\n";
