// Package compression reads and writes the compressed files of binary caches,
// by the names that narinfo files have for the formats.
package compression

import (
	"bufio"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

// MaxWindow is how far back any stream may refer, in bytes; a decompressor has
// to keep as much of what it has written.
const MaxWindow = 128 << 20

// Error is what is wrong with a compressed stream.
type Error struct {
	Format string
	Reason string
	// Wide says that its window is larger than was allowed, and nothing else.
	Wide bool
}

func (e *Error) Error() string { return fmt.Sprintf("bad %s data: %s", e.Format, e.Reason) }

var openers = map[string]func(io.Reader, uint32) (io.ReadCloser, error){
	"none":  func(r io.Reader, _ uint32) (io.ReadCloser, error) { return io.NopCloser(r), nil },
	"gzip":  func(r io.Reader, _ uint32) (io.ReadCloser, error) { return gzip.NewReader(r) },
	"bzip2": func(r io.Reader, _ uint32) (io.ReadCloser, error) { return io.NopCloser(bzip2.NewReader(r)), nil },
	"xz":    openXZ,
	"zstd":  openZstd,
}

// Decompressors that came to the end of what they read are used again: much of
// the time for a small file is that of a window for it. What met an error, or
// the widest window, is not kept.
var spareXZ, spareZstd sync.Pool

type xzStream struct {
	*xz.Reader
	window uint32
	ended  bool
}

func openXZ(r io.Reader, window uint32) (io.ReadCloser, error) {
	if spare, found := spareXZ.Get().(*xzStream); found && spare.window == window {
		spare.ended = false
		return spare, spare.Reset(r)
	}
	reader, err := xz.NewReader(r, window)
	return &xzStream{Reader: reader, window: window}, err
}

func (s *xzStream) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	s.ended = err == io.EOF
	return n, err
}

func (s *xzStream) Close() error {
	if s.ended && s.window < MaxWindow {
		spareXZ.Put(s)
	}
	return nil
}

type zstdStream struct {
	*zstd.Decoder
	window uint32
	ended  bool
}

func openZstd(r io.Reader, window uint32) (io.ReadCloser, error) {
	if spare, found := spareZstd.Get().(*zstdStream); found && spare.window == window {
		spare.ended = false
		return spare, spare.Reset(r)
	}
	// With more than one goroutine it is slower: they do little each.
	decoder, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(uint64(window)))
	if err != nil {
		return nil, err
	}
	return &zstdStream{Decoder: decoder, window: window}, nil
}

func (s *zstdStream) Read(p []byte) (int, error) {
	n, err := s.Decoder.Read(p)
	s.ended = err == io.EOF
	return n, err
}

func (s *zstdStream) Close() error {
	if s.ended && s.window < MaxWindow {
		spareZstd.Put(s)
	} else {
		s.Decoder.Close()
	}
	return nil
}

// NewReader decompresses all streams that from holds; its end is reached when
// from ends, and anything there that is no such stream is an error. No stream
// may have a larger window, in bytes. An empty format is none. Errors of what
// is read are of the type Error.
func NewReader(format string, from io.Reader, window uint32) (io.ReadCloser, error) {
	if format == "" {
		format = "none"
	}
	open, found := openers[format]
	if !found {
		return nil, fmt.Errorf("unknown compression %q", format)
	}
	r := &reader{format: format, window: window, source: source{from: from}}
	stream, err := open(bufio.NewReaderSize(&r.source, 128<<10), window)
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
	window uint32
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
		return &Error{Format: r.format, Reason: "unexpected end"}
	case errors.Is(err, xz.ErrMemlimit), errors.Is(err, zstd.ErrWindowSizeExceeded),
		errors.Is(err, zstd.ErrDecoderSizeExceeded):
		reason := fmt.Sprintf("its window is larger than the %d MiB that are allowed", r.window>>20)
		return &Error{Format: r.format, Reason: reason, Wide: true}
	case errors.Is(err, zstd.ErrUnknownDictionary):
		return &Error{Format: r.format, Reason: "it was made with a dictionary, which is not here"}
	}
	return &Error{Format: r.format, Reason: err.Error()}
}
