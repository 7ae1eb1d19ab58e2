package compression

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

var makers = map[string]func(io.Writer) (io.WriteCloser, error){
	"none": func(w io.Writer) (io.WriteCloser, error) { return unchanged{w}, nil },
	"gzip": func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
	"xz":   func(w io.Writer) (io.WriteCloser, error) { return newStreams(w, runtime.NumCPU()), nil },
	"zstd": func(w io.Writer) (io.WriteCloser, error) {
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	},
}

// NewWriter compresses; the bytes depend on what is written alone, if every
// write but the last is of the same size. Close does not close what is below.
func NewWriter(format string, to io.Writer) (io.WriteCloser, error) {
	start, found := makers[format]
	if !found {
		return nil, fmt.Errorf("unknown compression %q", format)
	}
	return start(to)
}

type unchanged struct{ io.Writer }

func (unchanged) Close() error { return nil }

// chunkSize is how much goes into each stream of an xz file.
const chunkSize = 16 << 20

// streams makes an xz file of many streams, several at once: the compressor
// is slow, and what it makes depends on the chunks alone.
type streams struct {
	chunk   []byte
	started bool
	pending chan chan compressed
	done    chan error
}

type compressed struct {
	data []byte
	err  error
}

func newStreams(to io.Writer, atOnce int) *streams {
	s := &streams{pending: make(chan chan compressed, max(0, min(atOnce, 8)-1)), done: make(chan error, 1)}
	go func() {
		var failed error
		for result := range s.pending {
			next := <-result
			if failed = errors.Join(failed, next.err); failed == nil {
				_, failed = to.Write(next.data)
			}
		}
		s.done <- failed
	}()
	return s
}

func (s *streams) Write(data []byte) (int, error) {
	total := len(data)
	for len(data) > 0 {
		if s.chunk == nil {
			s.chunk = make([]byte, 0, chunkSize)
		}
		n := min(len(data), cap(s.chunk)-len(s.chunk))
		s.chunk = append(s.chunk, data[:n]...)
		data = data[n:]
		if len(s.chunk) == cap(s.chunk) {
			s.start()
		}
	}
	return total, nil
}

func (s *streams) start() {
	chunk, result := s.chunk, make(chan compressed, 1)
	s.chunk, s.started = nil, true
	s.pending <- result
	go func() {
		data, err := stream(chunk)
		result <- compressed{data, err}
	}()
}

func (s *streams) Close() error {
	if len(s.chunk) > 0 || !s.started {
		s.start()
	}
	close(s.pending)
	return <-s.done
}

func stream(chunk []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := xz.NewWriter(&out)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(chunk); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}
