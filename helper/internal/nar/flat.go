package nar

import (
	"encoding/binary"
	"io"
)

// headerSize is where the contents start in the archive of one regular file
// that is not executable; the last eight bytes of it are their length.
const headerSize = 24 + 4*16 + 8

// Flat is a writer that takes the archive of such a file and passes on the
// file's contents. What it passes on for other archives means nothing.
type Flat struct {
	to     io.Writer
	header []byte
	left   uint64
}

// NewFlat passes contents on to a writer that never fails.
func NewFlat(to io.Writer) *Flat { return &Flat{to: to} }

func (f *Flat) Write(data []byte) (int, error) {
	total := len(data)
	if missing := headerSize - len(f.header); missing > 0 {
		n := min(missing, len(data))
		f.header = append(f.header, data[:n]...)
		data = data[n:]
		if n < missing {
			return total, nil
		}
		f.left = binary.LittleEndian.Uint64(f.header[headerSize-8:])
	}
	n := min(f.left, uint64(len(data)))
	_, _ = f.to.Write(data[:n])
	f.left -= n
	return total, nil
}
