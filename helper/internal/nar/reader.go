package nar

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits of the format, whatever the file system's are.
const (
	maxTag    = 32
	maxName   = 255
	maxTarget = 4095
)

// Sink receives the nodes of an archive in order. A directory's entries come
// between Directory and Leave; the name of the top node is empty.
type Sink interface {
	Directory(name string) error
	Leave() error
	Symlink(name, target string) error
	// Regular is given the contents, and must read them to their end.
	Regular(name string, executable bool, size uint64, contents io.Reader) error
}

// Error is what is wrong with an archive.
type Error struct{ reason string }

func (e *Error) Error() string { return "bad archive: " + e.reason }

func bad(format string, args ...any) error {
	return &Error{fmt.Sprintf(format, args...)}
}

// Read gives every node of the archive to sink. The archive must be the one
// that a writer would make of the nodes, bit for bit, and end where it ends.
func Read(from io.Reader, sink Sink) error {
	r := &reader{from: from, sink: sink}
	magic, err := r.text(maxTag)
	if wrong := new(Error); err != nil && !errors.As(truncated(err), &wrong) {
		return err
	}
	if err != nil || magic != Magic {
		return bad("input doesn't look like a Nix archive")
	}
	if err := r.node("", 0); err != nil {
		return truncated(err)
	}
	var more [1]byte
	if _, err := io.ReadFull(from, more[:]); !errors.Is(err, io.EOF) {
		if err != nil {
			return err
		}
		return bad("something follows the archive")
	}
	return nil
}

func truncated(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return bad("unexpected end")
	}
	return err
}

type reader struct {
	from io.Reader
	sink Sink
	buf  [4096]byte
}

func (r *reader) number() (uint64, error) {
	if _, err := io.ReadFull(r.from, r.buf[:8]); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(r.buf[:8]), nil
}

func (r *reader) text(most uint64) (string, error) {
	size, err := r.number()
	if err != nil {
		return "", err
	}
	if size > most {
		return "", bad("a string of %d bytes where at most %d may be", size, most)
	}
	padded := size + padding(size)
	if _, err := io.ReadFull(r.from, r.buf[:padded]); err != nil {
		return "", err
	}
	if err := zero(r.buf[size:padded]); err != nil {
		return "", err
	}
	return string(r.buf[:size]), nil
}

func zero(data []byte) error {
	for _, c := range data {
		if c != 0 {
			return bad("non-zero padding")
		}
	}
	return nil
}

func (r *reader) expect(texts ...string) error {
	for _, expected := range texts {
		got, err := r.text(maxTag)
		if err != nil {
			return err
		}
		if got != expected {
			return bad("expected tag %q, got %q", expected, got)
		}
	}
	return nil
}

func (r *reader) node(name string, depth int) error {
	if depth >= MaxDepth {
		return bad("nesting exceeds the maximum depth of %d", MaxDepth)
	}
	if err := r.expect("(", "type"); err != nil {
		return err
	}
	kind, err := r.text(maxTag)
	if err != nil {
		return err
	}
	switch kind {
	case "regular":
		err = r.regular(name)
	case "symlink":
		err = r.symlink(name)
	case "directory":
		return r.directory(name, depth)
	default:
		return bad("unknown file type %q", kind)
	}
	if err != nil {
		return err
	}
	return r.expect(")")
}

func (r *reader) regular(name string) error {
	tag, err := r.text(maxTag)
	if err != nil {
		return err
	}
	executable := tag == "executable"
	if executable {
		if err := r.expect("", "contents"); err != nil {
			return err
		}
	} else if tag != "contents" {
		return bad("expected tag \"contents\", got %q", tag)
	}
	size, err := r.number()
	if err != nil {
		return err
	}
	if size > 1<<62 {
		return bad("a file of %d bytes", size)
	}
	contents := &io.LimitedReader{R: r.from, N: int64(size)}
	if err := r.sink.Regular(name, executable, size, contents); err != nil {
		return err
	}
	if contents.N != 0 {
		return io.ErrUnexpectedEOF
	}
	pad := r.buf[:padding(size)]
	if _, err := io.ReadFull(r.from, pad); err != nil {
		return err
	}
	return zero(pad)
}

func (r *reader) symlink(name string) error {
	if err := r.expect("target"); err != nil {
		return err
	}
	target, err := r.text(maxTarget)
	if err != nil {
		return err
	}
	if target == "" || strings.Contains(target, "\x00") {
		return bad("invalid symlink target %q", target)
	}
	return r.sink.Symlink(name, target)
}

func (r *reader) directory(name string, depth int) error {
	if err := r.sink.Directory(name); err != nil {
		return err
	}
	previous := ""
	for {
		tag, err := r.text(maxTag)
		if err != nil {
			return err
		}
		if tag == ")" {
			return r.sink.Leave()
		}
		if tag != "entry" {
			return bad("expected tag \"entry\" or \")\", got %q", tag)
		}
		if err := r.expect("(", "name"); err != nil {
			return err
		}
		entry, err := r.text(maxName)
		if err != nil {
			return err
		}
		if entry == "" || entry == "." || entry == ".." || strings.ContainsAny(entry, "/\x00") {
			return bad("invalid file name %q", entry)
		}
		if entry <= previous {
			return bad("directory is not sorted: %q follows %q", entry, previous)
		}
		previous = entry
		if err := r.expect("node"); err != nil {
			return err
		}
		if err := r.node(entry, depth+1); err != nil {
			return err
		}
		if err := r.expect(")"); err != nil {
			return err
		}
	}
}
