# Attributes that shape what a builder finds.
{ run, structured, fails, salt, lower, upper, seed, ... }:
let
  inherit (builtins) placeholder toFile;
  tiny = toFile "tiny-${salt}" "tiny";
  referring = toFile "referring-${salt}" "to ${tiny}";
in
{
  environment = run "environment" {
    outputs = [ "out" "dev" ];
    empty = "";
    lines = "a\nb\tc\\";
    unicode = "é “”";
    list = [ 1 "two" lower [ "nested" ] ];
    yes = true;
    no = false;
    number = 42;
    float = 1.5;
    path = ./common.nix;
    TMPDIR = "/elsewhere";
    TMP = "/elsewhere";
    TEMP = "/elsewhere";
    TEMPDIR = "/elsewhere";
    PWD = "/";
    HOME = "/home";
    TERM = "dumb";
    NIX_STORE = "/store";
    NIX_LOG_FD = "9";
    NIX_BUILD_TOP = "/top";
    NIX_ENFORCE_PURITY = "0";
    LANG = "C";
    "odd name" = "odd";
    "1st" = "first";
  } "cat /proc/$$/environ > $out; : > $dev";
  environment-of-nothing = derivation {
    name = "environment-of-nothing-${salt}";
    system = "x86_64-linux";
    builder = "${seed}/bin/bash";
    args = [ "-c" "while IFS= read -r -d '' x; do printf '%s\\n' \"$x\"; done < /proc/$$/environ > $out" ];
  };
  cores-are-given = run "cores-are-given" { NIX_BUILD_CORES = "77"; } "echo $NIX_BUILD_CORES > $out";
  arguments = derivation {
    name = "arguments-${salt}";
    system = "x86_64-linux";
    builder = "${seed}/bin/bash";
    args = [ "-c" "while IFS= read -r -d '' x; do printf '<%s>\\n' \"$x\"; done < /proc/$$/cmdline > $out" "" " " "é'\"\n$x" 7 true null [ 1 [ 2 "x" ] ] lower "--prefix=${placeholder "out"}" ];
  };
  no-arguments = derivation { name = "no-arguments-${salt}"; system = "x86_64-linux"; builder = run "script" { } "printf '#!%s/bin/bash\\necho \"$# $0\" > $out\\n' ${seed} > $out; chmod +x $out"; };
  builder-in-source = derivation { name = "builder-in-source-${salt}"; system = "x86_64-linux"; builder = "${seed}/bin/busybox"; args = [ "sh" "-c" "echo $0 $name > $out" ]; };
  shell-as-builder = derivation { name = "shell-as-builder-${salt}"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo $0 $name > $out" ]; };
  placeholders = run "placeholders" { outputs = [ "out" "lib" ]; flags = "--out=${placeholder "out"} --lib=${placeholder "lib"}/x --no=${placeholder "nothing"}"; } "echo $flags > $out; : > $lib";
  long-environment = run "long-environment" { long = builtins.concatStringsSep "" (builtins.genList (n: "0123456789abcdef") 7000); } "printf %s \"$long\" | md5sum > $out";
  many-variables = run "many-variables" (builtins.listToAttrs (builtins.genList (n: { name = "variable_${toString n}"; value = toString (n * n); }) 3000)) "cat /proc/$$/environ | sha256sum > $out";

  pass-as-file = run "pass-as-file" { passAsFile = [ "text" "empty" "odd name" "absent" "long" ]; text = "text for ${placeholder "out"}\n"; empty = ""; "odd name" = "odd"; long = builtins.concatStringsSep "\n" (builtins.genList toString 50000); } ''
    mkdir $out
    ls -l /build | awk '{print $1, $3, $4, $5, $9}' > $out/listing
    tr '\0' '\n' < /proc/$$/environ | sort > $out/environ
    cp /build/.attr-* $out
  '';
  pass-nothing = run "pass-nothing" { passAsFile = ""; text = "x"; } "cat /proc/$$/environ > $out; ls -A /build >> $out";

  graph = run "graph" { exportReferencesGraph = [ "one" upper "two.txt" referring "three" tiny ]; } "mkdir $out; cp one two.txt three $out";
  graph-of-odd-number = fails "" [ "exportReferencesGraph" ] (run "graph-of-odd-number" { exportReferencesGraph = [ "one" lower "two" ]; } "echo > $out");
  graph-of-outputs = run "graph-of-outputs" {
    exportReferencesGraph = [ "graph" (run "parts" { outputs = [ "out" "dev" "doc" ]; inherit upper; } "echo $dev > $out; echo $upper $dev > $dev; : > $doc") ];
  } "cp graph $out; ls /nix/store | sed 's/^[^-]*-//' >> $out";
  graph-of-recipes = run "graph-of-recipes" { exportReferencesGraph = [ "graph" upper.drvPath ]; } "cp graph $out";
  graph-of-symlink = run "graph-of-symlink" { exportReferencesGraph = [ "graph" (run "link" { inherit upper; } "ln -s $upper/upper $out") ]; } "cp graph $out";
  graph-of-inner-path = run "graph-of-inner-path" { exportReferencesGraph = [ "graph" "${upper}/upper" ]; } "cp graph $out";

  structured = structured "structured" {
    outputs = [ "out" "dev" ];
    string = "a 'quoted' \"text\"\n\t\\ é $HOME";
    empty = "";
    integer = 42;
    negative = -7;
    huge = 9223372036854775807;
    float = 1.5;
    whole = 2.0;
    tiny = 1.0e-7;
    large = 30000000000.0;
    third = 0.333333333333333314;
    nothing = null;
    yes = true;
    no = false;
    list = [ "a" 1 true false null 2.0 "it's" ];
    nested = [ [ 1 ] 2 ];
    emptyList = [ ];
    object = { b = "x"; a = 1; "with space" = true; "it's" = "y"; n = null; };
    deep = { a = { b = [ 1 { c = 2; } ]; }; };
    emptyObject = { };
    "bad-name" = "left out";
    "1st" = "left out, too";
    placeholders = [ (placeholder "out") "${placeholder "dev"}/lib" ];
    control = builtins.fromJSON ''"\u0001\u007f\u2028"'';
    passAsFile = [ "string" ];
    inherit lower;
    path = ./common.nix;
  } ''
    mkdir $out; cp "$NIX_ATTRS_JSON_FILE" $out/json; cp "$NIX_ATTRS_SH_FILE" $out/sh
    cat /proc/$$/environ > $out/environ
    ls -lA /build | awk '{print $1, $3, $4, $9}' > $out/listing
    : > "''${outputs[dev]}"
  '';
  structured-graph = structured "structured-graph" { exportReferencesGraph = { graph = [ upper [ referring ] ]; "other one" = tiny; }; } "cp \"$NIX_ATTRS_JSON_FILE\" $out";
  structured-graph-of-outputs = structured "structured-graph-of-outputs" {
    exportReferencesGraph.graph = [ (run "parts-2" { outputs = [ "out" "dev" ]; inherit upper; } "echo $dev > $out; echo $upper $dev > $dev") ];
  } "cp \"$NIX_ATTRS_JSON_FILE\" $out";
  structured-environment = structured "structured-environment" { __json = "own"; env.X = "y"; outputs = [ "out" ]; } "cat /proc/$$/environ > $out";
  structured-in-nixpkgs-style = structured "structured-env" { env = { A = "1"; B = "x y"; }; } ''
    for n in "''${!env[@]}"; do export "$n=''${env[$n]}"; done; echo "$A $B" > $out
  '';

  build-here = run "build-here" { preferLocalBuild = true; allowSubstitutes = false; } "cat /proc/$$/environ > $out";
  system-features = run "system-features" { requiredSystemFeatures = [ "big-parallel" "benchmark" "nixos-test" ]; } "cat /proc/$$/environ > $out";
  structured-system-features = structured "structured-system-features" { requiredSystemFeatures = [ "big-parallel" ]; preferLocalBuild = true; } "cp $NIX_ATTRS_JSON_FILE $out";
  feature-nobody-has = fails "unsupported" [ "tractor" ] (run "feature-nobody-has" { requiredSystemFeatures = [ "tractor" "big-parallel" ]; } "echo > $out");
  structured-feature-nobody-has = fails "unsupported" [ "tractor" ] (structured "structured-feature" { requiredSystemFeatures = [ "tractor" ]; } "echo > $out");
  no-chroot = fails "unsupported" [ "__noChroot" ] (run "no-chroot" { __noChroot = true; } "echo > $out");
  structured-no-chroot = fails "unsupported" [ "__noChroot" ] (structured "structured-no-chroot" { __noChroot = true; } "echo > $out");
  other-system = fails "unsupported" [ "armv5tel-linux" ] (run "other-system" { system = "armv5tel-linux"; } "echo > $out");
}
