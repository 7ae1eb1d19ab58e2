package tree

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// CopyFile makes a file of the store from the regular file at path.
func CopyFile(at int, name string, from int, source string, executable bool) error {
	in, err := openAt(from, source, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(in)
	var st unix.Stat_t
	if err := unix.Fstat(in, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return unsupported(source)
	}
	out, err := Create(at, name)
	if err != nil {
		return err
	}
	if err := copyBytes(out, in); err != nil {
		out.Discard()
		return err
	}
	return out.Finish(executable)
}

// copyBytes lets the kernel copy, or share the blocks, where it can.
func copyBytes(out *File, in int) error {
	const most = 1 << 30
	for copied := false; ; copied = true {
		n, err := unix.CopyFileRange(in, nil, out.fd, nil, most, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && n == 0 && copied {
			return nil
		}
		if err != nil || n == 0 {
			break // not between these file systems, or an empty file, or one of /proc
		}
	}
	buf := make([]byte, 1<<20)
	for {
		n, err := ignoringEINTR(func() (int, error) { return unix.Read(in, buf) })
		if err != nil {
			return os.NewSyscallError("read", err)
		}
		if n == 0 {
			return nil
		}
		if _, err := out.Write(buf[:n]); err != nil {
			return err
		}
	}
}
