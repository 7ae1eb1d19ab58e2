# Derivations for test_commands.py, which writes values.json: a salt, and a recipe to change.
let
  values = builtins.fromJSON (builtins.readFile ./values.json);
  seed = builtins.path { path = ./seed; name = "minipkgs-seed"; };
  run = name: attributes: script: derivation ({
    name = "${name}-${values.salt}";
    inherit seed;
    system = "x86_64-linux";
    builder = "${seed}/bin/bash";
    PATH = "${seed}/bin";
    args = [ "-euc" script ];
  } // attributes);
  floating = name: attributes:
    run name ({ __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; } // attributes);
  impure = name: attributes:
    run name ({ __impure = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; } // attributes);
  stamp = "tr -d - < /proc/sys/kernel/random/uuid";
in
rec {
  parts = run "parts" { outputs = [ "lib" "out" "doc" ]; } "for o in $lib $out $doc; do echo $o > $o; done"
    // { meta.outputsToInstall = [ "lib" "doc" ]; };
  bare = run "bare" { outputs = [ "b" "a" ]; } "echo > $a; echo > $b";

  good = run "good" { } "${stamp} > $out";
  status = run "status" { } "echo broken; exit 3";
  mismatch = run "mismatch" { outputHashMode = "flat"; outputHash = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="; } "echo > $out";
  late = run "late" { } "sleep 60";
  missing = run "missing" { } ":";
  refers = run "refers" { allowedReferences = [ ]; } "echo $out > $out";
  feature = run "feature" { requiredSystemFeatures = [ "tractor" ]; } "echo > $out";
  other-system = run "other-system" { system = "armv5tel-linux"; } "echo > $out";
  above = run "above" { inherit status; } "echo > $out";

  talks = run "talks" { } ''
    for n in $(seq 200); do echo "line $n"; done; echo to stderr >&2
    printf 'odd \377 \033[31m\n'; printf 'no end' >&2; echo text > $out
  '';
  talks-and-fails = run "talks-and-fails" { } "for n in $(seq 200); do echo \"line $n\"; done; echo end >&2; exit 1";
  leaves = run "leaves" { } "mkdir -p a/b; echo text > a/b/c; chmod 700 a/b/c; ln -s b a/l; echo \"$name\" > name; exit 1";

  steady = run "steady" { outputs = [ "out" "dev" ]; } "mkdir $out; echo text > $out/x; echo $out > $dev";
  unsteady = run "unsteady" { } "mkdir -p $out/bin; echo same > $out/same; ${stamp} > $out/bin/x; ln -s $(${stamp}) $out/l";

  low = floating "low" { inherit (values) recipe; } "echo low > $out";
  middle = floating "middle" { inherit low; } "cat $low > $out; echo $low >> $out";
  high = run "high" { inherit middle; } "{ echo $middle; ${stamp}; } > $out";

  source = impure "source" { } "${stamp} > $out";
  of-source = impure "of-source" { inherit source; } "cat $source > $out; echo more >> $out";

  imported = run "imported" { text = builtins.readFile (run "generated" { } "printf 'some %s' text > $out"); } "echo $text > $out";
  tool = run "tool" { } "mkdir -p $out/bin $out/lib; { echo '#!/bin/sh'; echo 'echo the tool'; } > $out/bin/tool; chmod +x $out/bin/tool; echo data > $out/lib/data";
  uses-tool = run "uses-tool" { } "/usr/bin/tool > $out; cat /lib/data >> $out; ls -A /usr /usr/bin /lib >> $out";
  uses-shell = run "uses-shell" { } "/bin/sh -c 'echo sh $0' > $out; sha256sum < /bin/sh >> $out";
}
