# Builds that write down what Nix gave them, each into $out:
# environ, args (NUL behind each), and a copy of every file in /build.
{ seedPath }:
let
  seed = builtins.path { path = seedPath; name = "minipkgs-seed"; };
  script = ''
    busybox=${seed}/bin/busybox
    [ -z "$NIX_ATTRS_SH_FILE" ] || . "$NIX_ATTRS_SH_FILE"
    [ -n "$out" ] || { out=''${outputs[out]}; dev=''${outputs[dev]}; }
    $busybox mkdir $out $out/files
    $busybox cat /proc/$$/environ > $out/environ
    $busybox cat /proc/$$/cmdline > $out/args
    for f in /build/* /build/.[!.]*; do [ ! -f "$f" ] || $busybox cp "$f" $out/files/; done
    [ -z "$dev" ] || echo dev > $dev
  '';
  drv = args: derivation ({
    system = "x86_64-linux";
    builder = "${seed}/bin/bash";
    args = [ "-c" script "argument with ${builtins.placeholder "out"}" "" "é'\"\n" ];
  } // args);
  small = drv { name = "small"; };
  text = builtins.toFile "text" "a source";
  referring = builtins.toFile "referring" "refers to ${text}";
in
rec {
  plain = drv {
    name = "plain";
    outputs = [ "out" "dev" ];
    PATH = "/somewhere";
    TMPDIR = "/elsewhere";
    NIX_STORE = "/store";
    TERM = "dumb";
    PWD = "/";
    NIX_LOG_FD = "7";
    empty = "";
    unicode = "é “”";
    lines = "a\nb\tc\\";
    prefix = "--prefix=${builtins.placeholder "out"} --dev=${builtins.placeholder "dev"}/x";
    true_ = true;
    false_ = false;
    list = [ 1 "two" small ];
    NIX_BUILD_CORES = "77";
  };

  passed = drv {
    name = "passed";
    passAsFile = [ "big" "text" "absent" "é" ];
    big = "a long text with ${builtins.placeholder "out"}\n";
    text = "";
    "é" = "e";
    bigPath = "later in order, so it wins";
  };

  # Its output says nothing, so that it can be fixed; the log says it.
  fixed = drv {
    name = "fixed";
    args = [ "-c" "${seed}/bin/busybox base64 /proc/$$/environ; echo ok > $out" ];
    outputHashAlgo = "sha256";
    outputHashMode = "flat";
    outputHash = builtins.hashString "sha256" "ok\n";
    impureEnvVars = [ "NIXBK_TEST_ABSENT" "NIXBK_TEST_TOO" ];
    NIXBK_TEST_TOO = "not this";
  };

  graphs = drv {
    name = "graphs";
    exportReferencesGraph = [ "graph-1" small "text.txt" referring "again" "${small}/environ" ];
  };

  structured = drv {
    name = "structured";
    __structuredAttrs = true;
    outputs = [ "out" "dev" ];
    string = "a 'quoted' \"text\"\n\t\\ é $HOME";
    empty = "";
    integer = 42;
    negative = -7;
    large = 4294967297;
    huge = 9223372036854775807;
    float = 1.5;
    whole = 2.0;
    wholeLarge = 30000000000.0;
    beyondFloat = 1.0e300;
    almost = 0.99999999999;
    tiny = 1.0e-7;
    exponent = 1.25e22;
    precise = 0.1;
    third = 0.333333333333333314;
    nothing = null;
    yes = true;
    no = false;
    list = [ "a" 1 true false null 2.0 "it's" ];
    nested = [ [ 1 ] 2 ];
    emptyList = [ ];
    object = { b = "x"; a = 1; "with space" = true; n = null; };
    deep = { a = { b = [ 1 { c = 2; } ]; }; };
    emptyObject = { };
    "bad-name" = "left out";
    "1st" = "left out, too";
    placeholders = [ (builtins.placeholder "out") "${builtins.placeholder "dev"}/lib" ];
    control = builtins.fromJSON ''"\u0001\u007f\u2028"'';
    passAsFile = [ "string" ];
  };

  structuredGraphs = drv {
    name = "structured-graphs";
    __structuredAttrs = true;
    exportReferencesGraph = { graph = [ small [ referring ] ]; "other one" = text; };
  };
}
