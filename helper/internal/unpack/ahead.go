package unpack

import "io"

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

// Read gives the bytes read ahead.
func (a *ahead) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.current.err != nil {
			return 0, a.current.err
		}
		if a.current.data != nil {
			a.free <- a.current.data
		}
		a.current = <-a.full
		a.rest = a.current.data
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// close ends the reading and tells how many bytes there were.
func (a *ahead) close() uint64 {
	close(a.stop)
	<-a.done
	return a.size
}
