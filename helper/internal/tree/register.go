package tree

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"nixbk/helper/internal/nar"
	"nixbk/helper/internal/step"
	"nixbk/helper/internal/stream"
)

// Registrar makes outputs canonical and serialises them in the same walk
// (canonicalisePathMetaData and dumpPath of Nix). The outputs of one build
// share one registrar, since files may be hard-linked between them.
type Registrar struct {
	owner   uint32
	checked bool
	seen    map[inode]struct{}
}

type inode struct{ device, number uint64 }

// NewRegistrar accepts only what owner owns.
func NewRegistrar(owner uint32) *Registrar {
	return &Registrar{owner: owner, checked: true, seen: map[inode]struct{}{}}
}

// NewTrustingRegistrar accepts what anybody owns.
func NewTrustingRegistrar() *Registrar {
	return &Registrar{seen: map[inode]struct{}{}}
}

// Node is the top of an output.
type Node struct {
	Type       string
	Target     string
	Executable bool
}

// Register makes the entry canonical and writes its archive to sink. Its
// owner and mode must be such that nobody else can have interfered; shown is
// the path for messages, output the output's name.
func (r *Registrar) Register(at int, name, shown, output string, sink *stream.Fan) (Node, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return Node{}, step.Fail(step.OutputMissing,
				"builder failed to produce output path for output '%s' at '%s'", output, shown)
		}
		return Node{}, &os.PathError{Op: "stat", Path: shown, Err: err}
	}
	shared := st.Mode&unix.S_IFMT != unix.S_IFLNK && st.Mode&(unix.S_IWGRP|unix.S_IWOTH) != 0
	if r.checked && (shared || st.Uid != r.owner) {
		return Node{}, step.Fail(step.IllegalOutput,
			"suspicious ownership or permission on '%s' for output '%s'; rejecting this build output",
			shown, output)
	}
	w := &walk{Registrar: r, archive: nar.NewWriter(sink), sink: sink}
	return w.node(at, Entry{name, uint8(st.Mode & unix.S_IFMT >> 12)}, shown, 0)
}

type walk struct {
	*Registrar
	archive *nar.Writer
	sink    *stream.Fan
}

func (w *walk) node(at int, entry Entry, shown string, depth int) (Node, error) {
	if depth >= nar.MaxDepth {
		return Node{}, step.Fail(step.IllegalOutput,
			"path '%s' exceeds maximum NAR directory depth of %d", shown, nar.MaxDepth)
	}
	kind := uint32(entry.Type) << 12
	if entry.Type == unix.DT_UNKNOWN {
		var st unix.Stat_t
		if err := unix.Fstatat(at, entry.Name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return Node{}, &os.PathError{Op: "stat", Path: shown, Err: err}
		}
		kind = st.Mode & unix.S_IFMT
	}
	switch kind {
	case unix.S_IFREG:
		executable, err := w.regular(at, entry.Name, shown)
		return Node{Type: "regular", Executable: executable}, err
	case unix.S_IFDIR:
		return Node{Type: "directory"}, w.directory(at, entry.Name, shown, depth)
	case unix.S_IFLNK:
		target, err := w.symlink(at, entry.Name, shown)
		return Node{Type: "symlink", Target: target}, err
	}
	return Node{}, unsupported(shown)
}

func unsupported(shown string) error {
	return step.Fail(step.IllegalOutput, "file '%s' has an unsupported type", shown)
}

func (w *walk) directory(at int, name, shown string, depth int) error {
	fd, err := OpenDir(at, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := w.canonical(fd, unix.S_IFDIR, shown); err != nil {
		return err
	}
	entries, err := List(fd)
	if err != nil {
		return err
	}
	w.archive.Strings("(", "type", "directory")
	for _, entry := range entries {
		w.archive.Strings("entry", "(", "name", entry.Name, "node")
		if _, err := w.node(fd, entry, path.Join(shown, entry.Name), depth+1); err != nil {
			return err
		}
		w.archive.Strings(")")
	}
	w.archive.Strings(")")
	return nil
}

func (w *walk) regular(at int, name, shown string) (bool, error) {
	fd, err := OpenFile(at, name)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	st, err := w.canonical(fd, unix.S_IFREG, shown)
	if err != nil {
		return false, err
	}
	size := uint64(st.Size)
	executable := st.Mode&unix.S_IXUSR != 0
	w.archive.Contents(executable, size)
	if err := w.copy(fd, size, shown); err != nil {
		return false, err
	}
	w.archive.ContentsDone(size)
	return executable, nil
}

func (w *walk) copy(fd int, size uint64, shown string) error {
	for left := size; left > 0; {
		room := w.sink.Room()
		room = room[:min(uint64(len(room)), left)]
		n, err := ignoringEINTR(func() (int, error) { return unix.Read(fd, room) })
		if err != nil {
			return &os.PathError{Op: "read", Path: shown, Err: err}
		}
		if n == 0 {
			return fmt.Errorf("file '%s' became shorter while it was read", shown)
		}
		w.sink.Advance(n)
		left -= uint64(n)
	}
	return nil
}

func (w *walk) symlink(at int, name, shown string) (string, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return "", &os.PathError{Op: "stat", Path: shown, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", fmt.Errorf("file '%s' changed its type while it was read", shown)
	}
	known, err := w.owned(&st, shown)
	if err != nil {
		return "", err
	}
	if !known {
		if err := unix.Fchownat(at, name, 0, 0, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return "", &os.PathError{Op: "chown", Path: shown, Err: err}
		}
		if err := setTimeAt(at, name); err != nil {
			return "", err
		}
	}
	target, err := ReadLink(at, name)
	if err != nil {
		return "", err
	}
	w.archive.Strings("(", "type", "symlink", "target", target, ")")
	return target, nil
}

// owned says whether the file was made canonical before, by another name. Who
// links a file of somebody else into an output is refused.
func (r *Registrar) owned(st *unix.Stat_t, shown string) (bool, error) {
	this := inode{st.Dev, st.Ino}
	if _, known := r.seen[this]; known {
		return true, nil
	}
	if r.checked && st.Uid != r.owner {
		return false, step.Fail(step.IllegalOutput, "invalid ownership on file '%s'", shown)
	}
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		r.seen[this] = struct{}{}
	}
	return false, nil
}

// canonical gives an open file or directory the store's owner, mode and time
// and no extended attributes, and returns its state from before.
func (r *Registrar) canonical(fd int, kind uint32, shown string) (*unix.Stat_t, error) {
	st := new(unix.Stat_t)
	if err := unix.Fstat(fd, st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: shown, Err: err}
	}
	if st.Mode&unix.S_IFMT != kind {
		return nil, unsupported(shown)
	}
	known, err := r.owned(st, shown)
	if err != nil || known {
		return st, err
	}
	if err := StripAttributes(fd, shown); err != nil {
		return nil, err
	}
	// The owner first: a change of owner may clear bits of the mode.
	if st.Uid != 0 || st.Gid != 0 {
		if err := unix.Fchown(fd, 0, 0); err != nil {
			return nil, &os.PathError{Op: "chown", Path: shown, Err: err}
		}
	}
	mode := uint32(0o444)
	if kind == unix.S_IFDIR || st.Mode&unix.S_IXUSR != 0 {
		mode = 0o555
	}
	if st.Mode&^unix.S_IFMT != mode {
		if err := unix.Fchmod(fd, mode); err != nil {
			return nil, &os.PathError{Op: "chmod", Path: shown, Err: err}
		}
	}
	return st, setTime(fd)
}

// kept are attributes that belong to the machine and not to the file: the
// default of Nix's setting ignored-acls.
var kept = map[string]bool{"security.csm": true, "security.selinux": true, "system.nfs4_acl": true}

// StripAttributes removes extended attributes and access control lists.
func StripAttributes(fd int, shown string) error {
	size, err := unix.Flistxattr(fd, nil)
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENODATA) || size == 0 {
		return nil
	}
	if err == nil {
		buf := make([]byte, size)
		size, err = unix.Flistxattr(fd, buf)
		if err == nil {
			for name := range strings.SplitSeq(strings.TrimRight(string(buf[:size]), "\x00"), "\x00") {
				// An overlay counts attributes of its own that it does not list.
				if name == "" || kept[name] {
					continue
				}
				if err := unix.Fremovexattr(fd, name); err != nil {
					return fmt.Errorf("removing extended attribute %q from '%s': %w", name, shown, err)
				}
			}
			return nil
		}
	}
	return fmt.Errorf("querying extended attributes of '%s': %w", shown, err)
}
