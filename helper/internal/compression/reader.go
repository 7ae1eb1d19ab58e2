// Package compression reads and writes the compressed files of binary caches,
// by the names that narinfo files have for the formats.
package compression

import (
	"bufio"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

// MaxWindow is how far back a stream may refer, in bytes; a decompressor has
// to keep as much of what it has written.
const MaxWindow = 128 << 20

// Error is what is wrong with a compressed stream.
type Error struct {
	Format string
	Reason string
}

func (e *Error) Error() string { return fmt.Sprintf("bad %s data: %s", e.Format, e.Reason) }

var openers = map[string]func(io.Reader) (io.ReadCloser, error){
	"none":  func(r io.Reader) (io.ReadCloser, error) { return io.NopCloser(r), nil },
	"gzip":  func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) },
	"bzip2": func(r io.Reader) (io.ReadCloser, error) { return io.NopCloser(bzip2.NewReader(r)), nil },
	"xz": func(r io.Reader) (io.ReadCloser, error) {
		stream, err := xz.NewReader(r, MaxWindow)
		return io.NopCloser(stream), err
	},
	"zstd": func(r io.Reader) (io.ReadCloser, error) {
		// With more than one goroutine it is slower: they do little each.
		stream, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(MaxWindow))
		if err != nil {
			return nil, err
		}
		return stream.IOReadCloser(), nil
	},
}

// NewReader decompresses all streams that from holds; its end is reached when
// from ends, and anything there that is no such stream is an error. An empty
// format is none. Errors of what is read are of the type Error.
func NewReader(format string, from io.Reader) (io.ReadCloser, error) {
	if format == "" {
		format = "none"
	}
	open, found := openers[format]
	if !found {
		return nil, fmt.Errorf("unknown compression %q", format)
	}
	r := &reader{format: format, source: source{from: from}}
	stream, err := open(bufio.NewReaderSize(&r.source, 128<<10))
	if err != nil {
		return nil, r.explain(err, true)
	}
	r.stream = stream
	return r, nil
}

// source remembers why it could not be read.
type source struct {
	from io.Reader
	err  error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

type reader struct {
	format string
	source source
	stream io.ReadCloser
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.stream.Read(p)
	return n, r.explain(err, false)
}

func (r *reader) Close() error { return r.stream.Close() }

// explain tells what is wrong with the stream from what is wrong with the
// file. Only at its start is an end of the stream something wrong.
func (r *reader) explain(err error, opening bool) error {
	switch {
	case err == nil || (errors.Is(err, io.EOF) && !opening):
		return err
	case r.source.err != nil:
		return r.source.err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, xz.ErrBuf):
		return &Error{r.format, "unexpected end"}
	case errors.Is(err, xz.ErrMemlimit), errors.Is(err, zstd.ErrWindowSizeExceeded),
		errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return &Error{r.format, fmt.Sprintf("its window is larger than the %d MiB that are allowed", MaxWindow>>20)}
	case errors.Is(err, zstd.ErrUnknownDictionary):
		return &Error{r.format, "it was made with a dictionary, which is not here"}
	}
	return &Error{r.format, err.Error()}
}
