// Package compare names what differs between two builds of one store object.
package compare

import (
	"bytes"
	"io"
	"os"
	"path"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"nixbk/helper/internal/step"
	"nixbk/helper/internal/tree"
)

// most is how many differences are named.
const most = 1000

// Difference is one path, empty for the object itself, and what of it differs.
type Difference struct{ Path, What string }

// What can differ.
const (
	Content    = "content"
	Type       = "type"
	Executable = "executable"
	Target     = "target"
	OnlyFirst  = "only-first"
	OnlySecond = "only-second"
)

// Trees compares the objects at two paths. It returns the first differences,
// and how many there are besides.
func Trees(first, second string) ([]Difference, int, error) {
	c := &comparison{buffers: [2][]byte{make([]byte, 256<<10), make([]byte, 256<<10)}}
	if err := c.node(unix.AT_FDCWD, first, unix.AT_FDCWD, second, ""); err != nil {
		return nil, 0, err
	}
	return c.found, c.more, nil
}

// JSON is the document of the differences: keys sorted, a newline at the end.
func JSON(found []Difference, more int) []byte {
	b := []byte(`{"differences":[`)
	for i, difference := range found {
		if i > 0 {
			b = append(b, ',')
		}
		b = step.AppendJSON(append(b, `{"path":`...), difference.Path)
		b = step.AppendJSON(append(b, `,"what":`...), difference.What)
		b = append(b, '}')
	}
	b = append(b, ']')
	if more > 0 {
		b = strconv.AppendInt(append(b, `,"more":`...), int64(more), 10)
	}
	return append(b, ",\"version\":1}\n"...)
}

type comparison struct {
	found   []Difference
	more    int
	buffers [2][]byte
}

func (c *comparison) add(shown, what string) {
	if len(c.found) < most {
		c.found = append(c.found, Difference{shown, what})
	} else {
		c.more++
	}
}

func (c *comparison) node(a int, first string, b int, second string, shown string) error {
	var sa, sb unix.Stat_t
	if err := unix.Fstatat(a, first, &sa, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "stat", Path: first, Err: err}
	}
	if err := unix.Fstatat(b, second, &sb, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "stat", Path: second, Err: err}
	}
	kind := sa.Mode & unix.S_IFMT
	if kind != sb.Mode&unix.S_IFMT {
		c.add(shown, Type)
		return nil
	}
	switch kind {
	case unix.S_IFDIR:
		return c.folders(a, first, b, second, shown)
	case unix.S_IFLNK:
		return c.links(a, first, b, second, shown)
	}
	same, err := c.files(a, first, b, second, sa.Size == sb.Size)
	if err != nil {
		return err
	}
	if !same {
		c.add(shown, Content)
	}
	if (sa.Mode^sb.Mode)&unix.S_IXUSR != 0 {
		c.add(shown, Executable)
	}
	return nil
}

func (c *comparison) links(a int, first string, b int, second string, shown string) error {
	one, err := tree.ReadLink(a, first)
	if err != nil {
		return err
	}
	other, err := tree.ReadLink(b, second)
	if err == nil && one != other {
		c.add(shown, Target)
	}
	return err
}

func (c *comparison) folders(a int, first string, b int, second string, shown string) error {
	one, err := tree.OpenDir(a, first)
	if err != nil {
		return err
	}
	defer unix.Close(one)
	other, err := tree.OpenDir(b, second)
	if err != nil {
		return err
	}
	defer unix.Close(other)
	names := map[string]int{}
	for i, fd := range []int{one, other} {
		entries, err := tree.List(fd)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			names[entry.Name] |= 1 << i
		}
	}
	all := make([]string, 0, len(names))
	for name := range names {
		all = append(all, name)
	}
	slices.Sort(all)
	for _, name := range all {
		below := path.Join(shown, name)
		switch names[name] {
		case 1:
			c.add(below, OnlyFirst)
		case 2:
			c.add(below, OnlySecond)
		default:
			if err := c.node(one, name, other, name, below); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *comparison) files(a int, first string, b int, second string, sameSize bool) (bool, error) {
	if !sameSize {
		return false, nil
	}
	var files [2]*os.File
	for i, place := range []struct {
		at   int
		name string
	}{{a, first}, {b, second}} {
		fd, err := tree.OpenFile(place.at, place.name)
		if err != nil {
			return false, err
		}
		files[i] = os.NewFile(uintptr(fd), place.name)
		defer files[i].Close()
	}
	for {
		n, err := io.ReadFull(files[0], c.buffers[0])
		m, other := io.ReadFull(files[1], c.buffers[1])
		if !bytes.Equal(c.buffers[0][:n], c.buffers[1][:m]) {
			return false, nil
		}
		if err != nil || other != nil {
			if ended(err) && ended(other) {
				return true, nil
			}
			if ended(err) {
				err = other
			}
			return false, err
		}
	}
}

func ended(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }
