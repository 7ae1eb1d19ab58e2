# Derivations that builds make, and outputs of them.
{ run, floating, salt, lower, ... }:
let
  inherit (builtins) outputOf unsafeDiscardOutputDependency;
  hello = floating "hello" { inherit lower; } "mkdir $out; echo $lower > $out/hello";
  # a recipe as the output of a build
  maker = floating "hello-${salt}.drv" { recipe = unsafeDiscardOutputDependency hello.drvPath; name = "hello-${salt}.drv"; outputHashMode = "text"; } "cp $recipe $out";
  wrapper = run "wrapper" { made = outputOf maker.outPath "out"; } "cat $made/hello > $out; echo $made >> $out";
in
{
  recipe-as-output = maker;
  output-of-output = wrapper;
  output-of-output-above = run "above" { inherit wrapper; } "cat $wrapper > $out; echo $wrapper >> $out";
  floating-above = floating "floating-above" { made = outputOf maker.outPath "out"; } "cat $made/hello > $out";
}
