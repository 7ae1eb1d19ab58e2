package pack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"nixbk/helper/internal/nar"
	"nixbk/helper/internal/stream"
	"nixbk/helper/internal/tree"
)

// dump writes the archive of an object that is canonical already; unlike
// tree.Registrar it changes nothing and so reads what is mounted read-only.
type dump struct {
	archive *nar.Writer
	sink    *stream.Fan
}

func (d *dump) node(at int, name, shown string, depth int) error {
	if depth >= nar.MaxDepth {
		return fmt.Errorf("'%s' is nested deeper than the %d folders of an archive", shown, nar.MaxDepth)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "stat", Path: shown, Err: err}
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return d.regular(at, name, shown)
	case unix.S_IFDIR:
		return d.directory(at, name, shown, depth)
	case unix.S_IFLNK:
		target, err := tree.ReadLink(at, name)
		if err != nil {
			return err
		}
		d.archive.Strings("(", "type", "symlink", "target", target, ")")
		return nil
	}
	return fmt.Errorf("file '%s' has an unsupported type", shown)
}

func (d *dump) directory(at int, name, shown string, depth int) error {
	fd, err := tree.OpenDir(at, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	entries, err := tree.List(fd)
	if err != nil {
		return err
	}
	d.archive.Strings("(", "type", "directory")
	for _, entry := range entries {
		d.archive.Strings("entry", "(", "name", entry.Name, "node")
		if err := d.node(fd, entry.Name, filepath.Join(shown, entry.Name), depth+1); err != nil {
			return err
		}
		d.archive.Strings(")")
	}
	d.archive.Strings(")")
	return nil
}

func (d *dump) regular(at int, name, shown string) error {
	fd, err := tree.OpenFile(at, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: shown, Err: err}
	}
	size := uint64(st.Size)
	d.archive.Contents(st.Mode&unix.S_IXUSR != 0, size)
	for left := size; left > 0; {
		room := d.sink.Room()
		n, err := unix.Read(fd, room[:min(uint64(len(room)), left)])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return &os.PathError{Op: "read", Path: shown, Err: err}
		case n == 0:
			return fmt.Errorf("file '%s' became shorter while it was read", shown)
		}
		d.sink.Advance(n)
		left -= uint64(n)
	}
	d.archive.ContentsDone(size)
	return nil
}
