// Package tree handles trees of files made by somebody hostile: it goes from
// directory descriptor to directory descriptor by single names and follows no
// symbolic link.
package tree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Entry is one name in a directory and the type the directory claims for it.
type Entry struct {
	Name string
	Type uint8
}

// List reads a directory from its start; names are sorted by bytes, as
// archives have them.
func List(fd int) ([]Entry, error) {
	if _, err := unix.Seek(fd, 0, 0); err != nil {
		return nil, os.NewSyscallError("lseek", err)
	}
	var entries []Entry
	buf := make([]byte, 32<<10)
	for {
		n, err := ignoringEINTR(func() (int, error) { return unix.Getdents(fd, buf) })
		if err != nil {
			return nil, os.NewSyscallError("getdents64", err)
		}
		if n == 0 {
			break
		}
		for rest := buf[:n]; len(rest) > 0; {
			const header = 19 // inode, offset: 8 bytes each; length: 2; type: 1
			length := binary.NativeEndian.Uint16(rest[16:])
			name, _, _ := bytes.Cut(rest[header:length], []byte{0})
			if text := string(name); text != "." && text != ".." {
				entries = append(entries, Entry{text, rest[18]})
			}
			rest = rest[length:]
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

// OpenDir opens a directory below another one, or in the working directory
// for unix.AT_FDCWD, but never through a link.
func OpenDir(at int, name string) (int, error) {
	return openAt(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}

// OpenFile opens what should be a regular file for reading; it never waits,
// and never follows a link.
func OpenFile(at int, name string) (int, error) {
	return openAt(at, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
}

func openAt(at int, name string, flags int, mode uint32) (int, error) {
	fd, err := ignoringEINTR(func() (int, error) {
		return unix.Openat(at, name, flags|unix.O_CLOEXEC, mode)
	})
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return fd, nil
}

func ignoringEINTR(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}

// StoreTime is the modification time of everything in a store, in seconds.
const StoreTime = 1

var storeTimes = [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: StoreTime}}

// setTime gives what fd is open on the store's time.
func setTime(fd int) error {
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0,
		uintptr(unsafe.Pointer(&storeTimes)), 0, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("utimensat", errno)
	}
	return nil
}

// setTimeAt gives the entry itself, be it a link, the store's time.
func setTimeAt(at int, name string) error {
	times := storeTimes
	err := unix.UtimesNanoAt(at, name, times[:], unix.AT_SYMLINK_NOFOLLOW)
	return os.NewSyscallError("utimensat", err)
}

// ReadLink is the target of a link, however long.
func ReadLink(at int, name string) (string, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		n, err := unix.Readlinkat(at, name, buf)
		if err != nil {
			return "", &os.PathError{Op: "readlink", Path: name, Err: err}
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}

// IsMount says whether an open directory is the top of a mount, as far as the
// kernel tells.
func IsMount(fd int) bool {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, 0, &st)
	return err == nil && st.Attributes&st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// Empty deletes all that is in a directory.
func Empty(fd int) error {
	entries, err := List(fd)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := Remove(fd, entry.Name); err != nil {
			return err
		}
	}
	return nil
}

// Remove deletes the entry and all below it, however deep: folders are moved
// up beside the entry before they are emptied, so that one descriptor at a
// time is enough.
func Remove(at int, name string) error {
	pending := []string{name}
	for number := 0; len(pending) > 0; {
		next := pending[len(pending)-1]
		emptied, err := removeOne(at, next)
		if err != nil {
			return err
		}
		if emptied == nil {
			pending = pending[:len(pending)-1]
			continue
		}
		for _, inner := range emptied.folders {
			moved := ""
			err := error(unix.EEXIST)
			for occupied(err) { // by something that is to go, or was put in our way
				number++
				moved = fmt.Sprintf(".nixbk-removed-%d", number)
				err = unix.Renameat(emptied.fd, inner, at, moved)
			}
			if err != nil {
				_ = unix.Close(emptied.fd)
				return &os.PathError{Op: "rename", Path: inner, Err: err}
			}
			pending = append(pending, moved)
		}
		_ = unix.Close(emptied.fd)
	}
	return nil
}

// occupied says whether a name is taken that a folder cannot replace.
func occupied(err error) bool {
	return errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.ENOTDIR)
}

// leftover is an open folder that holds nothing but folders which are not empty.
type leftover struct {
	fd      int
	folders []string
}

// removeOne deletes the entry, or of a folder all but what is returned.
func removeOne(at int, name string) (*leftover, error) {
	err := unlink(at, name)
	if err == nil || !errors.Is(err, unix.ENOTEMPTY) {
		return nil, err
	}
	fd, err := OpenDir(at, name)
	if err != nil {
		return nil, err
	}
	left := &leftover{fd: fd}
	entries, err := List(fd)
	for i := 0; err == nil && i < len(entries); i++ {
		err = unlink(fd, entries[i].Name)
		if errors.Is(err, unix.ENOTEMPTY) {
			left.folders = append(left.folders, entries[i].Name)
			err = nil
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return left, nil
}

// unlink deletes anything but a folder with something in it.
func unlink(at int, name string) error {
	err := unix.Unlinkat(at, name, 0)
	if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EPERM) {
		err = unix.Unlinkat(at, name, unix.AT_REMOVEDIR)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "remove", Path: name, Err: err}
	}
	return nil
}
