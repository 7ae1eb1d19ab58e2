package tree

import (
	"os"

	"golang.org/x/sys/unix"
)

// Symlink makes a link with the store's time.
func Symlink(at int, name, target string) error {
	if err := unix.Symlinkat(target, at, name); err != nil {
		return &os.PathError{Op: "symlink", Path: name, Err: err}
	}
	return setTimeAt(at, name)
}

// ResetTime gives the directory at path the store's time.
func ResetTime(path string) error {
	return setTimeAt(unix.AT_FDCWD, path)
}

// File is a new regular file of the store.
type File struct{ fd int }

// Create makes a file that was not there.
func Create(at int, name string) (*File, error) {
	fd, err := openAt(at, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	return &File{fd}, nil
}

// Write writes all of data.
func (f *File) Write(data []byte) (int, error) {
	total := len(data)
	for len(data) > 0 {
		n, err := ignoringEINTR(func() (int, error) { return unix.Write(f.fd, data) })
		if err != nil {
			return total - len(data), os.NewSyscallError("write", err)
		}
		data = data[n:]
	}
	return total, nil
}

// Finish gives the file its mode and the store's time and closes it.
func (f *File) Finish(executable bool) error {
	defer unix.Close(f.fd)
	mode := uint32(0o444)
	if executable {
		mode = 0o555
	}
	if err := unix.Fchmod(f.fd, mode); err != nil {
		return os.NewSyscallError("fchmod", err)
	}
	return setTime(f.fd)
}

// Discard closes the file after an error.
func (f *File) Discard() { _ = unix.Close(f.fd) }

// MakeDir makes a directory that was not there and opens it.
func MakeDir(at int, name string) (int, error) {
	if err := unix.Mkdirat(at, name, 0o700); err != nil {
		return -1, &os.PathError{Op: "mkdir", Path: name, Err: err}
	}
	return OpenDir(at, name)
}

// FinishDir gives a directory its mode and the store's time and closes it.
func FinishDir(fd int) error {
	defer unix.Close(fd)
	if err := unix.Fchmod(fd, 0o555); err != nil {
		return os.NewSyscallError("fchmod", err)
	}
	return setTime(fd)
}

// WriteFile makes a file with content, mode 0644 and the store's time, in
// place of the one that may be there.
func WriteFile(dir, name string, content []byte) error {
	at, err := OpenDir(unix.AT_FDCWD, dir)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	if err := Remove(at, name); err != nil {
		return err
	}
	file, err := Create(at, name)
	if err != nil {
		return err
	}
	if _, err := file.Write(content); err != nil {
		file.Discard()
		return err
	}
	if err := unix.Fchmod(file.fd, 0o644); err != nil {
		file.Discard()
		return os.NewSyscallError("fchmod", err)
	}
	if err := setTime(file.fd); err != nil {
		file.Discard()
		return err
	}
	if err := unix.Close(file.fd); err != nil {
		return os.NewSyscallError("close", err)
	}
	return setTime(at)
}
