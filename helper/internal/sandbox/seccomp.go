package sandbox

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// table is one architecture a process of the machine can use.
type table struct {
	audit uint32
	// chmod lists calls whose mode is the argument given.
	chmod map[uint32]uint32
	// attributes lists the calls that read or set an extended attribute.
	attributes []uint32
}

const (
	auditX86     = 0x40000003
	auditX86_64  = 0xc000003e
	auditARM     = 0x40000028
	auditAARCH64 = 0xc00000b7

	// x32Bit marks calls of the x32 convention, which shares numbers and
	// architecture with x86-64.
	x32Bit = 0x40000000
)

// tables lists the calls Nix refuses its builders (setupSeccomp,
// src/libstore/linux/build/linux-derivation-builder.cc), and the *at forms of
// the attribute calls that newer kernels have: 463 and 464 everywhere. Listing
// and removing attributes is not refused.
var tables = map[string][]table{
	"amd64": {
		{auditX86_64, map[uint32]uint32{90: 1, 91: 1, 268: 2, 452: 2},
			[]uint32{188, 189, 190, 191, 192, 193, 463, 464}},
		{auditX86, map[uint32]uint32{15: 1, 94: 1, 306: 2, 452: 2},
			[]uint32{226, 227, 228, 229, 230, 231, 463, 464}},
	},
	"arm64": {
		{auditAARCH64, map[uint32]uint32{52: 1, 53: 2, 452: 2},
			[]uint32{5, 6, 7, 8, 9, 10, 463, 464}},
		{auditARM, map[uint32]uint32{15: 1, 94: 1, 333: 2, 452: 2},
			[]uint32{226, 227, 228, 229, 230, 231, 463, 464}},
	},
}

// Offsets in struct seccomp_data; arguments are 64 bits, little endian here.
const (
	dataNumber = 0
	dataArch   = 4
	dataArgs   = 16
)

// filter refuses set-id modes with EPERM and extended attributes with ENOTSUP
// and allows the rest.
func filter(tables []table) []unix.SockFilter {
	statement := func(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }
	load := func(offset uint32) unix.SockFilter {
		return statement(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, offset)
	}
	ret := func(value uint32) unix.SockFilter { return statement(unix.BPF_RET|unix.BPF_K, value) }
	// unless jumps over the next skip statements when the test fails.
	unless := func(test uint16, k uint32, skip int) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | test, Jf: uint8(skip), K: k}
	}
	var program []unix.SockFilter
	for _, t := range tables {
		body := []unix.SockFilter{load(dataNumber)}
		if t.audit == auditX86_64 {
			body = append(body, statement(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, ^uint32(x32Bit)))
		}
		for _, number := range t.attributes {
			body = append(body, unless(unix.BPF_JEQ, number, 1),
				ret(unix.SECCOMP_RET_ERRNO|uint32(unix.ENOTSUP)))
		}
		for _, number := range sortedKeys(t.chmod) {
			body = append(body, unless(unix.BPF_JEQ, number, 4),
				load(dataArgs+8*t.chmod[number]),
				unless(unix.BPF_JSET, unix.S_ISUID|unix.S_ISGID, 1),
				ret(unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM)),
				ret(unix.SECCOMP_RET_ALLOW))
		}
		body = append(body, ret(unix.SECCOMP_RET_ALLOW))
		program = append(program, load(dataArch), unless(unix.BPF_JEQ, t.audit, len(body)))
		program = append(program, body...)
	}
	return append(program, ret(unix.SECCOMP_RET_KILL_PROCESS))
}

// setFilter confines the calling thread and whatever it starts. Under
// emulation (qemu-user) there are no filters: what this one refuses is then
// undone when outputs are made canonical.
func setFilter() error {
	program := filter(tables[runtime.GOARCH])
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.Syscall6(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER,
		uintptr(unsafe.Pointer(&fprog)), 0, 0, 0)
	runtime.KeepAlive(program)
	if errno != 0 && errno != unix.EINVAL && errno != unix.ENOSYS {
		return os.NewSyscallError("seccomp", errno)
	}
	return nil
}
