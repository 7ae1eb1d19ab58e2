# COUNT small store paths, made fifty at a time, and one that refers to all.
# Every path refers to up to four of those that were made before it, and is too
# long to be a symlink.
{ count, nonce }:
let
  inherit (builtins) concatMap elemAt filter genList length;
  seed = builtins.path { path = ./seed; name = "bench-seed"; };
  size = 50;
  makers = genList make (count / size);
  outputs = genList (n: "out${toString n}") size;
  before = n: filter (m: m >= 0) [ (n - 1 - n / 3) (n - 7) (n / 2 - 1) (n / 5 - 1) ];
  run = name: arguments: script: derivation ({
    inherit name nonce;
    system = "x86_64-linux";
    builder = "${seed}/bin/busybox";
    args = [ "sh" "-euc" script ];
  } // arguments);
  make = n: run "small-${toString n}" { inherit outputs; } (toString (map (output: ''
    printf '%s%5000s' "${toString (map (m: (elemAt makers m).${output}) (before n))}" > ''$${output}
  '') outputs));
  all = concatMap (maker: map (output: maker.${output}) outputs) makers;
in
run "small-root" { text = toString all; passAsFile = [ "text" ]; } ''
  ${seed}/bin/busybox cp $textPath $out
''
