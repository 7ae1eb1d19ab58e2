// Package unpack makes store objects of archives that come from elsewhere;
// nothing of them is believed before size and hash are what was signed.
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

	"nixbk/helper/internal/hashes"
	"nixbk/helper/internal/nar"
	"nixbk/helper/internal/step"
	"nixbk/helper/internal/store"
	"nixbk/helper/internal/tree"
)

// openers are the compressions of archives by the name narinfo files use.
var openers = map[string]func(io.Reader) (io.Reader, error){
	"":     func(r io.Reader) (io.Reader, error) { return r, nil },
	"none": func(r io.Reader) (io.Reader, error) { return r, nil },
}

// All unpacks every archive, as many at once as there are processors. The
// file of the i-th is source(i).
func All(nars []step.Nar, in *store.Store, source func(int) string) (map[string]step.Output, error) {
	outputs := make([]step.Output, len(nars))
	failures := make([]error, len(nars))
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(len(nars), runtime.NumCPU()) {
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

func one(n step.Nar, in *store.Store, source string) (step.Output, error) {
	path := string(n.Path)
	fail := func(err error) (step.Output, error) {
		failure := new(step.Failure)
		if errors.As(err, &failure) {
			return step.Output{}, err
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
	open, found := openers[n.Compression]
	if !found {
		return fail(fmt.Errorf("unknown compression %q", n.Compression))
	}
	file, err := os.OpenFile(source, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fail(err)
	}
	defer file.Close()
	archive, err := open(file)
	if err != nil {
		return fail(err)
	}
	top, err := restore(archive, n, expected, in, name)
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

func restore(archive io.Reader, n step.Nar, expected hashes.Hash, in *store.Store, name string) (*tree.Top, error) {
	if expected.Algorithm != "sha256" {
		return nil, fmt.Errorf("%s is no NAR hash", expected)
	}
	hash := sha256.New()
	source := newAhead(io.LimitReader(archive, int64(n.NarSize)+1), hash)
	restorer := tree.NewRestorer(in.Fd(), name)
	defer restorer.Close()
	top := &tree.Top{Sink: restorer}
	err := nar.Read(source, top)
	size := source.close()
	switch {
	case size > n.NarSize:
		return nil, step.Fail(step.HashMismatch, "the archive of '%s' is longer than its %d bytes", n.Path, n.NarSize)
	case err != nil:
		return nil, err
	case size != n.NarSize:
		return nil, step.Fail(step.HashMismatch,
			"the archive of '%s' has %d bytes instead of %d", n.Path, size, n.NarSize)
	}
	got := hashes.Hash{Algorithm: "sha256", Digest: hash.Sum(nil)}
	if !got.Equal(expected) {
		return nil, step.Fail(step.HashMismatch,
			"hash mismatch in the archive of '%s':\n  specified: %s\n     got:    %s", n.Path, expected, got)
	}
	return top, nil
}
