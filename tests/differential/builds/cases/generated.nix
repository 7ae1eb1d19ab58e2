# Derivations that support/graphs.py made up; each may use what comes before it.
#   [ { name; outputs; kind = plain | structured | floating | fixed; hash; deps = [ [index output] ]; files; graph; script; } ]
{ run, structured, salt, specification, ... }:
let
  inherit (builtins) elemAt foldl' fromJSON genList length listToAttrs map toFile;
  number = n: if n < 10 then "0${toString n}" else toString n;
  make = done: spec:
    let
      found = map (dep: (elemAt done (elemAt dep 0)).${elemAt dep 1}) spec.deps;
      inputs = listToAttrs (genList (n: { name = "d${toString n}"; value = elemAt found n; }) (length found));
      build = if spec.kind == "structured" then structured else run;
      kind = {
        plain = { };
        structured = { };
        floating = { __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; };
        fixed = { outputHashMode = "flat"; outputHash = spec.hash; };
      }.${spec.kind};
      outputs = if spec.outputs == [ "out" ] then { } else { inherit (spec) outputs; };
      files = if spec.kind == "structured" then { } else { passAsFile = [ "words" ]; };
      graph = if spec.kind == "structured" || !spec.graph || found == [ ] then { } else { exportReferencesGraph = [ "graph" (builtins.head found) ]; };
    in
    build spec.name (inputs // kind // outputs // files // graph // {
      words = "${spec.words} ${builtins.placeholder (builtins.head spec.outputs)}";
      source = toFile "source-${salt}" spec.words;
    }) spec.script;
  all = foldl' (done: spec: done ++ [ (make done spec) ]) [ ] (fromJSON specification);
in
listToAttrs (genList (n: { name = "n${number n}"; value = elemAt all n; }) (length all))
