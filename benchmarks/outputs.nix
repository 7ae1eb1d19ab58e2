# A derivation whose output is large, never built before.
# nonce: any text; another one makes another derivation.
# mebibytes: of random bytes in the output.
{ nonce, mebibytes }:
let
  large = name: script: derivation {
    inherit name nonce;
    system = "x86_64-linux";
    builder = "/bin/sh";
    args = [ "-ec" "${script}\necho written" ];
  };
  random = "dd if=/dev/urandom";
in
{
  file = large "file" "${random} bs=1M count=${toString mebibytes} of=$out";
  files = large "files" ''
    mkdir $out
    for i in $(seq ${toString (mebibytes * 4)}); do ${random} bs=256k count=1 of=$out/$i; done
  '';
}
