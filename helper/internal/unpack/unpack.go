// Package unpack makes store objects of compressed archives that come from
// elsewhere; nothing of them is believed before size and hash are what was
// signed, and no more is decompressed than that size.
package unpack

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"nixbk/helper/internal/compression"
	"nixbk/helper/internal/document"
	"nixbk/helper/internal/hashes"
	"nixbk/helper/internal/nar"
	"nixbk/helper/internal/step"
	"nixbk/helper/internal/store"
	"nixbk/helper/internal/stream"
	"nixbk/helper/internal/tree"
)

// atOnce is how many archives are unpacked at once: each has a window of its
// own in memory.
const atOnce = 4

// All unpacks every archive, several at once where there are processors for
// it. The file of the i-th is source(i).
func All(nars []document.Nar, in *store.Store, source func(int) string) (map[string]step.Output, error) {
	outputs := make([]step.Output, len(nars))
	failures := make([]error, len(nars))
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(len(nars), runtime.NumCPU(), atOnce) {
		workers.Go(func() {
			for i := range next {
				outputs[i], failures[i] = one(nars[i], in, source(i))
			}
		})
	}
	for i := range nars {
		next <- i
	}
	close(next)
	workers.Wait()
	for _, err := range failures {
		if err != nil {
			return nil, err
		}
	}
	byName := map[string]step.Output{}
	for _, output := range outputs {
		name, err := step.BaseName(output.Path)
		if err != nil {
			return nil, err
		}
		byName[name] = output
	}
	return byName, nil
}

func one(n document.Nar, in *store.Store, source string) (step.Output, error) {
	path := string(n.Path)
	fail := func(err error) (step.Output, error) {
		failure, archive, file := new(step.Failure), new(nar.Error), new(compression.Error)
		if errors.As(err, &failure) {
			return step.Output{}, err
		}
		if errors.As(err, &archive) || errors.As(err, &file) {
			return step.Output{}, step.Fail(step.HashMismatch, "unpacking '%s': %s", path, err)
		}
		return step.Output{}, fmt.Errorf("unpacking '%s': %w", path, err)
	}
	name, err := step.BaseName(path)
	if err != nil {
		return fail(err)
	}
	expected, err := hashes.Parse(n.NarHash)
	if err != nil {
		return fail(err)
	}
	if expected.Algorithm != "sha256" {
		return fail(fmt.Errorf("%s is no NAR hash", expected))
	}
	file, err := os.OpenFile(source, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fail(err)
	}
	defer file.Close()
	archive, err := compression.NewReader(n.Compression, file)
	if err != nil {
		return fail(err)
	}
	defer archive.Close()
	top, err := restore(archive, &n, expected, in, name)
	if err != nil {
		// Nothing unverified may stay.
		return fail(errors.Join(err, tree.Remove(in.Fd(), name)))
	}
	output := step.Output{
		Path: path, NarHash: expected.String(), NarSize: n.NarSize,
		Type: top.Kind, Target: top.Target,
	}
	for _, reference := range n.References {
		if _, err := step.BaseName(string(reference)); err != nil {
			return fail(err)
		}
		output.References = append(output.References, string(reference))
	}
	return output, nil
}

// top notes what the archive's top is and has it hashed if it is a file.
type top struct {
	tree.Top
	file io.Writer
}

func (t *top) Regular(name string, executable bool, size uint64, contents io.Reader) error {
	if t.Kind == "" && t.file != nil {
		contents = io.TeeReader(contents, t.file)
	}
	return t.Top.Regular(name, executable, size, contents)
}

func restore(
	archive io.Reader, n *document.Nar, expected hashes.Hash, in *store.Store, name string,
) (*top, error) {
	narHash := sha256.New()
	sinks := []io.Writer{narHash}
	restorer := tree.NewRestorer(in.Fd(), name)
	defer restorer.Close()
	top := &top{Top: tree.Top{Sink: restorer}}
	var content *content
	if n.ContentAddress != "" {
		var err error
		if content, err = newContent(n.ContentAddress, name); err != nil {
			return nil, err
		}
		top.file = content.file
		if content.archive != nil {
			sinks = append(sinks, content.archive)
		}
	}
	fan := stream.NewFan(sinks...)
	source := newAhead(io.LimitReader(archive, int64(n.NarSize)+1), fan)
	err := nar.Read(source, top)
	size := source.close()
	fan.Close()
	var wrong error
	if content != nil { // which ends what it runs, whatever else is wrong
		wrong = content.check(&n.Nar, top.Kind)
	}
	got := hashes.Hash{Algorithm: "sha256", Digest: narHash.Sum(nil)}
	switch {
	case size > n.NarSize:
		return nil, step.Fail(step.HashMismatch, "the archive of '%s' is longer than its %d bytes", n.Path, n.NarSize)
	case err != nil:
		return nil, err
	case size != n.NarSize:
		return nil, step.Fail(step.HashMismatch,
			"the archive of '%s' has %d bytes instead of %d", n.Path, size, n.NarSize)
	case !got.Equal(expected):
		return nil, step.Fail(step.HashMismatch,
			"hash mismatch in the archive of '%s':\n  specified: %s\n     got:    %s", n.Path, expected, got)
	}
	return top, wrong
}
