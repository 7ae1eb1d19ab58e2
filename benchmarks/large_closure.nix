# COUNT store paths of real files, made at once: ./slices/<number> is what each holds.
# Every path refers to up to four of those before it, and a root, one of ROOTS, to all before it.
{ count, roots, nonce }:
let
  inherit (builtins) concatStringsSep elem filter genList;
  seed = builtins.path { path = ./seed; name = "bench-seed"; };
  slices = builtins.path { path = ./slices; name = "bench-slices-${nonce}"; };
  output = n: "part${toString n}";
  before = n:
    if elem n roots then genList (m: m) n
    else filter (m: m >= 0) [ (n - 1 - n / 3) (n - 7) (n / 2 - 1) (n / 5 - 1) ];
  line = n: concatStringsSep " " (map output ([ n ] ++ before n));
  made = derivation {
    name = "bench";
    system = "x86_64-linux";
    builder = "${seed}/bin/busybox";
    outputs = genList output count;
    inherit nonce;
    # each line is an output and what it refers to
    lines = concatStringsSep "\n" (genList line count) + "\n";
    passAsFile = [ "lines" ];
    args = [ "sh" "-euc" ''
      b=${seed}/bin/busybox
      while read -r name inputs; do
        eval "out=\$$name"
        $b mkdir -p $out/refs
        $b cp -r ${slices}/''${name#part}/. $out/
        for input in $inputs; do eval "echo \$$input"; done > $out/refs/inputs
      done < $linesPath
    '' ];
  };
in
map (n: made.${output n}) roots
