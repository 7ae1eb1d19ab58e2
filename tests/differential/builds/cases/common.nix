# What the cases of this folder are made with.
#
# salt: makes every derivation new to every cache, and is part of every name.
# seedPath: the folder of a static bash and busybox.
# url: a server on the machine, see test_builds.py.
# specification: of the derivations of generated.nix.
{ salt, seedPath, url, specification }:
rec {
  inherit salt url specification;
  seed = builtins.path { path = seedPath; name = "minipkgs-seed"; };
  system = "x86_64-linux";

  # a script in bash with the tools of busybox
  run = name: attributes: script: derivation ({
    name = "${name}-${salt}";
    inherit seed system;
    builder = "${seed}/bin/bash";
    PATH = "${seed}/bin";
    args = [ "-euc" script ];
  } // attributes);

  # the same with structured attributes; `out` is set
  structured = name: attributes: script: run name ({ __structuredAttrs = true; } // attributes) ''
    . "$NIX_ATTRS_SH_FILE"
    export PATH
    out=''${outputs[out]}
    ${script}
  '';

  # content-addressed, whatever it is made of
  floating = name: attributes: script:
    run name ({ __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; } // attributes) script;

  # a fixed output
  fixed = name: outputHashMode: outputHash: attributes: script:
    run name ({ inherit outputHashMode outputHash; } // attributes) script;

  # what a build sees that may not say it in its output: with the wrong hash, both report the right one
  sees = name: attributes: script:
    fails "hash-mismatch" [ ] (fixed name "flat" "sha256-${nobody}" attributes script);
  nobody = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

  # builder for builtin:fetchurl
  fetch = name: attributes: derivation ({
    name = "${name}-${salt}";
    system = "builtin";
    builder = "builtin:fetchurl";
    outputHashMode = "flat";
    executable = false;
    unpack = false;
    preferLocalBuild = true;
  } // attributes);

  # Says how a build ends: its kind of failure, and what the message has to name.
  fails = kind: mentions: drv: drv // { inherit kind mentions; };

  # Says that nixbk refuses to begin with what Nix tries or builds, and names the feature.
  refused = feature: drv: drv // { refused = feature; };

  # two small inputs, the second refers to the first
  lower = run "lower" { inherit salt; } "echo lower > $out";
  upper = run "upper" { inherit lower; } "mkdir $out; echo $lower > $out/upper";
}
