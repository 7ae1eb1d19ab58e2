// Package store is the store directory of the container: what it holds at the
// start, its owner while a builder runs, and its state at the end.
package store

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"nixbk/helper/internal/step"
	"nixbk/helper/internal/tree"
)

// Store is the open store directory.
type Store struct {
	root  string
	fd    int
	links []string
	// Inputs are the base names the store held at the start, and the links.
	Inputs []string
}

// Open opens the store below root, making it when it is not there.
func Open(root string) (*Store, error) {
	dir := filepath.Join(root, step.StoreDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	fd, err := tree.OpenDir(unix.AT_FDCWD, dir)
	if err != nil {
		return nil, err
	}
	s := &Store{root: root, fd: fd}
	entries, err := tree.List(fd)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		s.Inputs = append(s.Inputs, entry.Name)
	}
	return s, nil
}

// Fd is the descriptor of the store directory.
func (s *Store) Fd() int { return s.fd }

// Path is where a base name of the store is found on disk.
func (s *Store) Path(name string) string { return filepath.Join(s.root, step.StoreDir, name) }

// Link makes the inputs that are symbolic links, which no mount can bring.
func (s *Store) Link(links map[step.Text]step.Text) error {
	for _, path := range slices.Sorted(maps.Keys(links)) {
		name, err := step.BaseName(string(path))
		if err != nil {
			return err
		}
		if err := s.Symlink(name, string(links[path])); err != nil {
			return err
		}
		s.links = append(s.links, name)
		s.Inputs = append(s.Inputs, name)
	}
	return nil
}

// Symlink makes one link with the store's time.
func (s *Store) Symlink(name, target string) error {
	return tree.Symlink(s.fd, name, target)
}

// Lend gives the group of the builder the right to add to the store, and to
// nothing in it that is not its own, as Nix does for its sandbox.
func (s *Store) Lend(group int) error {
	if err := unix.Fchown(s.fd, 0, group); err != nil {
		return fmt.Errorf("giving the store to the builder: %w", err)
	}
	return unix.Fchmod(s.fd, 0o1775)
}

// Clean removes what is neither an input nor an output, and the links, and
// brings the directories of the base back to how the base has them.
func (s *Store) Clean(outputs []string) error {
	entries, err := tree.List(s.fd)
	if err != nil {
		return err
	}
	stays := make(map[string]bool, len(s.Inputs)+len(outputs))
	for _, name := range s.Inputs {
		stays[name] = true
	}
	for _, name := range s.links {
		stays[name] = false
	}
	for _, name := range outputs {
		stays[name] = true
	}
	for _, entry := range entries {
		if stays[entry.Name] {
			continue
		}
		if err := tree.Remove(s.fd, entry.Name); err != nil {
			return err
		}
	}
	if err := unix.Fchown(s.fd, 0, 0); err != nil {
		return err
	}
	return unix.Fchmod(s.fd, 0o755)
}

// Touched are the directories of the base in which the helper, the builder or
// mount points can have left another modification time.
var Touched = []string{"", "bin", "build", "dev", "etc", "nix", "nix/store", "proc", "sys", "tmp", ".nixbk/result", ".nixbk"}

// ResetTimes gives those directories the time the base has.
func ResetTimes(root string) error {
	for _, name := range Touched {
		err := tree.ResetTime(filepath.Join(root, "/", name))
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	return nil
}
