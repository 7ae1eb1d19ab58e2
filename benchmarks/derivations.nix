# A graph of derivations like a large package set: layers deep, inputs shared,
# long scripts, sources by hash, some derivations with several outputs, and one
# that needs all of the last layers.
# count: how many derivations in all; width: how many to a layer.
{ count, width ? 200 }:
let
  inherit (builtins) concatLists concatMap concatStringsSep elemAt foldl' genList hashString length;
  perLayer = width * 5 / 4;              # every fourth has a source of its own
  depth = count / perLayer;
  mod = a: b: a - (a / b) * b;

  fetch = name: derivation {
    inherit name;
    system = "builtin";
    builder = "builtin:fetchurl";
    url = "https://example.org/archive/${name}";
    outputHashMode = "flat";
    outputHashAlgo = "sha256";
    outputHash = hashString "sha256" name;
  };

  script = concatStringsSep "\n" (genList (line: ''
    if test -n "$phase${toString line}"; then
    	echo "phase ${toString line}: \"$out\"" >> "$NIX_BUILD_TOP/log"
    fi'') 12);

  shared = genList (i: derivation {
    name = "tool-${toString i}";
    system = "x86_64-linux";
    builder = "/bin/sh";
    args = [ "-c" script ];
  }) 8;

  package = layer: position: below:
    let
      name = "package-${toString layer}-${toString position}";
      pick = step: elemAt below (mod (position * 7 + step * step * 31) (length below));
      inputs = if below == [ ] then [ ] else genList pick 6;
    in derivation ({
      inherit name script inputs;
      pname = "package-${toString layer}";
      version = "1.${toString position}";
      system = "x86_64-linux";
      builder = "/bin/sh";
      args = [ "-e" "-c" "eval \"$script\"" ];
      outputs = if mod position 5 == 0 then [ "out" "dev" ] else [ "out" ];
      tools = map (step: elemAt shared (mod (position + step) 8)) [ 0 3 ];
      buildPhase = "make SHELL=$SHELL -j$NIX_BUILD_CORES\nmake check || true";
      installPhase = "make install PREFIX=$out \\\n  DESTDIR=";
      configureFlags = genList (i: "--with-feature-${toString i}=yes") 12;
      doCheck = true; strictDeps = true; enableParallelBuilding = true;
      depsBuildBuild = ""; depsBuildBuildPropagated = ""; depsBuildTarget = "";
      depsHostHost = ""; depsTargetTarget = ""; propagatedBuildInputs = "";
      patches = ""; cmakeFlags = ""; mesonFlags = ""; outputHashes = "";
      meta = "a package of layer ${toString layer}" + (if mod position 50 == 0 then ", “${name}”" else "");
    } // (if mod position 4 == 0 then { src = fetch "${name}.tar.gz"; } else { }));

  layers = foldl'
    (done: layer:
      let below = if done == [ ] then [ ] else elemAt done (length done - 1);
      in done ++ [ (genList (position: package layer position below) width) ])
    [ ] (genList (layer: layer) depth);
in
derivation {
  name = "everything";
  system = "x86_64-linux";
  builder = "/bin/sh";
  all = concatLists layers;
}
