# Impure derivations whose content happens to be the same each time.
{ run, fails, floating, salt, lower, ... }:
let
  impure = name: attributes: script: run name ({ __impure = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; } // attributes) script;
  source = impure "source" { } "echo text > $out";
in
{
  file = impure "file" { } "echo text > $out";
  sees-network = impure "sees-network" { } "grep -c : /proc/net/dev | { read n; [ $n -gt 1 ] && echo more > $out || echo one > $out; }; ls /etc | grep -vx services >> $out";
  of-pure = impure "of-pure" { inherit lower; } "cat $lower > $out; echo $lower >> $out";
  of-impure = impure "of-impure" { inherit source; } "cat $source > $out; echo $source >> $out";
  itself = impure "itself" { } "echo $out > $out";
  outputs = impure "outputs" { outputs = [ "out" "dev" ]; } "echo $dev > $out; echo dev > $dev";
  cut-off-by-fixed = run "cut-off" { inherit source; outputHashAlgo = "sha256"; outputHashMode = "flat"; outputHash = builtins.hashString "sha256" "text\n"; } "cat $source > $out";
  above-the-cut = run "above-the-cut" { cut = run "cut" { inherit source; outputHashAlgo = "sha256"; outputHashMode = "flat"; outputHash = builtins.hashString "sha256" "text\n"; } "cat $source > $out"; } "cat $cut > $out; echo $cut >> $out";
  pure-of-impure = fails "unsupported" [ ] (run "pure-of-impure" { inherit source; } "cat $source > $out");
  floating-of-impure = fails "unsupported" [ ] (floating "floating-of-impure" { inherit source; } "cat $source > $out");
  fails = fails "builder-failed" [ "exit code 4" ] (impure "fails" { } "exit 4");
}
