# Fixed outputs that a builder makes. Their hashes are written down here, so their content has no salt.
{ run, fixed, sees, fails, nobody, ... }:
let
  inherit (builtins) hashString;
  text = "fixed text\n";
  flat = name: algorithm: run name { outputHashMode = "flat"; outputHashAlgo = algorithm; outputHash = hashString algorithm text; } "echo 'fixed text' > $out";
  wrong = name: algorithm: fails "hash-mismatch" [ "${algorithm}-" ]
    (run name { outputHashMode = "flat"; outputHashAlgo = algorithm; outputHash = hashString algorithm "expected"; } "echo 'fixed text' > $out");
  tree = "mkdir -p $out/a; echo one > $out/a/b; chmod +x $out/a/b; ln -s b $out/a/c";
  plain = builtins.toFile "plain" "plain";
  mismatch = fails "hash-mismatch" [ ];
in
{
  flat-md5 = flat "flat-md5" "md5";
  flat-sha1 = flat "flat-sha1" "sha1";
  flat-sha256 = flat "flat-sha256" "sha256";
  flat-sha512 = flat "flat-sha512" "sha512";
  wrong-md5 = wrong "wrong-md5" "md5";
  wrong-sha1 = wrong "wrong-sha1" "sha1";
  wrong-sha256 = wrong "wrong-sha256" "sha256";
  wrong-sha512 = wrong "wrong-sha512" "sha512";

  nar-md5 = fixed "nar-md5" "recursive" "md5-q01aDg17reRuZUONdtXqCg==" { } tree;
  nar-sha1 = fixed "nar-sha1" "recursive" "sha1-+uM0PYUO6wpBuAnMglG5zh/263w=" { } tree;
  nar-sha256 = fixed "nar-sha256" "nar" "sha256-mGidODnExckAo+P+WNJ5h+UslhDej9rEhzNM7lxZRUg=" { } tree;
  nar-sha512 = fixed "nar-sha512" "recursive" "sha512-aVa+EJod4O9DjLhqWCnJup9w4yv8iwAlh59PJi980VrbXdaw2D3vZyKgWpgKGs9gDvXzLHMHbTGIyF2g+S3jFA==" { } tree;
  nar-of-file = fixed "nar-of-file" "recursive" "sha256-jNYxOkhNOqiLKrLN1yba3cnabKA6dgaDOdeHOTlUBmE=" { } "echo 'fixed text' > $out";
  nar-of-symlink = fixed "nar-of-symlink" "recursive" "sha256-y4xiyvKomXslPtBn1FbatS+OmBTXEMSz4h3GEMZ4x3Q=" { } "ln -s target $out";
  nar-wrong = mismatch (fixed "nar-wrong" "recursive" "sha256-${nobody}" { } tree);
  nar-wrong-md5 = mismatch (fixed "nar-wrong-md5" "recursive" "md5-AAAAAAAAAAAAAAAAAAAAAA==" { } tree);
  text-of-file = fixed "text-of-file" "text" "sha256-Cz+iFoPJQcOE/wXMogJHQtqgKunqm7DW/3l1VZSHCH8=" { } "echo 'fixed text' > $out";
  text-wrong = mismatch (fixed "text-wrong" "text" "sha256-${nobody}" { } "echo text > $out");
  git-of-tree = fixed "git-of-tree" "git" "sha1-axxIDopAlG/q4Z8Gy5WkykTv7GE=" { } tree;
  git-of-file = fixed "git-of-file" "git" "sha1-GzQtH/dgdAPE5TddJwk4I9rpaK0=" { } "echo 'fixed text' > $out";
  git-of-empty-folder = fixed "git-of-empty-folder" "git" "sha1-S4JdxkLLbrmgYOVL+NaSiPvuSQQ=" { } "mkdir $out";
  git-sha256 = fixed "git-sha256" "git" "sha256-w1+ut0WNqtjqZ+SvGUnX059BDwZaD7GXQvIsDuQahXI=" { } tree;
  git-wrong = mismatch (fixed "git-wrong" "git" "sha1-AAAAAAAAAAAAAAAAAAAAAAAAAAA=" { } tree);
  git-order = fixed "git-order" "git" "sha1-lPCyPVnLPEyjLX1L0RangqDn5f8=" { } "mkdir -p $out/a $out/a.d; : > $out/a/x; : > $out/a.d/x; : > $out/a0; : > $out/B";

  spelled-in-base32 = run "base32" { outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = "0zq8hya5axbrzzbb16zax4ma1nj28w1a5k05zy2c6hf9hcba4gqb"; } "echo 'fixed text' > $out";
  spelled-with-algorithm = run "with-algorithm" { outputHash = "sha256:${hashString "sha256" text}"; outputHashMode = "flat"; } "echo 'fixed text' > $out";
  default-mode-is-flat = run "default-mode" { outputHashAlgo = "sha256"; outputHash = hashString "sha256" text; } "echo 'fixed text' > $out";
  empty-hash = mismatch (run "empty-hash" { outputHashAlgo = "sha256"; outputHash = ""; } "echo 'fixed text' > $out");

  flat-folder = fails "illegal-output" [ ] (fixed "flat-folder" "flat" "sha256-${nobody}" { } "mkdir $out");
  flat-symlink = fails "illegal-output" [ ] (fixed "flat-symlink" "flat" "sha256-${nobody}" { } "ln -s x $out");
  flat-executable = fails "illegal-output" [ ] (fixed "flat-executable" "flat" "sha256-${nobody}" { } "echo > $out; chmod +x $out");
  text-folder = fails "illegal-output" [ ] (fixed "text-folder" "text" "sha256-${nobody}" { } "mkdir $out");
  not-made = fails "output-missing" [ "'out'" ] (fixed "not-made" "flat" "sha256-${nobody}" { } ":");
  fails-before = fails "builder-failed" [ ] (fixed "fails-before" "flat" "sha256-${nobody}" { } "exit 9");
  refers = fails "hash-mismatch" [ "${plain}" ] (fixed "refers" "recursive" "sha256-nZnftCFX6RkxwznQhp1JgZgDlB2+707t6QeSTGKJv5o=" { inherit plain; } "ln -s $plain $out");
  refers-as-text = fails "hash-mismatch" [ ] (fixed "refers-as-text" "text" "sha256-wiHdi9wT9F8lEy+JW0cVQk8sa21L6o9hOx6zGqAnmjA=" { inherit plain; } "echo $plain > $out");
  refers-flat = fails "" [ ] (fixed "refers-flat" "flat" "sha256-${nobody}" { inherit plain; } "echo $plain > $out");
  refers-to-itself = fails "hash-mismatch" [ ] (fixed "refers-to-itself" "recursive" "sha256-${nobody}" { } "ln -s $out $out");
  with-checks = fixed "with-checks" "flat" "sha256-Cz+iFoPJQcOE/wXMogJHQtqgKunqm7DW/3l1VZSHCH8=" { allowedReferences = [ ]; } "echo 'fixed text' > $out";
  as-input = run "as-input" { data = flat "as-input-data" "sha1"; } "cat $data > $out; echo $data >> $out";
  same-by-two-recipes = run "two-recipes" {
    one = flat "same" "sha256";
    two = run "same" { other = "recipe"; outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = hashString "sha256" text; } "echo fixed > $out; echo 'fixed text' > $out";
  } "echo $one $two > $out";

  # what only these builds see
  sees-environment = sees "sees-environment" { impureEnvVars = [ "NIXBK_ABSENT" "http_proxy" "no_proxy" "also" ]; also = "own"; } ''
    tr '\0' '\n' < /proc/$$/environ | grep -v ^no_proxy= | sed 's,/nix/store/[0-9a-z]*-,,' | sort > $out
  '';
  sees-proxies = sees "sees-proxies" { impureEnvVars = [ "http_proxy" "https_proxy" "ftp_proxy" "all_proxy" "no_proxy" ]; } ''
    echo "$http_proxy|$https_proxy|$ftp_proxy|$all_proxy|$no_proxy" > $out
  '';
  sees-no-proxies = sees "sees-no-proxies" { } "tr '\\0' '\\n' < /proc/$$/environ | grep -i proxy > $out || echo none > $out";
  sees-no-proxies-unfixed = run "sees-no-proxies" { impureEnvVars = [ "http_proxy" "all_proxy" ]; } "tr '\\0' '\\n' < /proc/$$/environ | grep -i proxy > $out || echo none > $out";
  # without what Nix takes from the machine: services
  sees-files = sees "sees-files" { } "ls /etc | grep -vx services > $out; cat /etc/passwd /etc/group >> $out";
  sees-name-services = sees "sees-name-services" { } "cat /etc/nsswitch.conf > $out; [ -s /etc/resolv.conf ] && echo resolv >> $out";
  sees-identity = sees "sees-identity" { } "id > $out; pwd >> $out; umask >> $out; hostname >> $out";
  sees-network = sees "sees-network" { } "grep -c : /proc/net/dev | { read n; [ $n -gt 1 ] && echo more > $out || echo one > $out; }";
}
