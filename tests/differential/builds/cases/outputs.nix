# Outputs: how many, of what type, what they refer to, and what is no output.
{ run, fails, salt, lower, upper, ... }:
{
  one-file = run "one-file" { } "echo text > $out";
  empty-file = run "empty-file" { } ": > $out";
  empty-folder = run "empty-folder" { } "mkdir $out";
  executable-file = run "executable-file" { } "echo text > $out; chmod 755 $out";
  symlink = run "symlink" { inherit lower; } "ln -s $lower $out";
  dangling-symlink = run "dangling-symlink" { } "ln -s ../nowhere $out";
  symlink-to-itself = run "symlink-to-itself" { } "ln -s $out $out";
  symlink-into-input = run "symlink-into-input" { inherit upper; } "ln -s $upper/upper $out";
  symlink-to-system-file = run "symlink-to-system-file" { } "ln -s /etc/passwd $out";
  through-symlink = run "through-symlink" {
    link = run "link" { inherit upper; } "ln -s $upper $out";
  } "cat $link/upper > $out; ls -l $link | wc -l >> $out";
  through-symlink-chain = run "through-symlink-chain" {
    link = run "link-2" { link = run "link-1" { inherit upper; } "ln -s $upper/upper $out"; } "ln -s $link $out";
  } "cat $link > $out; readlink $link >> $out";

  three-in-any-order = run "three" { outputs = [ "lib" "out" "dev" ]; } ''
    echo dev > $dev; mkdir $out; echo $dev > $out/dev; ln -s $out/dev $lib
  '';
  without-out = run "without-out" { outputs = [ "bin" "a" ]; } "mkdir $a; echo $a > $bin";
  many-outputs = run "many" { outputs = builtins.genList (n: "o${toString n}") 40; } ''
    for n in $(seq 0 39); do o=o$n; echo "$n $o0" > ''${!o}; done
  '';
  odd-output-names = run "odd" { outputs = [ "out" "a.b" "c-d" "_e" "f+g" ]; } ''
    tr '\0' '\n' < /proc/$$/environ | while IFS== read -r name value; do
      case $name in out|a.b|c-d|_e|f+g) echo "$name" > "$value" ;; esac
    done
  '';
  odd-derivation-names = run "a+b-c._?=d-9.drv-x" { } "echo text > $out";
  output-as-input = run "output-as-input" {
    dev = (run "parts" { outputs = [ "out" "dev" ]; inherit upper; } "echo $upper > $out; echo dev > $dev").dev;
  } "found=$(ls /nix/store | sed 's/^[^-]*-//'); echo \"$found\" > $out; cat $dev >> $out";

  refers-to-itself = run "refers-to-itself" { } "echo $out > $out";
  refers-to-inputs = run "refers-to-inputs" { inherit lower upper; } "echo $lower $upper > $out";
  refers-to-some = run "refers-to-some" { inherit lower upper; } "echo $upper > $out";
  refers-to-deeper = run "refers-to-deeper" { inherit upper; } "cat $upper/upper > $out";
  refers-by-digest = run "refers-by-digest" { inherit lower; } "d=\${lower##*/}; echo \"x\${d%%-*}y\" > $out";
  refers-by-name = run "refers-by-name" { inherit lower; } "mkdir $out; : > $out/\${lower##*/}";
  refers-by-link = run "refers-by-link" { inherit lower; } "mkdir $out; ln -s $lower/deep/below $out/x";
  refers-in-binary = run "refers-in-binary" { inherit lower upper; } ''
    { head -c 65520 /dev/zero; printf %s "$lower"; head -c 131040 /dev/zero; printf '\377%s\376' "$upper"; } > $out
  '';
  refers-not-quite = run "refers-not-quite" { inherit lower upper; } ''
    mkdir $out
    printf %s "$lower" | tr a-z A-Z > $out/upper-case
    printf %s "$lower" | sed 's/./& /g' > $out/spaced
    printf %s "$lower" | head -c 42 > $out/cut
    printf %s "$upper" | gzip -n > $out/compressed
  '';
  refers-over-two-files = run "refers-over-two-files" { inherit lower; } ''
    mkdir $out
    d=''${lower##*/}; printf %s ''${d:0:16} > $out/a; printf %s ''${d:16} > $out/b
  '';
  refers-to-siblings = run "siblings" { outputs = [ "out" "a" "b" "c" ]; } ''
    echo $a $b > $out; echo $b $c > $a; echo $c > $b; echo $c > $c
  '';
  refers-to-no-input = run "refers-to-no-input" { } "echo /nix/store/0000000000000000000000000000000a-nothing > $out";
  refers-to-source = run "refers-to-source" { text = builtins.toFile "text-${salt}" "of ${builtins.toFile "other-${salt}" "other"}"; } "echo $text > $out";
  refers-to-own-recipe = run "refers-to-own-recipe" { recipe = builtins.unsafeDiscardOutputDependency upper.drvPath; } "cat $recipe > $out";
  refers-to-recipe-closure = run "refers-to-recipe-closure" { recipe = upper.drvPath; } "echo $recipe > $out";

  missing = fails "output-missing" [ "'out'" ] (run "missing" { } ":");
  missing-of-two = fails "output-missing" [ "'dev'" ] (run "missing-of-two" { outputs = [ "out" "dev" ]; } ": > $out");
  missing-behind-dangling-folder = fails "output-missing" [ "'out'" ] (run "elsewhere" { } "mkdir /build/out; echo > /build/out/x");
  more-than-asked = run "more-than-asked" { } ''
    echo text > $out; mkdir $out-extra /nix/store/other; echo more > $out-extra/x
  '';
  cycle-of-two = fails "cycle" [ "'a'" "'b'" ] (run "cycle-of-two" { outputs = [ "a" "b" ]; } "echo $a > $b; echo $b > $a");
  cycle-of-three = fails "cycle" [ ] (run "cycle-of-three" { outputs = [ "out" "a" "b" ]; } "echo $a > $out; echo $b > $a; echo $out > $b");
}
