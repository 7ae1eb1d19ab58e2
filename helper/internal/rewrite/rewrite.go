// Package rewrite replaces hash parts of store paths in streams of bytes by
// others of the same length (RewritingSink and HashModuloSink, Nix
// src/libstore/references.cc).
package rewrite

import (
	"bytes"
	"fmt"
	"hash"
	"io"
)

// Writer replaces one text by another of its length in what it passes on.
// Matches that span writes are found as well.
type Writer struct {
	to         io.Writer
	from, into []byte
	carry      []byte
	scratch    []byte
	position   uint64
	noted      bool
	positions  []uint64
}

// New passes on to a writer; Close passes on the last bytes.
func New(to io.Writer, from, into string) *Writer {
	if len(from) != len(into) || from == "" {
		panic("texts of different lengths")
	}
	return &Writer{to: to, from: []byte(from), into: []byte(into)}
}

// Write holds back what could be the start of a match.
func (w *Writer) Write(data []byte) (int, error) {
	total := len(data)
	keep := len(w.from) - 1
	if len(w.carry) > 0 {
		// Enough of data to complete whatever begins in the carry.
		n := min(len(data), keep)
		joined := append(w.carry, data[:n]...)
		data = data[n:]
		w.replace(joined, w.position)
		if len(data) == 0 {
			out := max(0, len(joined)-keep)
			if err := w.pass(joined[:out]); err != nil {
				return 0, err
			}
			w.carry = append(w.carry[:0], joined[out:]...)
			return total, nil
		}
		// What of data is in joined may begin a match that goes on behind it.
		out := len(joined) - n
		if err := w.pass(joined[:out]); err != nil {
			return 0, err
		}
		w.scratch = append(append(w.scratch[:0], joined[out:]...), data...)
	} else {
		w.scratch = append(w.scratch[:0], data...)
	}
	w.replace(w.scratch, w.position)
	out := max(0, len(w.scratch)-keep)
	if err := w.pass(w.scratch[:out]); err != nil {
		return 0, err
	}
	w.carry = append(w.carry[:0], w.scratch[out:]...)
	return total, nil
}

// replace goes on at the start of what it has put there, as Nix does: its end
// may be the beginning of another match.
func (w *Writer) replace(data []byte, position uint64) {
	if bytes.Equal(w.from, w.into) {
		return
	}
	for start := 0; ; {
		i := bytes.Index(data[start:], w.from)
		if i < 0 {
			return
		}
		start += i
		if w.noted {
			w.positions = append(w.positions, position+uint64(start))
		}
		copy(data[start:], w.into)
	}
}

func (w *Writer) pass(data []byte) error {
	w.position += uint64(len(data))
	if len(data) == 0 {
		return nil
	}
	_, err := w.to.Write(data)
	return err
}

// Close passes on what was held back, and closes what is below if it can be.
func (w *Writer) Close() error {
	err := w.pass(w.carry)
	w.carry = nil
	if closer, ok := w.to.(io.Closer); ok && err == nil {
		err = closer.Close()
	}
	return err
}

// Modulo hashes a stream as if a hash part in it were zeros.
type Modulo struct {
	*Writer
	hash hash.Hash
}

// NewModulo hashes what is written without the part given; with positions
// where that was is hashed as well.
func NewModulo(h hash.Hash, part string, positions bool) *Modulo {
	zeros := string(make([]byte, len(part)))
	m := &Modulo{New(h, part, zeros), h}
	m.noted = positions
	return m
}

// Sum is the hash of all that was written, which is then complete.
func (m *Modulo) Sum() []byte {
	_ = m.Close()
	for _, position := range m.positions {
		_, _ = fmt.Fprintf(m.hash, "|%d", position)
	}
	return m.hash.Sum(nil)
}
