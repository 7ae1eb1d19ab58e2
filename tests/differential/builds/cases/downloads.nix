# Files that builtin:fetchurl downloads from the server of test_builds.py, and the other builtin builders.
#   URL/text/WORD     WORD           URL/missing, URL/broken    404, 500
#   URL/archive.nar   a NAR          URL/archive.nar.xz         the same, compressed
#   URL/redirect/X    leads to X     URL/once/X                 X at the second time, 503 before
#   URL/private/X     X for the user of netrc alone
{ fetch, run, fails, floating, salt, url, nobody, ... }:
let
  inherit (builtins) hashString;
  text = name: algorithm: fetch name { url = "${url}/text/${name}"; outputHashAlgo = algorithm; outputHash = hashString algorithm name; };
  sha256 = text: { outputHashAlgo = "sha256"; outputHash = hashString "sha256" text; };
  archive = "sha256-Lt/WMw7/eV+ulAW3seKOZjh5tYy/oYW4LqOWIkJ1hVA=";
  paths = [ (run "package-a" { } "mkdir -p $out/bin $out/share/doc; echo a > $out/bin/a; echo a > $out/share/doc/a") (run "package-b" { } "mkdir -p $out/bin $out/share/doc $out/etc; echo b > $out/bin/b; echo b > $out/share/doc/b; echo b > $out/etc/b") ];
  manifest = run "manifest" { } "echo [] > $out";
  environment = name: paths: derivation {
    name = "${name}-${salt}";
    system = "builtin";
    builder = "builtin:buildenv";
    inherit manifest;
    derivations = map (p: [ "true" (toString p.priority) 1 p.path ]) paths;
  };
  # a builder that tries one after the other, as that of fetchurl of nixpkgs does
  from = name: urls: run name ({ inherit urls; outputHashMode = "flat"; } // sha256 name) ''
    for url in $urls; do
      place=''${url#http://} place=''${place%%/*}
      exec 3<> /dev/tcp/''${place%:*}/''${place#*:} || continue
      printf 'GET %s HTTP/1.0\r\n\r\n' $url >&3
      read -r status <&3
      [[ $status = *' 200 '* ]] || { echo $url: $status; continue; }
      sed '1,/^\r$/d' <&3 > $out
      exit
    done
    echo cannot download $name from any mirror; exit 1
  '';
  packed = run "packed" { } "mkdir -p top/a; echo x > top/a/b; chmod +x top/a/b; touch -d @1 top/a/b top/a top; tar c top | gzip -n > $out";
in
{
  flat-sha256 = text "flat-sha256" "sha256";
  flat-md5 = text "flat-md5" "md5";
  flat-sha1 = text "flat-sha1" "sha1";
  flat-sha512 = text "flat-sha512" "sha512";
  executable = fetch "executable" ({ url = "${url}/text/executable"; executable = true; outputHashMode = "recursive"; outputHash = "sha256-LoC+rHeUTLHRKDhdic/eEs3xpiVsmC5G/5mQT3DUBSQ="; });
  recursive = fetch "recursive" ({ url = "${url}/text/recursive"; outputHashMode = "recursive"; outputHash = "sha256-7oRDvlSH37JKZfGpyLqMJyczd+nZyTju5W1+KXdvVTc="; });
  unpacked = fetch "unpacked" { url = "${url}/archive.nar"; unpack = true; outputHashMode = "recursive"; outputHash = archive; };
  unpacked-and-decompressed = fetch "unpacked-xz" { url = "${url}/archive.nar.xz"; unpack = true; outputHashMode = "recursive"; outputHash = archive; };
  redirected = fetch "redirected" ({ url = "${url}/redirect/text/redirected"; } // sha256 "redirected");
  redirected-md5 = fetch "redirected-md5" { url = "${url}/redirect/text/redirected-md5"; outputHashAlgo = "md5"; outputHash = hashString "md5" "redirected-md5"; };
  file-in-tree = run "file-in-tree" { data = text "in-tree" "sha256"; other = text "in-tree-md5" "md5"; } "cat $data $other > $out; echo $data $other >> $out; stat -c %a $data $other >> $out";
  private = fetch "private" ({ url = "${url}/private/text/private"; } // sha256 "private");
  private-md5 = fetch "private-md5" { url = "${url}/private/text/private-md5"; outputHashAlgo = "md5"; outputHash = hashString "md5" "private-md5"; };
  # asked for in vain once
  tried-again = fetch "tried-again" { url = "${url}/once/text/tried-again"; outputHashAlgo = "sha1"; outputHash = hashString "sha1" "tried-again"; };
  decompressed-by-server = fetch "gzip" { url = "${url}/gzip/text/gzip"; outputHashAlgo = "sha1"; outputHash = hashString "sha1" "gzip"; };
  second-url = from "second-url" [ "${url}/missing" "${url}/text/second-url" "${url}/broken" ];
  third-url = from "third-url" [ "http://127.0.0.1:9/x" "${url}/broken" "${url}/text/third-url" ];
  wrong-url = fails "hash-mismatch" [ ] (from "wrong-url" [ "${url}/missing" "${url}/text/another" "${url}/text/wrong-url" ]);
  no-url-works = fails "builder-failed" [ "from any mirror" ] (from "no-url-works" [ "${url}/missing" "${url}/broken" ]);
  impure = fetch "impure" { __impure = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; url = "${url}/text/impure"; };
  floating-hash = fails "builder-failed" [ "fixed-output or impure" ] (fetch "floating" { __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; url = "${url}/text/floating"; });

  wrong-sha256 = fails "hash-mismatch" [ ] (fetch "wrong-sha256" ({ url = "${url}/text/found"; } // sha256 "expected of wrong-sha256"));
  wrong-md5 = fails "hash-mismatch" [ ] (fetch "wrong-md5" { url = "${url}/text/found"; outputHashAlgo = "md5"; outputHash = hashString "md5" "expected"; });
  wrong-unpacked = fails "hash-mismatch" [ ] (fetch "wrong-unpacked" { url = "${url}/archive.nar"; unpack = true; outputHashMode = "recursive"; outputHash = "sha256-${nobody}"; });
  wrong-executable = fails "hash-mismatch" [ ] (fetch "wrong-executable" { url = "${url}/text/found"; executable = true; outputHashMode = "recursive"; outputHash = "sha256-${nobody}"; });
  missing = fails "builder-failed" [ "404" ] (fetch "missing" ({ url = "${url}/missing"; } // sha256 "expected of missing"));
  missing-md5 = fails "builder-failed" [ "404" ] (fetch "missing-md5" { url = "${url}/missing"; outputHashAlgo = "md5"; outputHash = hashString "md5" "x"; });
  no-server = fails "builder-failed" [ ] (fetch "no-server" ({ url = "http://127.0.0.1:9/x"; } // sha256 "expected of no-server"));
  no-archive = fails "builder-failed" [ ] (fetch "no-archive" { url = "${url}/text/none"; unpack = true; outputHashMode = "recursive"; outputHash = "sha256-${nobody}"; });
  no-url = fails "builder-failed" [ "url" ] (fetch "no-url" (sha256 "x"));
  fetch-unfixed = fails "builder-failed" [ "fixed-output or impure" ] (derivation { name = "fetch-unfixed-${salt}"; system = "builtin"; builder = "builtin:fetchurl"; url = "${url}/text/x"; });

  environment-of-two = environment "environment-of-two" (map (path: { inherit path; priority = 5; }) paths);
  environment-of-none = environment "environment-of-none" [ ];
  environment-priorities = environment "environment-priorities" [
    { priority = 5; path = run "weak" { } "mkdir -p $out/bin; echo weak > $out/bin/x"; }
    { priority = 4; path = run "strong" { } "mkdir -p $out/bin; echo strong > $out/bin/x"; }
  ];
  environment-conflict = fails "builder-failed" [ "bin/x" ] (environment "environment-conflict" [
    { priority = 5; path = run "left" { } "mkdir -p $out/bin; echo left > $out/bin/x"; }
    { priority = 5; path = run "right" { } "mkdir -p $out/bin; echo right > $out/bin/x"; }
  ]);
  environment-propagates = environment "environment-propagates" [
    { priority = 5; path = run "propagating" { a = builtins.head paths; } "mkdir -p $out/nix-support $out/lib; echo $a > $out/nix-support/propagated-user-env-packages; : > $out/lib/x"; }
  ];
  environment-links = environment "environment-links" [
    { priority = 5; path = run "linked" { a = builtins.head paths; } "mkdir $out; ln -s $a/bin $out/bin; ln -s nowhere $out/share"; }
    { priority = 6; path = builtins.elemAt paths 1; }
  ];
  channel = derivation { name = "channel-${salt}"; system = "builtin"; builder = "builtin:unpack-channel"; src = packed; channelName = "the-channel"; };
  channel-of-two = fails "builder-failed" [ ] (derivation { name = "channel-of-two-${salt}"; system = "builtin"; builder = "builtin:unpack-channel"; src = run "packed-two" { } "mkdir a b; tar c a b > $out"; channelName = "x"; });
  channel-name-with-slash = fails "builder-failed" [ ] (derivation { name = "channel-slash-${salt}"; system = "builtin"; builder = "builtin:unpack-channel"; src = packed; channelName = "a/b"; });
}
