// Package keep archives what a build left in its folder, for whoever wants to
// see why it failed.
package keep

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"nixbk/helper/internal/tree"
)

// Folder writes a tar archive of the folder at dir to the file target. All in
// it belongs to root and keeps its time; what is no file, folder, link or
// pipe is left out.
func Folder(dir, target string) error {
	file, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	a := &archive{out: tar.NewWriter(file), linked: map[inode]string{}}
	fd, err := tree.OpenDir(unix.AT_FDCWD, dir)
	if err != nil {
		return errors.Join(err, file.Close())
	}
	err = a.folder(fd, filepath.Base(dir), true)
	return errors.Join(err, unix.Close(fd), a.out.Close(), file.Close())
}

type inode struct{ device, number uint64 }

type archive struct {
	out    *tar.Writer
	linked map[inode]string
}

func header(kind byte, name string, st *unix.Stat_t) *tar.Header {
	return &tar.Header{
		Typeflag: kind, Name: name, Mode: int64(st.Mode & 0o777), Format: tar.FormatPAX,
		ModTime: time.Unix(st.Mtim.Unix()).Truncate(time.Second),
	}
}

func (a *archive) folder(fd int, name string, top bool) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	h := header(tar.TypeDir, name+"/", &st)
	if top {
		h.Mode = 0o755 // as Nix opens it to its user
	}
	if err := a.out.WriteHeader(h); err != nil {
		return err
	}
	entries, err := tree.List(fd)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := a.entry(fd, entry.Name, path.Join(name, entry.Name)); err != nil {
			return err
		}
	}
	return nil
}

func (a *archive) entry(at int, base, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(at, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "stat", Path: name, Err: err}
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		fd, err := tree.OpenDir(at, base)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return a.folder(fd, name, false)
	case unix.S_IFLNK:
		target, err := tree.ReadLink(at, base)
		if err != nil {
			return err
		}
		h := header(tar.TypeSymlink, name, &st)
		h.Linkname = target
		return a.out.WriteHeader(h)
	case unix.S_IFIFO:
		return a.out.WriteHeader(header(tar.TypeFifo, name, &st))
	case unix.S_IFREG:
		return a.regular(at, base, name, &st)
	}
	return nil
}

func (a *archive) regular(at int, base, name string, st *unix.Stat_t) error {
	this := inode{st.Dev, st.Ino}
	if first, found := a.linked[this]; found {
		h := header(tar.TypeLink, name, st)
		h.Linkname = first
		return a.out.WriteHeader(h)
	}
	if st.Nlink > 1 {
		a.linked[this] = name
	}
	fd, err := tree.OpenFile(at, base)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	h := header(tar.TypeReg, name, st)
	h.Size = st.Size
	if err := a.out.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(a.out, io.LimitReader(file, st.Size))
	if err == nil && n != st.Size {
		err = fmt.Errorf("file '%s' became shorter while it was read", name)
	}
	return err
}
