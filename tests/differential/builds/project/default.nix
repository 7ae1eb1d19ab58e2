# Derivations for tests that write values.json: a salt, a recipe to change, and the url of the server
# that cases/downloads.nix has.
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
  # downloaded by builtin:fetchurl within its step: BuildKit can do none of it
  fetch = name: attributes: derivation ({
    name = "${name}-${values.salt}";
    system = "builtin";
    builder = "builtin:fetchurl";
    outputHashMode = "recursive";
  } // attributes);
  salted = algorithm: { outputHashMode = "flat"; outputHashAlgo = algorithm; outputHash = builtins.hashString algorithm values.salt; };
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
  private-sha512 = fetch "private-sha512" ({ url = "${values.url}/private/text/${values.salt}"; } // salted "sha512");
  private-executable = fetch "private-executable" { url = "${values.url}/private/text/executable"; executable = true; outputHash = "sha256-LoC+rHeUTLHRKDhdic/eEs3xpiVsmC5G/5mQT3DUBSQ="; };
  private-unpacked = fetch "private-unpacked" { url = "${values.url}/private/archive.nar"; unpack = true; outputHash = "sha256-Lt/WMw7/eV+ulAW3seKOZjh5tYy/oYW4LqOWIkJ1hVA="; };

  # there is no such server; the proxy has its files
  from-nowhere = ''
    place=''${http_proxy#http://}
    exec 3<> /dev/tcp/''${place%:*}/''${place#*:}
    printf 'GET http://nowhere.invalid/text/%s HTTP/1.0\r\n\r\n' ${values.salt} >&3
    sed '1,/^\r$/d' <&3 > $out
  '';
  proxied = run "proxied" ({ impureEnvVars = [ "http_proxy" ]; } // salted "sha256") from-nowhere;
  of-proxied = run "of-proxied" { inherit proxied; } "cat $proxied > $out; ${stamp} >> $out";
  unproxied = run "unproxied" (salted "sha256") from-nowhere;

  fills-folder = run "fills-folder" { } "dd if=/dev/zero of=much bs=1M count=999; echo > $out";
  fills-output = run "fills-output" { } "mkdir $out; dd if=/dev/zero of=$out/much bs=1M count=999";
  uses-shell = run "uses-shell" { } "/bin/sh -c 'echo sh $0' > $out; sha256sum < /bin/sh >> $out";
}
