#!/bin/sh
# Make a folder with a whole Debian system the root of this mount namespace,
# then become a command of it.
#
#     unshare --mount --pid --fork inside.sh ro|rw TREE SOURCE:TARGET... -- COMMAND...
#
# It is to be run in fresh mount and PID namespaces, so that every mount made
# here goes away with the last process. The real root is left by pivot_root and
# not by chroot, because the kernel refuses user namespaces to a process in a
# chroot. With `ro` the tree itself is read-only: what engines write goes to the
# bound folders, so several may share a tree.
set -eu

mode=$1 tree=$2
shift 2
mount --bind "$tree" "$tree"
cd "$tree"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
for file in etc/resolv.conf etc/hosts; do
  mount --bind "/$file" "$file"
done
while [ "$1" != -- ]; do
  mkdir -p "./${1#*:}"
  mount --bind "${1%%:*}" "./${1#*:}"
  shift
done
shift
if [ "$mode" = ro ]; then
  mount -o remount,bind,ro .
fi
mkdir run/.old
# not `cd -`: the new root is where this process already stands
pivot_root . run/.old
umount -l /run/.old
rmdir /run/.old
cd /
exec "$@"
