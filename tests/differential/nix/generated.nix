# A graph of derivations from a specification: a JSON list, each item
#   { name, env, args, outputs, deps: [[index, output]], sources: [text],
#     fixed: null | { algorithm, mode }, structured, floating }
# whose deps are items before it. The result is the list of derivations.
{ specification }:
let
  inherit (builtins) elemAt foldl' fromJSON hashString length map readFile toFile;
  make = done: spec:
    let
      inputs = map (dep: (elemAt done (elemAt dep 0)).${elemAt dep 1}) spec.deps;
      fixed = if spec.fixed == null then { } else {
        outputHashAlgo = spec.fixed.algorithm;
        outputHashMode = spec.fixed.mode;
        outputHash = hashString spec.fixed.algorithm spec.name;
      };
      floating = if !spec.floating then { } else {
        __contentAddressed = true;
        outputHashAlgo = "sha256";
        outputHashMode = "recursive";
      };
      structured = if spec.structured then { __structuredAttrs = true; } else { };
      outputs = if spec.outputs == [ "out" ] then { } else { inherit (spec) outputs; };
    in derivation (spec.env // fixed // floating // structured // outputs // {
      inherit (spec) name args;
      inherit inputs;
      sources = map (text: toFile "source" text) spec.sources;
      system = "x86_64-linux";
      builder = "/bin/sh";
    });
in
foldl' (done: spec: done ++ [ (make done spec) ]) [ ] (fromJSON (readFile specification))
