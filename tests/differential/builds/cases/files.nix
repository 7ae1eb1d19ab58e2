# What lies in an output: odd types, modes, names and sizes; and builders that try to trick who reads it.
{ run, fails, salt, lower, ... }:
let
  illegal = fails "illegal-output";
in
{
  modes = run "modes" { } ''
    mkdir $out; cd $out
    for m in 000 001 010 100 111 200 400 444 600 644 666 700 711 755 777; do echo $m > $m; chmod $m $m; done
    for m in 100 111 300 500 555 700 711 755 777; do mkdir d$m; : > d$m/x; done
    for m in 100 111 300 500 555 700 711 755 777; do chmod $m d$m; done
  '';
  unreadable-folder = run "unreadable-folder" { } "mkdir -p $out/a/b; echo x > $out/a/b/c; chmod 000 $out/a/b/c $out/a/b $out/a";
  unreadable-root = run "unreadable-root" { } "mkdir $out; echo x > $out/a; chmod 0 $out";
  unreadable-file = run "unreadable-file" { } "echo x > $out; chmod 0 $out";
  read-only-tree = run "read-only-tree" { } "mkdir -p $out/a/b; echo x > $out/a/b/c; chmod -R a-w $out";
  times = run "times" { } "mkdir $out; touch -d '2001-01-01' $out/old; touch -d '2037-12-31' $out/new; touch -d '1960-01-01' $out";
  then-used = run "then-used" {
    before = run "before" { } "mkdir $out; echo x > $out/a; chmod 600 $out/a; touch -d '2001-01-01' $out/a; echo '#!/bin/sh' > $out/b; chmod 700 $out/b; chmod 700 $out";
  } "stat -c '%a %Y %F %h' $before $before/* > $out";

  names = run "names" { } ''
    mkdir $out; cd $out
    for n in 'a b' '*' '?' '\' '"' "'" '-n' '...' '..a' '.a' '~' '#' 'é' '日本' ' ' '$x' 'a=b' ':' 'con' 'a~nix~case~hack~1'; do echo "$n" > "./$n"; done
    printf x > $'new\nline'; printf x > $'tab\t'; printf x > $'\x01\x7f'; printf x > $'\xff\xfe'; printf x > $'\xc3'; printf x > $'\xed\xa0\x80'
    mkdir A a; : > A/x; : > a/x; : > B; : > b
  '';
  long-names = run "long-names" { } "mkdir $out; cd $out; n=$(head -c 255 /dev/zero | tr '\\0' n); : > $n; mkdir d; ln -s $(head -c 4000 /dev/zero | tr '\\0' t) d/l";
  order-of-names = run "order-of-names" { } "mkdir $out; cd $out; for n in a a.b a-b a0 ab A aa a_ $'a\\xff' $'a\\x01'; do mkdir $n; : > $n/x; done";
  # Nix writes no archive of more than 64 folders in each other
  depth-at-limit = run "depth-at-limit" { } "mkdir $out; cd $out; for n in $(seq 62); do mkdir d; cd d; done; : > x";
  depth-above-limit = illegal [ "maximum" "64" ] (run "depth-above-limit" { } "mkdir $out; cd $out; for n in $(seq 63); do mkdir d; cd d; done; : > x");
  targets = run "targets" { } ''
    mkdir $out; cd $out
    for t in x . .. / /nonexistent ../../../../etc/passwd 'a b' é $'\xff' ./l //x 'a//b' "$out" ; do ln -s "$t" "l$((n=''${n:-0}+1))"; done
    ln -s loop loop
  '';
  hard-links = run "hard-links" { } "mkdir -p $out/d; echo text > $out/a; ln $out/a $out/b; ln $out/a $out/d/c; chmod +x $out/b";
  hard-links-over-outputs = illegal [ ] (run "hard-links-over-outputs" { outputs = [ "out" "dev" ]; } "echo text > $out; ln $out $dev; ln $out $out.kept; chmod +x $dev");
  hard-link-of-symlink = run "hard-link-of-symlink" { } "mkdir $out; ln -s x $out/a; ln $out/a $out/b 2> /dev/null || cp -P $out/a $out/b";
  hard-link-of-input = run "hard-link-of-input" { inherit lower; } "ln $lower $out 2> /dev/null || echo refused > $out";
  hard-link-of-system-file = run "hard-link-of-system-file" { } "ln /etc/passwd $out 2> /dev/null || ln /bin/sh $out 2> /dev/null || echo refused > $out";
  open-behind-outputs = run "open-behind-outputs" { } "echo text > $out; exec 3>> $out; mv $out $out.x; mv $out.x $out; echo more >&3";

  empty-folders = run "empty-folders" { } "mkdir -p $out/a/b $out/c";
  sparse = run "sparse" { } "truncate -s 300M $out; echo end >> $out";
  sparse-in-the-middle = run "sparse-middle" { } "mkdir $out; echo begin > $out/x; truncate -s 10M $out/x; echo middle >> $out/x; truncate -s 20M $out/x; truncate -s 1 $out/y; truncate -s 7 $out/z";
  more-than-four-gigabytes = run "large" { } "truncate -s 4297000000 $out; echo $out >> $out";
  paddings = run "paddings" { } "mkdir $out; for n in $(seq 0 17) 4095 4096 4097 65535 65536 65537; do head -c $n /dev/zero | tr '\\0' x > $out/$n; done";
  hundred-thousand-files = run "wide" { } ''
    mkdir $out; for d in $(seq 100); do mkdir $out/$d; cd $out/$d; for f in $(seq 1000); do : > $f; done; done; echo last > $out/100/last
  '';
  one-wide-folder = run "one-wide-folder" { } "mkdir $out; cd $out; for f in $(seq 5000); do ln -s $f l$f; done";

  fifo = illegal [ ] (run "fifo" { } "mkfifo $out");
  fifo-inside = illegal [ "pipe" ] (run "fifo-inside" { } "mkdir $out; mkfifo $out/pipe");
  writable-by-group = illegal [ "'out'" ] (run "writable-by-group" { } "echo > $out; chmod 664 $out");
  writable-by-all = illegal [ "'out'" ] (run "writable-by-all" { } "mkdir $out; chmod 777 $out");
  writable-inside = run "writable-inside" { } "mkdir $out; echo > $out/x; chmod 666 $out/x; mkdir $out/d; chmod 777 $out/d";

  left-running = run "left-running" { } "echo text > $out; sleep 1000 & sleep 1000 > /dev/null 2>&1 < /dev/null & setsid sleep 1000 > /dev/null 2>&1 & :";
  left-writing = run "left-writing" { } ''
    echo text > $out
    parent=$$
    setsid bash -c "while kill -0 $parent 2> /dev/null; do sleep 0.01; done; echo late >> $out" > /dev/null 2>&1 &
  '';
  left-changing-types = run "left-changing-types" { } ''
    mkdir -p $out/a; echo text > $out/a/b
    parent=$$
    for i in 1 2 3; do
      (trap "" TERM HUP INT
       while kill -0 $parent 2> /dev/null; do :; done
       while :; do mv $out/a $out/c; ln -s /etc $out/a; rm $out/a; mv $out/c $out/a; done) > /dev/null 2>&1 &
    done
  '';
  left-stopped = run "left-stopped" { } "echo text > $out; (kill -STOP $BASHPID; echo late >> $out) & sleep 0.1";
  left-forking = run "left-forking" { } "echo text > $out; f() { sleep 0.05; f & }; f > /dev/null 2>&1 & sleep 0.2";
  deleted-and-made-again = run "made-again" { } "mkdir $out; rmdir $out; echo text > $out; rm $out; ln -s x $out; rm $out; mkdir $out";
  swapped-with-link-to-input = run "swapped" { inherit lower; } "mkdir $out; rm -r $out; ln -s $lower $out";
  link-in-place-of-sibling = run "link-in-place" { outputs = [ "out" "dev" ]; } "mkdir $out; echo x > $out/x; ln -s $out $dev";
  link-out-of-the-store = run "link-out" { } "mkdir /build/tree; echo x > /build/tree/x; ln -s /build/tree $out";
}
