// Package nar writes and reads Nix archives:
//
//	archive   = "nix-archive-1" node
//	node      = "(" "type" body ")"
//	body      = "regular" ["executable" ""] "contents" bytes
//	          | "symlink" "target" bytes
//	          | "directory" { "entry" "(" "name" bytes "node" node ")" }
//
// where each string is its length as 64 bits, little endian, its bytes, and
// zeros up to a multiple of eight (Nix src/libutil/archive.cc).
package nar

import (
	"encoding/binary"
	"io"
)

// Magic opens each archive.
const Magic = "nix-archive-1"

// MaxDepth is how deep nodes may be nested.
const MaxDepth = 64

// Writer writes the strings of an archive; the order is the caller's duty.
type Writer struct {
	to  io.Writer
	buf []byte
}

// NewWriter opens an archive.
func NewWriter(to io.Writer) *Writer {
	w := &Writer{to: to}
	w.Strings(Magic)
	return w
}

// Strings writes strings one after the other. The writer below never fails.
func (w *Writer) Strings(texts ...string) {
	b := w.buf[:0]
	for _, text := range texts {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(text)))
		b = append(b, text...)
		b = append(b, zeros[:padding(uint64(len(text)))]...)
	}
	w.buf = b
	_, _ = w.to.Write(b)
}

// Contents writes what precedes the bytes of a regular file.
func (w *Writer) Contents(executable bool, size uint64) {
	if executable {
		w.Strings("(", "type", "regular", "executable", "", "contents")
	} else {
		w.Strings("(", "type", "regular", "contents")
	}
	w.buf = binary.LittleEndian.AppendUint64(w.buf[:0], size)
	_, _ = w.to.Write(w.buf)
}

// ContentsDone writes what follows the bytes of a regular file.
func (w *Writer) ContentsDone(size uint64) {
	_, _ = w.to.Write(zeros[:padding(size)])
	w.Strings(")")
}

var zeros [8]byte

func padding(size uint64) uint64 { return -size & 7 }
