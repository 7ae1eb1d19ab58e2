package tree

import (
	"io"

	"golang.org/x/sys/unix"

	"nixbk/helper/internal/nar"
)

// Restorer makes store files from the nodes of an archive, as nar.Sink.
type Restorer struct {
	name string
	dirs []int
}

// NewRestorer makes the top node as name in the directory at.
func NewRestorer(at int, name string) *Restorer {
	return &Restorer{name, []int{at}}
}

func (r *Restorer) at() int { return r.dirs[len(r.dirs)-1] }

func (r *Restorer) entry(name string) string {
	if name == "" {
		return r.name
	}
	return name
}

// Directory makes and enters a directory.
func (r *Restorer) Directory(name string) error {
	fd, err := MakeDir(r.at(), r.entry(name))
	if err != nil {
		return err
	}
	r.dirs = append(r.dirs, fd)
	return nil
}

// Leave finishes the directory entered last.
func (r *Restorer) Leave() error {
	fd := r.at()
	r.dirs = r.dirs[:len(r.dirs)-1]
	return FinishDir(fd)
}

// Symlink makes a link.
func (r *Restorer) Symlink(name, target string) error {
	return Symlink(r.at(), r.entry(name), target)
}

// Regular makes a file.
func (r *Restorer) Regular(name string, executable bool, _ uint64, contents io.Reader) error {
	file, err := Create(r.at(), r.entry(name))
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, contents); err != nil {
		file.Discard()
		return err
	}
	return file.Finish(executable)
}

// Close closes what an error left open.
func (r *Restorer) Close() {
	for _, fd := range r.dirs[1:] {
		_ = unix.Close(fd)
	}
	r.dirs = r.dirs[:1]
}

// Top is a sink that passes on and notes what the archive's top is.
type Top struct {
	nar.Sink
	Kind, Target string
}

func (t *Top) Directory(name string) error {
	if t.Kind == "" {
		t.Kind = "directory"
	}
	return t.Sink.Directory(name)
}

func (t *Top) Symlink(name, target string) error {
	if t.Kind == "" {
		t.Kind, t.Target = "symlink", target
	}
	return t.Sink.Symlink(name, target)
}

func (t *Top) Regular(name string, executable bool, size uint64, contents io.Reader) error {
	if t.Kind == "" {
		t.Kind = "regular"
	}
	return t.Sink.Regular(name, executable, size, contents)
}

// CopyTree makes name in the directory at a copy of a store object. Files that
// were one inode stay one, so that a copy is no larger than its source.
func CopyTree(at int, name string, from int, source string) error {
	c := copier{linked: map[inode]place{}}
	defer c.close()
	return c.copy(at, name, from, source)
}

// Replace puts a copy of an object in the object's place.
func Replace(at int, name string) error {
	const fresh = ".nixbk-copy"
	if err := Remove(at, fresh); err != nil {
		return err
	}
	if err := CopyTree(at, fresh, at, name); err != nil {
		return err
	}
	if err := Remove(at, name); err != nil {
		return err
	}
	return unix.Renameat(at, fresh, at, name)
}

type place struct {
	dir  int
	name string
}

type copier struct {
	linked map[inode]place
	open   []int
}

func (c *copier) close() {
	for _, fd := range c.open {
		_ = unix.Close(fd)
	}
}

func (c *copier) copy(at int, name string, from int, source string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(from, source, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		target, err := ReadLink(from, source)
		if err != nil {
			return err
		}
		return Symlink(at, name, target)
	case unix.S_IFREG:
		return c.regular(at, name, from, source, &st)
	case unix.S_IFDIR:
		return c.directory(at, name, from, source)
	}
	return unsupported(source)
}

func (c *copier) regular(at int, name string, from int, source string, st *unix.Stat_t) error {
	this := inode{st.Dev, st.Ino}
	if first, found := c.linked[this]; found {
		return unix.Linkat(first.dir, first.name, at, name, 0)
	}
	if err := CopyFile(at, name, from, source, st.Mode&unix.S_IXUSR != 0); err != nil {
		return err
	}
	if st.Nlink > 1 {
		// The directory is kept open for later links by a descriptor of its own.
		dir, err := unix.FcntlInt(uintptr(at), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return err
		}
		c.open = append(c.open, dir)
		c.linked[this] = place{dir, name}
	}
	return nil
}

func (c *copier) directory(at int, name string, from int, source string) error {
	in, err := OpenDir(from, source)
	if err != nil {
		return err
	}
	defer unix.Close(in)
	entries, err := List(in)
	if err != nil {
		return err
	}
	out, err := MakeDir(at, name)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := c.copy(out, entry.Name, in, entry.Name); err != nil {
			_ = unix.Close(out)
			return err
		}
	}
	return FinishDir(out)
}
