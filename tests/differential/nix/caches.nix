# Store objects of all kinds that a binary cache may have; small, and quick to make.
let
  text = builtins.toFile "text" "a text";
  refers = builtins.toFile "refers" "refers to ${text}";
  system = builtins.currentSystem;
  make = name: args: script: derivation ({
    inherit name system;
    builder = "/bin/sh";
    args = [ "-euc" script ];
  } // args);
  content = "the same";
  fixed = name: outputHashMode: outputHashAlgo: outputHash:
    make name { inherit outputHashMode outputHashAlgo outputHash; } "printf '${content}' > $out";
in
rec {
  # input-addressed: one refers to itself and to others, one to nothing
  own = make "own" { inherit refers; outputs = [ "out" "dev" ]; } ''
    echo $out $refers > $out; echo $out $dev > $dev
  '';
  alone = make "alone" { } "echo alone > $out";
  many = make "many" { all = [ own own.dev alone refers text flat "${./caches.nix}" ]; }
    "echo $all $out > $out";

  # content-addressed, known after the build: with and without a reference to itself
  floating = make "floating" { inherit refers; __contentAddressed = true;
    outputHashMode = "recursive"; outputHashAlgo = "sha256"; } "echo $out $refers > $out";
  plain = make "plain" { inherit refers; __contentAddressed = true;
    outputHashMode = "recursive"; outputHashAlgo = "sha256"; } "echo $refers > $out";

  # content-addressed, known before
  flat = fixed "flat" "flat" "sha256" (builtins.hashString "sha256" content);
  sha1 = fixed "sha1" "flat" "sha1" (builtins.hashString "sha1" content);
  md5 = fixed "md5" "flat" "md5" (builtins.hashString "md5" content);
  sha512 = fixed "sha512" "flat" "sha512" (builtins.hashString "sha512" content);
}
