# Made the .drv files beside it, with Nix 2.34.8:
#   nix-store --query --requisites $(nix-instantiate graph.nix) | grep '\.drv$' | xargs cp -t .
# Two recipes with one fixed output, an input with two outputs, and a source.
let
  fetch = url: derivation {
    name = "f";
    system = "builtin";
    builder = "builtin:fetchurl";
    inherit url;
    outputHashAlgo = "sha256";
    outputHash = builtins.hashString "sha256" "abc";
  };
  lib = derivation {
    name = "lib";
    system = "s";
    builder = "b";
    outputs = [ "out" "dev" ];
    src = fetch "one";
  };
in
derivation {
  name = "app";
  system = "s";
  builder = "b";
  a = fetch "one";
  b = fetch "two";
  c = lib;
  d = lib.dev;
  e = builtins.toFile "e" "e";
}
