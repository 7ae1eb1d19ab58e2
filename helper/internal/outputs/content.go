package outputs

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"nixbk/helper/internal/hashes"
	"nixbk/helper/internal/nar"
	"nixbk/helper/internal/refscan"
	"nixbk/helper/internal/rewrite"
	"nixbk/helper/internal/step"
	"nixbk/helper/internal/store"
	"nixbk/helper/internal/stream"
	"nixbk/helper/internal/tree"
)

// content is how an output's path follows from what it holds: for floating
// outputs, or to be what was promised for fixed ones.
type content struct {
	step.Floating
	expected *hashes.Hash
}

// newContent is nil for outputs whose paths follow from their inputs.
func newContent(s *step.Step, name step.Text) (*content, error) {
	c := new(content)
	if s.Fixed != nil {
		expected, err := hashes.Parse(s.Fixed.Hash)
		if err != nil {
			return nil, err
		}
		c.Method, c.Algorithm, c.expected = s.Fixed.Method, expected.Algorithm, &expected
	} else if floating, found := s.Floating[name]; found {
		c.Floating = floating
	} else {
		return nil, nil //nolint:nilnil // there is no content to speak of
	}
	switch c.Method {
	case "nar", "flat", "text", "git":
	default:
		return nil, fmt.Errorf("unknown method %q of a fixed output", c.Method)
	}
	_, err := hashes.Start(c.Algorithm)
	return c, err
}

// flat says whether the contents of one file are hashed, and no archive.
func (c *content) flat() bool { return c.Method == "flat" || c.Method == "text" }

// plain says whether the hash is that of the archive, as every output's is,
// as long as the object does not mention itself.
func (c *content) plain() bool { return c.Method == "nar" && c.Algorithm == "sha256" }

// hasher takes the archive of an object and is the content's hash.
type hasher interface {
	io.Writer
	Sum() ([]byte, error)
}

// known is a hash that needs no archive any more.
type known []byte

func (k known) Write(data []byte) (int, error) { return len(data), nil }
func (k known) Sum() ([]byte, error)           { return k, nil }

// modulo is the hash of an archive, or of the one file in it, without the
// object's own hash part.
type modulo struct {
	io.Writer
	*rewrite.Modulo
}

func (m modulo) Write(data []byte) (int, error) { return m.Writer.Write(data) }
func (m modulo) Sum() ([]byte, error)           { return m.Modulo.Sum(), nil }

func (c *content) hasher(base string) (hasher, error) {
	h, err := hashes.Start(c.Algorithm)
	if err != nil {
		return nil, err
	}
	if c.Method == "git" {
		return nar.NewGit(func() hash.Hash {
			h, _ := hashes.Start(c.Algorithm)
			return h
		}), nil
	}
	m := rewrite.NewModulo(h, hashPart(base), c.Positions)
	if c.flat() {
		return modulo{nar.NewFlat(m), m}, nil
	}
	return modulo{m, m}, nil
}

func hashPart(base string) string { return base[:min(len(base), refscan.HashLength)] }

// settle computes the content's hash, rewrites what the object says of
// outputs that have moved, and moves it to the path that follows. Whoever is
// in final has moved already; this one is added.
func (o *object) settle(in *store.Store, final map[string]string) error {
	if o.content.flat() && (o.node.Type != "regular" || o.node.Executable) {
		return step.Fail(step.IllegalOutput,
			"output path '%s' should be a non-executable regular file since recursive hashing is not enabled"+
				" (one of outputHashMode={flat,text} is true)", o.output.Path)
	}
	var moved []string
	for _, other := range o.mentions {
		if final[other] != "" {
			moved = append(moved, other)
		}
	}
	itself := slices.Contains(o.mentions, o.base)
	if len(moved) > 0 || (itself && o.content.plain()) {
		var err error
		if _, err = o.sum.Sum(); err != nil { // ends what it runs
			return err
		}
		if o.sum, err = o.content.hasher(o.base); err != nil {
			return err
		}
		if err := o.dump(in, chain(o.sum, moved, final)); err != nil {
			return err
		}
	}
	digest, err := o.sum.Sum()
	if err != nil {
		return err
	}
	got := hashes.Hash{Algorithm: o.content.Algorithm, Digest: digest}
	base, err := o.path(got, final)
	if err != nil {
		return err
	}
	if o.content.expected != nil {
		o.sum = known(digest)
		return nil
	}
	final[o.base] = base
	if itself {
		moved = append(moved, o.base)
	}
	if len(moved) > 0 {
		if err := o.rewrite(in, moved, final); err != nil {
			return err
		}
	}
	return o.move(in, base, got, final)
}

// path is the base name that follows from the hash and the references
// (makeFixedOutputPathFromCA, Nix src/libstore/store-dir-config.cc).
func (o *object) path(got hashes.Hash, final map[string]string) (string, error) {
	c := o.content
	_, name, _ := strings.Cut(o.base, "-")
	kind, itself := "", false
	for _, reference := range o.references(final) {
		if reference == o.output.Path {
			itself = true
		} else {
			kind += ":" + reference
		}
	}
	if itself {
		kind += ":self"
	}
	switch {
	case c.Method == "text" && itself:
		return "", step.Fail(step.IllegalOutput, "self-reference not allowed with text hashing")
	case c.Method == "text":
		return hashes.StorePath(step.StoreDir, "text"+kind, got, name), nil
	case c.Method == "git" && got.Algorithm != "sha1" && got.Algorithm != "sha256":
		return "", step.Fail(step.IllegalOutput,
			"Git file ingestion must use SHA-1 or SHA-256 hash, but instead using: %s", got.Algorithm)
	case c.plain():
		return hashes.StorePath(step.StoreDir, "source"+kind, got, name), nil
	case kind != "":
		return "", step.Fail(step.IllegalOutput, "fixed output derivation '%s' is not allowed to refer to"+
			" other store paths.\n  You may need to use the 'unsafeDiscardReferences' derivation attribute,"+
			" see the manual for more details.", name)
	}
	inner := sha256.Sum256([]byte("fixed:out:" + prefixes[c.Method] + got.Base16() + ":"))
	return hashes.StorePath(step.StoreDir, "output:out", hashes.Hash{Algorithm: "sha256", Digest: inner[:]}, name), nil
}

// prefixes are how methods appear in content addresses after "fixed:".
var prefixes = map[string]string{"flat": "", "nar": "r:", "git": "git:"}

// references are the object's, sorted, as they are once outputs have moved;
// one to itself stays as it was.
func (o *object) references(final map[string]string) []string {
	var references []string
	for _, reference := range o.output.References {
		base := strings.TrimPrefix(reference, step.StoreDir+"/")
		if now := final[base]; now != "" && base != o.base {
			reference = step.StoreDir + "/" + now
		}
		references = append(references, reference)
	}
	return slices.Sorted(slices.Values(references))
}

// chain rewrites the hash parts of what has moved, one after the other.
func chain(to io.Writer, moved []string, final map[string]string) io.WriteCloser {
	var out io.WriteCloser = ending{to}
	for _, base := range slices.Backward(slices.Sorted(slices.Values(moved))) {
		out = rewrite.New(out, hashPart(base), hashPart(final[base]))
	}
	return out
}

// ending is closed without what is below.
type ending struct{ io.Writer }

func (ending) Close() error { return nil }

// dump writes the object's archive.
func (o *object) dump(in *store.Store, to io.WriteCloser) error {
	sink := stream.NewFan(to)
	_, err := tree.NewTrustingRegistrar().Register(in.Fd(), o.base, o.output.Path, o.name, sink)
	sink.Close()
	if err != nil {
		return err
	}
	return to.Close()
}

// rewrite puts a copy in the object's place that says where outputs are now.
func (o *object) rewrite(in *store.Store, moved []string, final map[string]string) error {
	const fresh = ".nixbk-rewritten"
	if err := tree.Remove(in.Fd(), fresh); err != nil {
		return err
	}
	reader, writer := io.Pipe()
	narHash := sha256.New()
	restored := make(chan error)
	top := &tree.Top{}
	go func() {
		restorer := tree.NewRestorer(in.Fd(), fresh)
		defer restorer.Close()
		top.Sink = restorer
		err := nar.Read(bufio.NewReaderSize(reader, stream.BlockSize), top)
		_ = reader.CloseWithError(err)
		restored <- err
	}()
	err := o.dump(in, chain(io.MultiWriter(narHash, writer), moved, final))
	_ = writer.CloseWithError(err)
	if failed := <-restored; failed != nil {
		// A name in it has become one that sorts elsewhere, which Nix refuses too.
		if wrong := new(nar.Error); errors.As(failed, &wrong) {
			return step.Fail(step.IllegalOutput, "%s", wrong)
		}
		return fmt.Errorf("rewriting '%s': %w", o.output.Path, failed)
	}
	if err != nil {
		return err
	}
	if err := tree.Remove(in.Fd(), o.base); err != nil {
		return err
	}
	if err := unix.Renameat(in.Fd(), fresh, in.Fd(), o.base); err != nil {
		return err
	}
	o.output.NarHash = hashes.Hash{Algorithm: "sha256", Digest: narHash.Sum(nil)}.String()
	o.output.Type, o.output.Target = top.Kind, top.Target
	return nil
}

// move gives the object its path. An input of that path has the same content.
func (o *object) move(in *store.Store, base string, got hashes.Hash, final map[string]string) error {
	o.output.References = o.references(final)
	for i, reference := range o.output.References {
		if reference == o.output.Path {
			o.output.References[i] = step.StoreDir + "/" + base
		}
	}
	slices.Sort(o.output.References)
	o.output.Path = step.StoreDir + "/" + base
	o.output.ContentAddress = "fixed:" + prefixes[o.content.Method] + got.Nix32()
	if o.content.Method == "text" {
		o.output.ContentAddress = "text:" + got.Nix32()
	}
	if slices.Contains(in.Inputs, base) {
		o.output.Existing = true
		return tree.Remove(in.Fd(), o.base)
	}
	if base == o.base {
		return nil
	}
	if err := tree.Remove(in.Fd(), base); err != nil {
		return err
	}
	return unix.Renameat(in.Fd(), o.base, in.Fd(), base)
}

// check compares a fixed output with its promise.
func (c *content) check(o *object) error {
	digest, err := o.sum.Sum()
	if err != nil {
		return err
	}
	got := hashes.Hash{Algorithm: c.Algorithm, Digest: digest}
	if !got.Equal(*c.expected) {
		return step.Fail(step.HashMismatch,
			"hash mismatch in fixed-output derivation:\n  specified: %s\n     got:    %s", c.expected, got)
	}
	if count := len(o.output.References); count > 0 {
		return step.Fail(step.HashMismatch, "fixed-output derivations must not reference store paths:"+
			" '%s' references %d distinct paths, e.g. '%s'", o.output.Path, count, o.output.References[0])
	}
	return nil
}

// moveAll replaces the paths that outputs had.
func moveAll(list []step.Text, final map[string]string) []step.Text {
	if list == nil {
		return nil
	}
	out := make([]step.Text, 0, len(list))
	for _, entry := range list {
		if base, found := strings.CutPrefix(string(entry), step.StoreDir+"/"); found && final[base] != "" {
			entry = step.Text(step.StoreDir + "/" + final[base])
		}
		out = append(out, entry)
	}
	return out
}

// moveChecks says of the outputs' paths what was said of those they had.
func moveChecks(check step.Checks, final map[string]string) step.Checks {
	optional := func(list *[]step.Text) *[]step.Text {
		if list == nil {
			return nil
		}
		moved := moveAll(*list, final)
		return &moved
	}
	check.AllowedReferences = optional(check.AllowedReferences)
	check.AllowedRequisites = optional(check.AllowedRequisites)
	check.DisallowedReferences = moveAll(check.DisallowedReferences, final)
	check.DisallowedRequisites = moveAll(check.DisallowedRequisites, final)
	return check
}
