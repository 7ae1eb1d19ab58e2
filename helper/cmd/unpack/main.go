// Command unpack is the helper for steps that build nothing: it makes store
// objects of Nix archives and archives of store objects, joins result files,
// and copies store objects into one tree. It is a program of its own so that
// a change of it leaves the cache keys of builds alone.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"nixbk/helper/internal/compare"
	"nixbk/helper/internal/document"
	"nixbk/helper/internal/pack"
	"nixbk/helper/internal/run"
	"nixbk/helper/internal/step"
	"nixbk/helper/internal/store"
	"nixbk/helper/internal/tree"
	"nixbk/helper/internal/unpack"
)

func main() {
	document.Main(map[string]func(*document.Document) error{
		"unpack": unpackNars, "pack": packObject, "collect": collect, "assemble": assemble,
		"compare": compareTrees,
	})
}

// unpackNars leaves no result: all of it was known before.
func unpackNars(d *document.Document) error {
	last := 0
	for _, n := range d.Nars {
		last = max(last, n.Root)
	}
	if last > len(d.Nars) {
		return fmt.Errorf("there are %d archives, and one of them is for root %d", len(d.Nars), last)
	}
	stores := make([]*store.Store, last+1)
	for i := range stores {
		in, err := store.Open(root(i))
		if err != nil {
			return err
		}
		stores[i] = in
	}
	err := unpack.All(d.Nars, stores, func(i int) string {
		return filepath.Join(run.Dir, "nar", strconv.Itoa(i))
	})
	if err != nil {
		return err
	}
	// The container's own comes last: it has the places of all others.
	for i := last; i >= 0; i-- {
		if err := finish(root(i), stores[i]); err != nil {
			return err
		}
	}
	return nil
}

// root is where a file system for objects is mounted.
func root(i int) string {
	if i == 0 {
		return "/"
	}
	return filepath.Join(run.Dir, "root", strconv.Itoa(i))
}

// packObject makes the file that a binary cache has for a mounted object.
func packObject(d *document.Document) error {
	if err := os.MkdirAll(run.Results, 0o755); err != nil {
		return err
	}
	packed, err := pack.InStore(step.StoreDir, string(d.Path), string(d.Links[d.Path]), d.Compression, run.Results)
	if err != nil {
		return fmt.Errorf("packing '%s': %w", d.Path, err)
	}
	return result("result.json", packed.JSON())
}

// collect joins the result files of earlier steps, one line each.
func collect(*document.Document) error {
	var lines bytes.Buffer
	for i := 0; ; i++ {
		path := filepath.Join(run.Dir, "in", strconv.Itoa(i), "result.json")
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
		if !bytes.HasSuffix(data, []byte("}\n")) || bytes.Count(data, []byte("\n")) != 1 {
			return fmt.Errorf("%s is not one line", path)
		}
		lines.Write(data)
	}
	return result("results.jsonl", lines.Bytes())
}

// assemble copies store objects, each mounted by itself, into the store.
func assemble(d *document.Document) error {
	in, err := store.Open("/")
	if err != nil {
		return err
	}
	for i, path := range d.Paths {
		name, err := step.BaseName(string(path))
		if err != nil {
			return err
		}
		from := filepath.Join(run.Dir, "from", strconv.Itoa(i))
		if err := tree.CopyTree(in.Fd(), name, unix.AT_FDCWD, from); err != nil {
			return fmt.Errorf("copying '%s': %w", path, err)
		}
	}
	for path, target := range d.Links {
		name, err := step.BaseName(string(path))
		if err != nil {
			return err
		}
		if err := in.Symlink(name, string(target)); err != nil {
			return err
		}
	}
	return finish("/", in)
}

// compareTrees says what differs between two builds of one object.
func compareTrees(*document.Document) error {
	found, more, err := compare.Trees(filepath.Join(run.Dir, "a"), filepath.Join(run.Dir, "b"))
	if err != nil {
		return err
	}
	return result("differences.json", compare.JSON(found, more))
}

// result writes the one file of a step that leaves the store alone.
func result(name string, data []byte) error {
	if err := run.WriteResult(name, data); err != nil {
		return err
	}
	return store.ResetTimes("/")
}

func finish(root string, in *store.Store) error {
	if err := unix.Fchmod(in.Fd(), 0o755); err != nil {
		return err
	}
	return store.ResetTimes(root)
}
