package nar

import (
	"hash"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Git is a writer that takes an archive and computes the hash Git has for its
// tree: of a blob for a file or link, else of a tree (dumpHash, Nix
// src/libutil/git.cc).
type Git struct {
	pipe *io.PipeWriter
	done chan struct{}
	sink gitSink
	err  error
}

// NewGit computes with the algorithm that start starts.
func NewGit(start func() hash.Hash) *Git {
	reader, writer := io.Pipe()
	g := &Git{pipe: writer, done: make(chan struct{}), sink: gitSink{start: start, open: []*gitTree{{}}}}
	go func() {
		defer close(g.done)
		g.err = Read(reader, &g.sink)
		_ = reader.CloseWithError(g.err)
	}()
	return g
}

func (g *Git) Write(data []byte) (int, error) {
	_, _ = g.pipe.Write(data)
	return len(data), nil
}

// Sum is the hash, once the whole archive is written.
func (g *Git) Sum() ([]byte, error) {
	_ = g.pipe.Close()
	<-g.done
	if g.err != nil {
		return nil, g.err
	}
	return g.sink.open[0].entries[0].digest, nil
}

type gitEntry struct {
	mode, name string
	digest     []byte
}

// gitTree is a folder whose entries are still coming.
type gitTree struct {
	name    string
	entries []gitEntry
}

type gitSink struct {
	start func() hash.Hash
	open  []*gitTree // the first holds nothing but the top
}

func (s *gitSink) add(mode, name string, digest []byte) {
	tree := s.open[len(s.open)-1]
	tree.entries = append(tree.entries, gitEntry{mode, name, digest})
}

// object starts the hash of an object of the kind and size given.
func (s *gitSink) object(kind string, size uint64) hash.Hash {
	h := s.start()
	_, _ = io.WriteString(h, kind+" "+strconv.FormatUint(size, 10)+"\x00")
	return h
}

func (s *gitSink) Directory(name string) error {
	s.open = append(s.open, &gitTree{name: name})
	return nil
}

func (s *gitSink) Leave() error {
	tree := s.open[len(s.open)-1]
	s.open = s.open[:len(s.open)-1]
	// Git sorts folders as if their names ended in a slash.
	key := func(e gitEntry) string {
		if e.mode == "40000" {
			return e.name + "/"
		}
		return e.name
	}
	slices.SortFunc(tree.entries, func(a, b gitEntry) int { return strings.Compare(key(a), key(b)) })
	var body []byte
	for _, e := range tree.entries {
		body = append(body, e.mode+" "+e.name+"\x00"...)
		body = append(body, e.digest...)
	}
	h := s.object("tree", uint64(len(body)))
	_, _ = h.Write(body)
	s.add("40000", tree.name, h.Sum(nil))
	return nil
}

func (s *gitSink) Symlink(name, target string) error {
	h := s.object("blob", uint64(len(target)))
	_, _ = io.WriteString(h, target)
	s.add("120000", name, h.Sum(nil))
	return nil
}

func (s *gitSink) Regular(name string, executable bool, size uint64, contents io.Reader) error {
	h := s.object("blob", size)
	if _, err := io.Copy(h, contents); err != nil {
		return err
	}
	mode := "100644"
	if executable {
		mode = "100755"
	}
	s.add(mode, name, h.Sum(nil))
	return nil
}
