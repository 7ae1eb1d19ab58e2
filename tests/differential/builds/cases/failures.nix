# How a build fails.
{ run, fails, refused, salt, lower, seed, ... }:
let
  failed = fails "builder-failed";
  # a program that does nothing but an illegal instruction
  trap = run "trap" { } ''
    { printf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\2\0\76\0\1\0\0\0\170\0\100\0\0\0\0\0\100\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
      printf '\0\0\0\0\100\0\70\0\1\0\0\0\0\0\0\0\1\0\0\0\5\0\0\0\0\0\0\0\0\0\0\0\0\0\100\0\0\0\0\0\0\0\100\0\0\0\0\0'
      printf '\172\0\0\0\0\0\0\0\172\0\0\0\0\0\0\0\0\20\0\0\0\0\0\0\17\13'; } > $out
    chmod +x $out
  '';
  bad = run "bad" { inherit salt; } "echo from bad; exit 3";
in
{
  status-1 = failed [ "exit code 1" ] (run "status-1" { } "exit 1");
  status-77 = failed [ "exit code 77" ] (run "status-77" { } "echo words; exit 77");
  status-255 = failed [ "exit code 255" ] (run "status-255" { } "exit 255");
  signal = failed [ "signal 4" ] (derivation { name = "signal-${salt}"; system = "x86_64-linux"; builder = trap; });
  signal-of-child = failed [ "exit code 132" ] (run "signal-of-child" { inherit trap; } "set +e; $trap; exit $?");
  outputs-made-before = failed [ "exit code 2" ] (run "outputs-made-before" { } "echo text > $out; exit 2");
  last-words = failed [ "exit code 1" "line 30" "to stderr" ] (run "last-words" { } "for n in $(seq 30); do echo line $n; done; echo to stderr >&2; exit 1");
  words-without-end = failed [ "no newline" ] (run "words-without-end" { } "printf 'no newline'; exit 1");
  odd-words = failed [ "after" ] (run "odd-words" { } "printf 'before \\377\\033[31m\\r\\n\\0after\\n'; exit 1");
  says-what-the-helper-says = failed [ "exit code 1" ] (run "says-what" { } "echo 'nixbk: hash-mismatch: not at all' >&2; exit 1");
  no-builder = failed [ "/nix/store/nothing" "No such file" ] (derivation { name = "no-builder-${salt}"; system = "x86_64-linux"; builder = "/nix/store/nothing"; });
  builder-not-executable = failed [ "Permission denied" ] (derivation { name = "not-executable-${salt}"; system = "x86_64-linux"; builder = lower; });
  builder-is-folder = failed [ "Permission denied" ] (derivation { name = "is-folder-${salt}"; system = "x86_64-linux"; builder = seed; });
  builder-without-format = failed [ "Exec format error" ] (derivation { name = "without-format-${salt}"; system = "x86_64-linux"; builder = run "text" { } "echo text > $out; chmod +x $out"; });
  builder-without-interpreter = failed [ "No such file" ] (derivation { name = "without-interpreter-${salt}"; system = "x86_64-linux"; builder = run "script" { } "echo '#!/nowhere' > $out; chmod +x $out"; });
  builder-is-relative = failed [ "bin/sh" ] (derivation { name = "is-relative-${salt}"; system = "x86_64-linux"; builder = "bin/sh"; });
  unknown-builtin = refused "builtin:nonesuch" (failed [ "nonesuch" ] (derivation { name = "unknown-builtin-${salt}"; system = "builtin"; builder = "builtin:nonesuch"; }));
  input-fails = fails "dependency-failed" [ "bad" ] (run "input-fails" { inherit bad; } "echo > $out");
  input-of-input-fails = fails "dependency-failed" [ ] (run "input-of-input-fails" { middle = run "middle" { inherit bad; } "echo > $out"; } "echo > $out");
  beside-a-failure = run "beside-a-failure" { inherit lower; } "sleep 1; cat $lower > $out";
  too-many-open-files = failed [ "exit code 1" ] (run "too-many" { } "ulimit -n 10; for n in $(seq 20); do eval \"exec {fd}< /dev/null\"; done");
  disk-full = failed [ "No space left" ] (run "disk-full" { } "echo x > /dev/full");
}
