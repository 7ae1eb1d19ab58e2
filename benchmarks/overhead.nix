# Graphs of derivations that do next to nothing, never built before.
# nonce: any text; another one makes other derivations.
# count: derivations in each graph, that which needs all of the width not counted.
{ nonce, count }:
let
  inherit (builtins) foldl' genList;
  trivial = name: inputs: derivation {
    inherit name inputs nonce;
    system = "x86_64-linux";
    builder = "/bin/sh";
    args = [ "-c" "echo $name > $out" ];
  };
in
{
  chain = foldl' (below: i: trivial "link-${toString i}" below) [ ] (genList (i: i) count);
  width = trivial "all" (genList (i: trivial "leaf-${toString i}" [ ]) count);
}
