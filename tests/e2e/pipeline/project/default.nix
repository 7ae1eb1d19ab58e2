# Small derivations with everything that minipkgs' have, built by its static bash and busybox.
# Tests change values.json; its salt makes all of them new to every cache.
let
  values = builtins.fromJSON (builtins.readFile ./values.json);
  seed = builtins.path { path = ./seed; name = "test-seed"; };
  run = name: args: script: derivation ({
    inherit name seed;
    inherit (values) salt;
    system = "x86_64-linux";
    builder = "${seed}/bin/bash";
    PATH = "${seed}/bin";
    args = [ "-euc" script ];
  } // args);
in
rec {
  # downloaded
  data = derivation {
    name = "data";
    builder = "builtin:fetchurl";
    system = "builtin";
    outputHashMode = "flat";
    outputHashAlgo = "sha256";
    outputHash = values.sha256;
    inherit (values) url;
    urls = [ values.url ];
    executable = false;
    unpack = false;
    preferLocalBuild = true;
    impureEnvVars = [ "http_proxy" "https_proxy" "no_proxy" ];
  };
  # another recipe for the same content when `how` changes
  fixed = run "fixed"
    {
      inherit (values) how;
      outputHashMode = "flat";
      outputHashAlgo = "sha256";
      outputHash = builtins.hashString "sha256" "fixed ${values.salt}";
    } "printf %s \"fixed ${values.salt}\" > $out";
  words = run "words"
    {
      inherit (values) words;
      passAsFile = [ "words" ];
    } "cat $wordsPath > $out";
  settings = run "settings"
    {
      __structuredAttrs = true;
      list = [ 1 2 3 ];
    } ''
    . "$NIX_ATTRS_SH_FILE"
    echo "''${list[*]}" > ''${outputs[out]}
  '';
  lib = run "lib" { inherit (values) lib; } "mkdir $out; echo $lib > $out/text";
  tool = run "tool"
    {
      outputs = [ "out" "dev" ];
      inherit lib;
      pad = values.tool_pad;
    } ''
    mkdir -p $out/bin $dev/include
    head -c $pad /dev/zero > $out/pad
    printf '#!%s/bin/bash\necho "tool:$(< %s/text)"\n' $seed $lib > $out/bin/tool
    chmod +x $out/bin/tool
    echo "#define TOOL" > $dev/include/tool.h
  '';
  summary = run "summary"
    {
      inherit data fixed;
      notes = ./notes.txt;
      more = builtins.toFile "more" values.salt;
    } "cat $data $fixed $notes $more | sha256sum | head -c 8 > $out";
  # refers to lib, and only at build time to the others
  app = run "app"
    {
      inherit lib tool words settings summary;
      inherit (values) pad;
      header = tool.dev;
    } ''
    [ -e $header/include/tool.h ]
    text="$($tool/bin/tool) $(< $words) $(< $settings) $(< $summary)"
    mkdir -p $out/bin
    printf '#!%s/bin/bash\necho "%s $(< %s/text)"\n' $seed "$text" $lib > $out/bin/app
    chmod +x $out/bin/app
    head -c $pad /dev/zero > $out/pad
  '';

  # paths that follow from content; another recipe for the same content when `how` changes
  float = run "float"
    {
      __contentAddressed = true;
      outputs = [ "out" "dev" ];
      inherit (values) how;
    } ''
    mkdir $out $dev
    echo "${values.lib} ${values.salt}" > $out/text
    echo $out > $dev/runtime
  '';
  # waits for it, and floats itself no more
  aboveFloat = run "above-float" { inherit float; runtime = float.dev; } ''
    mkdir $out
    [ "$(< $runtime/runtime)" = $float ]
    cat $float/text > $out/text
    echo $float >> $out/text
  '';
  floating = run "floating" { __contentAddressed = true; inherit aboveFloat; } ''
    mkdir -p $out/bin
    printf '#!%s/bin/bash\necho "%s of $0"\n' $seed "$(head -n 1 $aboveFloat/text)" > $out/bin/floating
    printf '# %s %s\n' $out "$aboveFloat" >> $out/bin/floating
    chmod +x $out/bin/floating
  '';
  impure = run "impure" { __impure = true; } ''
    mkdir -p $out/bin
    printf '#!%s/bin/bash\necho "%s"\n' $seed "$(< /proc/sys/kernel/random/uuid)" > $out/bin/impure
    chmod +x $out/bin/impure
  '';

  # fails while `fail` is set; what it needs, and a sibling, are built all the same
  broken = run "broken" { inherit lib; inherit (values) fail; } ''
    for n in 1 2 3 4 5; do echo "line $n of $(< $lib/text)"; done
    [ -z "$fail" ] || { echo "cannot go on" >&2; exit 3; }
    echo good > $out
  '';
  above = run "above" { inherit broken; } "cat $broken > $out";
  # leaves something in its folder
  leaving = run "leaving" { } "echo here > note; exit 4";
  silent = run "silent" { inherit (values) seconds; } "sleep $seconds; echo never > $out";
  # comes out otherwise each time
  random = run "random" { outputs = [ "out" "same" ]; } ''
    mkdir $out $same
    echo same > $out/same; cp $out/same $same/same
    mktemp -u > $out/other; ln -s "$(< $out/other)" $out/link
  '';
  # what the sandbox has for all
  found = run "found" { } "{ cat /usr/bin/tool /usr/share/notes; /usr/bin/tool; } > $out";
  mismatch = run "mismatch"
    {
      outputHashMode = "flat";
      outputHashAlgo = "sha256";
      outputHash = builtins.hashString "sha256" "expected";
    } "printf found > $out";

  # four that may run at once, one after them
  naps = map (n: run "nap-${n}" { inherit (values) nap; } "sleep $nap; echo ${n} > $out")
    [ "a" "b" "c" "d" ];
  rested = run "rested" { inherit naps; } "cat $naps > $out";
  # a chain, to be interrupted anywhere
  chain = builtins.foldl'
    (below: n: run "link-${toString n}" { inherit below; inherit (values) nap; }
      "sleep $nap; { cat $below; echo ${toString n}; } > $out")
    lib-text [ 1 2 3 4 5 6 ];
  lib-text = run "lib-text" { inherit lib; } "cat $lib/text > $out";
  # nothing else on the machine sleeps that long
  endless = run "endless" { inherit (values) seconds; } "echo begun; sleep $seconds; echo never > $out";

  cores = run "cores" { } "echo $NIX_BUILD_CORES > $out";
  show-cores = run "show-cores" { inherit cores; } ''
    mkdir -p $out/bin
    printf '#!%s/bin/bash\necho "cores $(< %s)"\n' $seed $cores > $out/bin/show-cores
    chmod +x $out/bin/show-cores
  '';

  # 50 layers of 40, each on two of the layer below, and all below one
  many = run "many"
    {
      paths = builtins.foldl'
        (below: depth: builtins.genList
          (n: run "cell-${toString depth}-${toString n}"
            {
              paths = if below == [ ] then [ ] else
                map (builtins.elemAt below) [ n (if n == 0 then 39 else n - 1) ];
            } "echo $paths | wc -w > $out")
          40)
        [ ]
        (builtins.genList (depth: depth) 50);
    } "cat $paths > $out";
}
