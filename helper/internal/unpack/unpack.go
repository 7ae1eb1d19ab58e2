// Package unpack makes store objects of compressed archives that come from
// elsewhere; nothing of them is believed before size and hash are what was
// signed, and no more is decompressed than that size.
package unpack

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
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

// Each archive that is unpacked has a window of its own in memory. At most
// atOnce are, with windows no larger than narrow: together as much as
// compression.MaxWindow, which is what one alone may have.
const (
	atOnce = 8
	narrow = compression.MaxWindow / atOnce
)

// besides is how much memory all but the windows takes, in bytes.
const besides = 64 << 20

// unpacker unpacks archives into several stores.
type unpacker struct {
	stores []*store.Store
	// alone is held for writing by who has a window that is not narrow, for
	// reading by all others.
	alone sync.RWMutex
}

// All unpacks every archive into the store that it is to lie in, several at
// once where there are processors for it. The file of the i-th is source(i).
// Of several errors that of the first archive is returned, whichever came
// first.
func All(nars []document.Nar, stores []*store.Store, source func(int) string) error {
	debug.SetMemoryLimit(besides + compression.MaxWindow)
	u := &unpacker{stores: stores}
	failures := make([]error, len(nars))
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(len(nars), runtime.GOMAXPROCS(0), atOnce) {
		workers.Go(func() {
			for i := range next {
				failures[i] = u.one(nars[i], source(i))
			}
		})
	}
	for _, i := range largestFirst(nars) {
		next <- i
	}
	close(next)
	workers.Wait()
	for _, err := range failures {
		if err != nil {
			return err
		}
	}
	return nil
}

// largestFirst is the order that keeps all processors busy until the end.
func largestFirst(nars []document.Nar) []int {
	order := make([]int, len(nars))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(nars[b].NarSize, nars[a].NarSize) })
	return order
}

func (u *unpacker) one(n document.Nar, source string) error {
	err := u.verified(&n, source)
	failure, archive, file := new(step.Failure), new(nar.Error), new(compression.Error)
	switch {
	case err == nil, errors.As(err, &failure):
		return err
	case errors.As(err, &archive), errors.As(err, &file):
		return step.Fail(step.HashMismatch, "unpacking '%s': %s", n.Path, err)
	}
	return fmt.Errorf("unpacking '%s': %w", n.Path, err)
}

func (u *unpacker) verified(n *document.Nar, source string) error {
	name, err := step.BaseName(string(n.Path))
	if err != nil {
		return err
	}
	if n.Root < 0 || n.Root >= len(u.stores) {
		return fmt.Errorf("there is no root %d for it", n.Root)
	}
	expected, err := hashes.Parse(n.NarHash)
	if err != nil {
		return err
	}
	if expected.Algorithm != "sha256" {
		return fmt.Errorf("%s is no NAR hash", expected)
	}
	for _, reference := range n.References {
		if _, err := step.BaseName(string(reference)); err != nil {
			return err
		}
	}
	return u.object(n, expected, name, source)
}

// object unpacks an archive beside others, and alone if its window asks for it.
func (u *unpacker) object(n *document.Nar, expected hashes.Hash, name, source string) error {
	u.alone.RLock()
	err := u.attempt(n, expected, name, source, narrow)
	u.alone.RUnlock()
	if file := new(compression.Error); !errors.As(err, &file) || !file.Wide {
		return err
	}
	u.alone.Lock()
	defer u.alone.Unlock()
	// The limit of memory is a wish: what was a window is collected before
	// another one takes its place.
	runtime.GC()
	defer runtime.GC()
	return u.attempt(n, expected, name, source, compression.MaxWindow)
}

func (u *unpacker) attempt(
	n *document.Nar, expected hashes.Hash, name, source string, window uint32,
) error {
	file, err := os.OpenFile(source, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	archive, err := compression.NewReader(n.Compression, file, window)
	if err != nil {
		return err
	}
	defer archive.Close()
	in := u.stores[n.Root]
	err = restore(archive, n, expected, in, name)
	if err != nil {
		// Nothing unverified may stay.
		return errors.Join(err, tree.Remove(in.Fd(), name))
	}
	return nil
}

// top notes what the archive's top is and has it hashed if it is a file.
type top struct {
	tree.Top
	file   io.Writer
	source *ahead
}

func (t *top) Regular(name string, executable bool, size uint64, contents io.Reader) error {
	if t.Kind == "" && t.file != nil {
		contents = io.TeeReader(contents, t.file)
	} else if limited, is := contents.(*io.LimitedReader); is && limited.R == io.Reader(t.source) {
		contents = &direct{limited, t.source}
	}
	return t.Top.Regular(name, executable, size, contents)
}

func restore(
	archive io.Reader, n *document.Nar, expected hashes.Hash, in *store.Store, name string,
) error {
	narHash := sha256.New()
	sinks := []io.Writer{narHash}
	restorer := tree.NewRestorer(in.Fd(), name)
	defer restorer.Close()
	top := &top{Top: tree.Top{Sink: restorer}}
	var content *content
	if n.ContentAddress != "" {
		var err error
		if content, err = newContent(n.ContentAddress, name); err != nil {
			return err
		}
		top.file = content.file
		if content.archive != nil {
			sinks = append(sinks, content.archive)
		}
	}
	fan := stream.NewFan(sinks...)
	top.source = newAhead(io.LimitReader(archive, int64(n.NarSize)+1), fan)
	err := nar.Read(top.source, top)
	size := top.source.close()
	fan.Close()
	var wrong error
	if content != nil { // which ends what it runs, whatever else is wrong
		wrong = content.check(&n.Nar, top.Kind)
	}
	got := hashes.Hash{Algorithm: "sha256", Digest: narHash.Sum(nil)}
	switch {
	case size > n.NarSize:
		return step.Fail(step.HashMismatch, "the archive of '%s' is longer than its %d bytes", n.Path, n.NarSize)
	case err != nil:
		return err
	case size != n.NarSize:
		return step.Fail(step.HashMismatch,
			"the archive of '%s' has %d bytes instead of %d", n.Path, size, n.NarSize)
	case !got.Equal(expected):
		return step.Fail(step.HashMismatch,
			"hash mismatch in the archive of '%s':\n  specified: %s\n     got:    %s", n.Path, expected, got)
	}
	return wrong
}
