package unpack

import (
	"errors"
	"io"
)

const (
	blockSize = 256 << 10
	blocks    = 8
)

type block struct {
	data []byte
	err  error
}

// ahead reads, and so decompresses, on another processor than the one that
// makes files of what was read.
type ahead struct {
	full chan block
	free chan []byte
	stop chan struct{}
	size uint64
	done chan struct{}

	current block
	rest    []byte
}

// newAhead writes what it reads to sink as well, which never fails.
func newAhead(from io.Reader, sink io.Writer) *ahead {
	a := &ahead{
		full: make(chan block, blocks), free: make(chan []byte, blocks),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	for range blocks {
		a.free <- nil
	}
	go a.run(from, sink)
	return a
}

func (a *ahead) run(from io.Reader, sink io.Writer) {
	defer close(a.done)
	for {
		var buf []byte
		select {
		case buf = <-a.free:
		case <-a.stop:
			return
		}
		if buf == nil {
			buf = make([]byte, blockSize)
		}
		n, err := io.ReadFull(from, buf[:blockSize])
		if err == io.ErrUnexpectedEOF {
			err = io.EOF
		}
		a.size += uint64(n)
		b := block{buf[:n], err}
		_, _ = sink.Write(b.data)
		select {
		case a.full <- b:
		case <-a.stop:
			return
		}
		if err != nil {
			return
		}
	}
}

// fill waits for bytes, if there are none left of those that came.
func (a *ahead) fill() error {
	for len(a.rest) == 0 {
		if a.current.err != nil {
			return a.current.err
		}
		if a.current.data != nil {
			a.free <- a.current.data
		}
		a.current = <-a.full
		a.rest = a.current.data
	}
	return nil
}

// Read gives the bytes read ahead.
func (a *ahead) Read(p []byte) (int, error) {
	if err := a.fill(); err != nil {
		return 0, err
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// direct is a file in what is read ahead; it is written from there, by one
// call for each block.
type direct struct {
	*io.LimitedReader
	source *ahead
}

// WriteTo writes the bytes up to the limit, or to the end if that comes first.
func (d *direct) WriteTo(w io.Writer) (int64, error) {
	total := int64(0)
	for d.N > 0 {
		if err := d.source.fill(); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return total, err
		}
		chunk := d.source.rest[:min(d.N, int64(len(d.source.rest)))]
		n, err := w.Write(chunk)
		d.source.rest = d.source.rest[n:]
		d.N -= int64(n)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// close ends the reading and tells how many bytes there were.
func (a *ahead) close() uint64 {
	close(a.stop)
	<-a.done
	return a.size
}
