package sandbox

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// scopeSockets keeps the calling thread from abstract sockets that others
// listen on: builds that share a network must not meet there. Kernels and
// containers that do not offer it are as they were; Nix does the same
// (setupLandlock, src/libstore/linux/build/linux-derivation-builder.cc).
// It returns whether it is done.
func scopeSockets() bool {
	const firstWithScopes = 6
	version, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0,
		unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 || version < firstWithScopes {
		return false
	}
	attr := struct{ fs, net, scoped uint64 }{scoped: unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET}
	fd, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET,
		uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return false
	}
	_, _, errno = unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0)
	_ = unix.Close(int(fd))
	return errno == 0
}
