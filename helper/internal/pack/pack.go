// Package pack makes the file that a binary cache has for a store object.
package pack

import (
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"strconv"

	"golang.org/x/sys/unix"

	"nixbk/helper/internal/compression"
	"nixbk/helper/internal/hashes"
	"nixbk/helper/internal/nar"
	"nixbk/helper/internal/step"
	"nixbk/helper/internal/stream"
	"nixbk/helper/internal/tree"
)

// Name is what the file is called.
const Name = "nar"

// Packed is what a narinfo file says of the file, and of the archive in it.
type Packed struct {
	Path, Compression string
	FileHash, NarHash hashes.Hash
	FileSize, NarSize uint64
}

// Object writes the compressed archive of the entry of the store into the
// folder to. A link, which no mount can bring, is given by its target.
func Object(in int, path, target, format string, to int) (*Packed, error) {
	name, err := step.BaseName(path)
	if err != nil {
		return nil, err
	}
	if err := tree.Remove(to, Name); err != nil {
		return nil, err
	}
	created, err := tree.Create(to, Name)
	if err != nil {
		return nil, err
	}
	file := &file{File: created, hash: sha256.New()}
	compressor, err := compression.NewWriter(format, file)
	if err != nil {
		file.Discard()
		return nil, err
	}
	narHash, compressed := sha256.New(), &lasting{to: compressor}
	fan := stream.NewFan(narHash, compressed)
	if target != "" {
		nar.NewWriter(fan).Strings("(", "type", "symlink", "target", target, ")")
	} else {
		err = (&dump{nar.NewWriter(fan), fan}).node(in, name, path, 0)
	}
	fan.Close()
	if err := errors.Join(err, compressed.err, compressor.Close()); err != nil {
		file.Discard()
		return nil, err
	}
	return &Packed{
		Path: path, Compression: format, FileSize: file.size, NarSize: fan.Size(),
		FileHash: hashes.Hash{Algorithm: "sha256", Digest: file.hash.Sum(nil)},
		NarHash:  hashes.Hash{Algorithm: "sha256", Digest: narHash.Sum(nil)},
	}, file.Finish(false)
}

// InStore packs an object of the store at path, into the folder at results.
func InStore(store, path, target, format, results string) (*Packed, error) {
	in, err := tree.OpenDir(unix.AT_FDCWD, store)
	if err != nil {
		return nil, err
	}
	defer unix.Close(in)
	to, err := tree.OpenDir(unix.AT_FDCWD, results)
	if err != nil {
		return nil, err
	}
	defer unix.Close(to)
	return Object(in, path, target, format, to)
}

// JSON is canonical: keys sorted, no spaces, a newline at the end.
func (p *Packed) JSON() []byte {
	b := step.AppendJSON([]byte(`{"compression":`), p.Compression)
	b = step.AppendJSON(append(b, `,"fileHash":`...), p.FileHash.String())
	b = strconv.AppendUint(append(b, `,"fileSize":`...), p.FileSize, 10)
	b = step.AppendJSON(append(b, `,"narHash":`...), p.NarHash.String())
	b = strconv.AppendUint(append(b, `,"narSize":`...), p.NarSize, 10)
	b = step.AppendJSON(append(b, `,"path":`...), p.Path)
	return append(b, ",\"version\":1}\n"...)
}

// file counts and hashes what is written to it.
type file struct {
	*tree.File
	hash hash.Hash
	size uint64
}

func (f *file) Write(data []byte) (int, error) {
	n, err := f.File.Write(data)
	_, _ = f.hash.Write(data[:n])
	f.size += uint64(n)
	return n, err
}

// lasting keeps the first error: a fan takes no notice of any.
type lasting struct {
	to  io.Writer
	err error
}

func (l *lasting) Write(data []byte) (int, error) {
	if l.err == nil {
		_, l.err = l.to.Write(data)
	}
	return len(data), l.err
}
