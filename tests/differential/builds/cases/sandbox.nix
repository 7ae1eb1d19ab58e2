# What a builder sees of the machine: it writes that down, and the NAR hashes are compared.
# Left out is what helper/README.md says differs, each case says what it leaves.
common@{ lower, seed, ... }:
let
  # the log says it, too, for who looks for a difference
  run = name: attributes: script: common.run name attributes "${script}\ncat $out >&2 || true";
in
{
  identity = run "identity" { } "id > $out; grep -E '^(Uid|Gid|Groups):' /proc/self/status >> $out";
  user-database = run "user-database" { } "cat /etc/passwd /etc/group > $out";
  host-files = run "host-files" { } "cat /etc/hosts > $out; for f in /etc/*; do stat -c '%n %F %s' $f; done >> $out";
  hostname = run "hostname" { } "hostname > $out; cat /proc/sys/kernel/domainname >> $out; uname -snm >> $out";
  folder = run "folder" { } "pwd > $out; stat -c '%a %u %g %F' . >> $out; ls -A >> $out; echo x > y; cat y >> $out; readlink /proc/self/cwd >> $out";
  # without .nixbk and sys
  root = run "root" { } "ls -A / | grep -vxE '.nixbk|sys' > $out";
  root-modes = run "root-modes" { } "stat -c '%n %a %F' / /bin /build /dev /etc /nix /nix/store /proc /tmp > $out";
  root-is-closed = run "root-is-closed" { } "{ mkdir /x || echo refused; : > /etc/x || echo refused; : > /bin/x || echo refused; } > $out 2> /dev/null";
  temporary = run "temporary" { } "stat -c '%a %F' /tmp > $out; ls -A /tmp >> $out; echo x > /tmp/y; cat /tmp/y >> $out; mktemp > /dev/null";
  shell = run "shell" { } "ls -A /bin > $out; sha256sum < /bin/sh >> $out; /bin/sh -c 'echo $0' >> $out; ls /usr /lib 2>> $out || true";
  shell-is-read-only = run "shell-is-read-only" { } "{ : >> /bin/sh || echo refused; rm -f /bin/sh || echo refused; } > $out 2> /dev/null";
  store = run "store" { inherit lower; } "ls -A /nix/store > $out; ls -A /nix >> $out";
  store-is-read-only = run "store-is-read-only" { inherit lower; } ''
    { : >> $lower || echo refused; chmod 777 $lower || echo refused; rm -f $lower || echo refused
      : > $seed/x || echo refused; ln $lower $out.x || echo refused; mv $lower /build/x || echo refused; } > $out 2> /dev/null
    [ -e $lower ]
  '';
  input-metadata = run "input-metadata" { inherit lower; } "stat -c '%n %a %F %h %Y' $lower $seed $seed/bin $seed/bin/bash > $out";

  # without mqueue, buildkitd's otel-grpc.sock, and kvm, which is there where the machine has it
  devices = run "devices" { } ''
    cd /dev; for f in $(ls -A | grep -vxE 'mqueue|otel-grpc.sock|kvm'); do
      case $f in shm|pts) stat -c '%n %F %a' $f ;; *) stat -c '%n %F %t %T' $f; readlink $f || true ;; esac
    done > $out
  '';
  device-modes = run "device-modes" { } "cd /dev; stat -c '%n %a' null zero full random urandom tty ptmx > $out 2>&1";
  devices-work = run "devices-work" { } ''
    echo x > /dev/null; head -c 5 /dev/zero | xxd > $out; head -c 9 /dev/urandom | wc -c >> $out
    { echo x > /dev/full; } 2>> $out || echo full >> $out
    echo x > /dev/shm/y; cat /dev/shm/y >> $out; echo in | cat /dev/stdin >> $out; cat /dev/fd/3 3<<< here >> $out
    : 3<> /dev/ptmx && echo ptmx >> $out
    { : < /dev/tty; } 2>> $out || echo no tty >> $out
    { : < /dev/kmsg; } 2>> $out || echo no kmsg >> $out
  '';
  shared-memory = run "shared-memory" { } "stat -c '%a %F' /dev/shm > $out; stat -f -c '%T' /dev/shm >> $out";
  special-files-refused = run "special-files-refused" { } "mknod n c 1 3 2> $out || echo refused >> $out; mknod b b 7 0 2>> $out || echo refused >> $out; mkfifo f; stat -c %F f >> $out";

  # without CapBnd
  rights = run "rights" { } "grep -E '^(CapInh|CapPrm|CapEff|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status > $out";
  rights-refused = run "rights-refused" { } ''
    { mount -t tmpfs none /tmp || echo no mount; chown 0:0 /build || echo no chown; chroot / true || echo no chroot
      hostname other || echo no hostname; renice -n -5 $$ || echo no renice; } > $out 2> /dev/null
  '';
  set-id-refused = run "set-id-refused" { } ''
    mkdir d; : > f
    for m in 4755 2755 6755 u+s g+s; do chmod $m f 2>> $out && echo "$m f" >> $out; chmod $m d 2>> $out && echo "$m d" >> $out; done || true
    stat -c %a f d >> $out
    install -m 4755 f g 2>> $out || true
    [ ! -e g ] || stat -c %a g >> $out
  '';
  sticky-allowed = run "sticky-allowed" { } "mkdir $out $out/d; chmod 1777 $out/d; stat -c %a $out/d > $out/mode";
  umask = run "umask" { } "umask > $out; grep ^Umask /proc/self/status >> $out; : > f; mkdir d; stat -c %a f d >> $out";
  limits = run "limits" { } "ulimit -Hc > $out; ulimit -Sc >> $out; ulimit -Ss >> $out; ulimit -Sf >> $out; ulimit -St >> $out; ulimit -Sv >> $out";
  # make leaves the two signals of the C library's own, 32 and 33, ignored for real Nix
  signals = run "signals" { } "grep -E '^Sig(Blk|Ign|Cgt):' /proc/self/status | sed '/^SigIgn:/s/[01]8\\(.......\\)$/00\\1/' > $out";
  # without the numbers of processes: the builder is not process 1
  session = run "session" { } ''
    read -r pid name state parent group session tty rest < /proc/$$/stat
    echo "$((pid - group)) $((pid - session)) $tty" > $out
  '';
  standard-input = run "standard-input" { } "readlink /proc/$$/fd/0 > $out; cat >> $out; echo end >> $out";
  open-files = run "open-files" { } "ls /proc/$$/fd > $out";
  standard-output = run "standard-output" { } "[ -t 1 ] && echo out is a terminal > $out; [ -t 2 ] && echo err is a terminal >> $out; [ -t 0 ] || echo in is none >> $out; readlink /proc/$$/fd/1 | tr -d 0-9 >> $out";
  terminal-settings = run "terminal-settings" { } "stty -a <&2 > $out";
  process-list = run "process-list" { } "ls /proc | grep -c '^[0-9]' | { read n; [ $n -le 8 ] && echo few; } > $out";
  proc-is-own = run "proc-is-own" { } "[ -d /proc/self/fd ] && ls /proc/sys | head -3 > $out; stat -f -c %T /proc >> $out";
  threads = run "threads" { } "grep ^Threads /proc/self/status > $out";

  no-network = run "no-network" { } "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' > $out; ip addr show lo | grep -o 'inet6* [^ ]*' >> $out; grep -c . /proc/net/route >> $out";
  loopback-works = run "loopback-works" { } ''
    echo hello | nc -l -p 4321 > /dev/null & sleep 0.5
    nc -w 2 127.0.0.1 4321 < /dev/null > $out; cat $out | grep hello
  '';
  no-names = run "no-names" { } "{ nslookup example.org || echo none; } > $out 2> /dev/null; wget -q -O - http://192.0.2.1/ 2> /dev/null || echo none >> $out; ping -c 1 -W 1 localhost > /dev/null 2>&1 && echo ping >> $out || echo no ping >> $out";

  system-i686 = run "system-i686" { system = "i686-linux"; } "uname -m > $out; cat /proc/$$/environ >> $out";
  system-x86-64 = run "system-x86-64" { } "uname -m > $out";
  time-is-now = run "time-is-now" { } "[ $(date +%s) -gt 1700000000 ]; date +%Z > $out";
}
