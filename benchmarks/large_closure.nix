# COUNT store paths of real files that refer to each other: ./slices/<number> is what each holds.
# Every path refers to up to four of those before it, and the last to all.
{ count, nonce }:
let
  seed = builtins.path { path = ./seed; name = "bench-seed"; };
  slices = builtins.path { path = ./slices; name = "bench-slices-${nonce}"; };
  paths = builtins.genList make count;
  before = n: builtins.filter (m: m >= 0) [ (n - 1 - n / 3) (n - 7) (n / 2 - 1) (n / 5 - 1) ];
  make = n: derivation {
    name = "part-${toString n}";
    system = "x86_64-linux";
    builder = "${seed}/bin/busybox";
    inherit nonce;
    inputs = map (builtins.elemAt paths) (if n == count - 1 then builtins.genList (m: m) n else before n);
    args = [ "sh" "-euc" ''
      b=${seed}/bin/busybox
      $b mkdir -p $out/refs
      $b cp -r ${slices}/${toString n}/. $out/
      echo $inputs > $out/refs/inputs
    '' ];
  };
in
builtins.elemAt paths (count - 1)
