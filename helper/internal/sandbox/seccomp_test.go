package sandbox

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// run is a machine for the few statements that filter uses.
func run(t *testing.T, program []unix.SockFilter, data []byte) uint32 {
	t.Helper()
	var a uint32
	for pc := 0; ; pc++ {
		s := program[pc]
		switch s.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = binary.LittleEndian.Uint32(data[s.K:])
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= s.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			if a == s.K {
				pc += int(s.Jt)
			} else {
				pc += int(s.Jf)
			}
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			if a&s.K != 0 {
				pc += int(s.Jt)
			} else {
				pc += int(s.Jf)
			}
		case unix.BPF_RET | unix.BPF_K:
			return s.K
		default:
			t.Fatalf("statement %d is none of ours: %#x", pc, s.Code)
		}
	}
}

func call(arch, number uint32, args ...uint64) []byte {
	data := binary.LittleEndian.AppendUint32(nil, number)
	data = binary.LittleEndian.AppendUint32(data, arch)
	data = binary.LittleEndian.AppendUint64(data, 0)
	for i := range 6 {
		arg := uint64(0)
		if i < len(args) {
			arg = args[i]
		}
		data = binary.LittleEndian.AppendUint64(data, arg)
	}
	return data
}

// TestFilter asks for every call that is refused, in every way to make it.
func TestFilter(t *testing.T) {
	const (
		allow = unix.SECCOMP_RET_ALLOW
		kill  = unix.SECCOMP_RET_KILL_PROCESS
		eperm = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
		enots = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOTSUP)
	)
	cases := map[string]struct {
		machine string
		data    []byte
		want    uint32
	}{
		"chmod 0755":               {"amd64", call(auditX86_64, 90, 0, 0o755), allow},
		"chmod u+s":                {"amd64", call(auditX86_64, 90, 0, 0o4755), eperm},
		"chmod g+s":                {"amd64", call(auditX86_64, 90, 0, 0o2755), eperm},
		"chmod sticky":             {"amd64", call(auditX86_64, 90, 0, 0o1777), allow},
		"fchmod u+s":               {"amd64", call(auditX86_64, 91, 3, 0o4755), eperm},
		"fchmodat u+s":             {"amd64", call(auditX86_64, 268, 3, 0, 0o4755), eperm},
		"fchmodat, path like mode": {"amd64", call(auditX86_64, 268, 3, 0o4000, 0o755), allow},
		"fchmodat2 g+s":            {"amd64", call(auditX86_64, 452, 3, 0, 0o2000), eperm},
		"x32 chmod u+s":            {"amd64", call(auditX86_64, 90|x32Bit, 0, 0o4755), eperm},
		"i386 chmod u+s":           {"amd64", call(auditX86, 15, 0, 0o4755), eperm},
		"i386 fchmodat u+s":        {"amd64", call(auditX86, 306, 3, 0, 0o4755), eperm},
		"i386 number 90":           {"amd64", call(auditX86, 90, 0, 0o4755), allow},
		"setxattr":                 {"amd64", call(auditX86_64, 188), enots},
		"fgetxattr":                {"amd64", call(auditX86_64, 193), enots},
		"flistxattr":               {"amd64", call(auditX86_64, 196), allow},
		"removexattr":              {"amd64", call(auditX86_64, 197), allow},
		"setxattrat":               {"amd64", call(auditX86_64, 463), enots},
		"i386 fsetxattr":           {"amd64", call(auditX86, 228), enots},
		"read":                     {"amd64", call(auditX86_64, 0, 0o4755, 0o4755, 0o4755), allow},
		"another architecture":     {"amd64", call(auditAARCH64, 0), kill},
		"arm64 fchmod u+s":         {"arm64", call(auditAARCH64, 52, 3, 0o4755), eperm},
		"arm64 fchmodat u+s":       {"arm64", call(auditAARCH64, 53, 3, 0, 0o4755), eperm},
		"arm64 setxattr":           {"arm64", call(auditAARCH64, 5), enots},
		"arm64 number 90":          {"arm64", call(auditAARCH64, 90, 0, 0o4755), allow},
		"arm chmod u+s":            {"arm64", call(auditARM, 15, 0, 0o4755), eperm},
		"arm fchmodat u+s":         {"arm64", call(auditARM, 333, 3, 0, 0o4755), eperm},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := run(t, filter(tables[c.machine]), c.data); got != c.want {
				t.Errorf("expected %#x, got %#x", c.want, got)
			}
		})
	}
}
