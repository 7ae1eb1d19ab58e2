# Content-addressed derivations: paths that are known when the content is.
{ floating, run, structured, fails, salt, lower, upper, placeholder ? builtins.placeholder, ... }:
let
  low = floating "low" { inherit salt; } "echo low > $out";
  high = floating "high" { inherit low; } "mkdir $out; echo $low > $out/high";
  parts = floating "parts" { outputs = [ "out" "dev" "lib" ]; } "mkdir $out $dev; echo $dev $lib > $out/x; echo $lib > $dev/y; echo lib > $lib";
  one = floating "either" { recipe = 1; } "echo same > $out";
  two = floating "either" { recipe = 2; } "echo different > $out; echo same > $out";
in
{
  file = floating "file" { } "echo text > $out";
  folder = floating "folder" { } "mkdir $out; echo text > $out/x; chmod +x $out/x";
  symlink = floating "symlink" { } "ln -s target $out";
  chain = floating "chain" { inherit high; } "cat $high/high > $out; echo $high >> $out";
  of-input-addressed = floating "of-input-addressed" { inherit upper; } "echo $upper > $out";
  below-input-addressed = run "below-input-addressed" { inherit high; } "echo $high > $out; cat $high/high >> $out";
  deep-below-input-addressed = run "deep-below" { below = run "below" { inherit low; } "echo $low > $out"; } "echo $below > $out; cat $below >> $out";
  below-fixed = run "below-fixed" { inherit low; outputHashAlgo = "sha256"; outputHashMode = "flat"; outputHash = builtins.hashString "sha256" "low\n"; } "cat $low > $out";

  refers-to-itself = floating "refers-to-itself" { } "mkdir $out; echo $out > $out/x; ln -s $out/x $out/y; printf 'a%sb%sc' $out $out > $out/z";
  refers-to-itself-in-targets = floating "itself-in-targets" { } "mkdir $out; ln -s \${out##*/} $out/l; ln -s $out/l $out/m";
  refers-to-itself-over-chunks = floating "itself-over-chunks" { } "{ head -c 65520 /dev/zero; echo $out; head -c 131050 /dev/zero; echo $out; } > $out";
  refers-to-itself-by-digest = floating "itself-by-digest" { } "d=\${out##*/}; echo \${d%%-*} > $out";
  file-refers-to-itself = floating "file-itself" { } "echo $out > $out; chmod +x $out";
  link-refers-to-itself = floating "link-itself" { } "ln -s $out/x $out";
  itself-used-above = run "itself-used-above" { it = floating "it" { } "mkdir $out; echo $out > $out/x"; } "echo $it > $out; cat $it/x >> $out";
  outputs = parts;
  outputs-in-other-order = floating "other-order" { outputs = [ "lib" "a" "out" ]; } "echo $a > $lib; echo $out > $a; echo $out > $out";
  one-output-used = run "one-output-used" { inherit (parts) dev; } "echo $dev > $out; cat $dev/y >> $out; ls /nix/store | sed 's/^[^-]*-//' >> $out";
  outputs-refer-to-inputs = floating "to-inputs" { outputs = [ "out" "dev" ]; inherit high lower; } "echo $high $dev > $out; echo $lower $dev > $dev";
  equal-outputs = floating "equal-outputs" { outputs = [ "out" "dev" ]; } "echo same > $out; echo same > $dev";
  from-two-recipes = run "from-two-recipes" { inherit one two; } "echo $one $two > $out";
  placeholder-in-text = floating "placeholder-in-text" { outputs = [ "out" "dev" ]; flags = "--prefix=${placeholder "out"} --dev=${placeholder "dev"}"; } "mkdir $out; echo $flags > $out/flags; : > $dev";
  input-placeholder-inside = floating "input-inside" { text = "before ${high}/high after"; list = [ low high ]; } "echo $text $list > $out";

  flat-sha256 = floating "flat-sha256" { outputHashMode = "flat"; } "echo text > $out";
  flat-sha512 = floating "flat-sha512" { outputHashMode = "flat"; outputHashAlgo = "sha512"; } "echo text > $out";
  flat-sha1 = floating "flat-sha1" { outputHashMode = "flat"; outputHashAlgo = "sha1"; } "echo text > $out";
  recursive-md5 = floating "recursive-md5" { outputHashAlgo = "md5"; } "mkdir $out; echo text > $out/x";
  recursive-sha1 = floating "recursive-sha1" { outputHashAlgo = "sha1"; } "mkdir $out; echo text > $out/x";
  recursive-sha512 = floating "recursive-sha512" { outputHashAlgo = "sha512"; } "mkdir $out; echo text > $out/x";
  text = floating "text" { outputHashMode = "text"; inherit lower; } "echo $lower > $out";
  git = floating "git" { outputHashMode = "git"; outputHashAlgo = "sha1"; } "mkdir $out; echo text > $out/x";
  default-algorithm = run "default-algorithm" { __contentAddressed = true; } "echo text > $out";
  default-mode = run "default-mode" { __contentAddressed = true; outputHashAlgo = "sha256"; } "mkdir $out; echo text > $out/x";
  structured = structured "structured" { __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; inherit high; list = [ low ]; } ''
    mkdir $out; sed "s,$out,OUT,g" "$NIX_ATTRS_JSON_FILE" > $out/json; sed "s,$out,OUT,g" "$NIX_ATTRS_SH_FILE" > $out/sh
  '';
  pass-as-file = floating "pass-as-file" { passAsFile = [ "text" ]; text = "of ${high}\n"; } "cp $textPath $out";
  environment = floating "environment" { inherit high; } "tr '\\0' '\\n' < /proc/$$/environ | sed \"s,$out,OUT,\" > $out";
  graph = floating "graph" { exportReferencesGraph = [ "graph" high ]; } "cp graph $out";
  builder-is-floating = derivation { name = "builder-is-floating-${salt}"; system = "x86_64-linux"; builder = "${floating "tool" { inherit lower; } "mkdir $out; printf '#!/bin/sh\\necho made > $out\\n' > $out/tool; chmod +x $out/tool"}/tool"; };

  allowed-references = floating "allowed-references" { allowedReferences = [ low "out" ]; inherit low; } "echo $low $out > $out";
  not-among-allowed = fails "output-check" [ ] (floating "not-among-allowed" { allowedReferences = [ ]; inherit low; } "echo $low > $out");
  flat-folder = fails "illegal-output" [ ] (floating "flat-folder" { outputHashMode = "flat"; } "mkdir $out");
  scratch-path-inside = floating "scratch" { } "echo \${out##*/} | rev > $out";
  flat-itself = fails "" [ ] (floating "flat-itself" { outputHashMode = "flat"; } "echo $out > $out");
  cycle = fails "cycle" [ ] (floating "cycle" { outputs = [ "a" "b" ]; } "echo $a > $b; echo $b > $a");
  missing = fails "output-missing" [ "'out'" ] (floating "missing" { } ":");
  fails = fails "builder-failed" [ ] (floating "fails" { inherit low; } "exit 5");
  modes = floating "modes" { } "mkdir $out; echo $out > $out/a; chmod 500 $out/a; mkdir $out/d; chmod 0 $out/d";
  hard-links = floating "hard-links" { } "mkdir $out; echo $out > $out/a; ln $out/a $out/b; ln $out/a $out.c";
}
