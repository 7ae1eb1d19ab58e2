package unpack

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"nixbk/helper/internal/hashes"
	"nixbk/helper/internal/nar"
	"nixbk/helper/internal/rewrite"
	"nixbk/helper/internal/step"
)

// content checks that a path follows from what is in it, which is what makes
// a signature unnecessary (LocalStore::addToStore, Nix
// src/libstore/local-store.cc).
type content struct {
	// One of them takes what is hashed: the archive, or the file at its top.
	archive, file io.Writer

	address   string
	method    string // text, flat, nar or git
	algorithm string
	sum       func() ([]byte, error)
}

// newContent reads a content address as narinfo files have it:
//
//	address = "text:" hash | "fixed:" [ "r:" | "git:" ] hash
//	hash    = algorithm ":" digits
func newContent(address, base string) (*content, error) {
	c := &content{address: address}
	method, rest, _ := strings.Cut(address, ":")
	switch method {
	case "text":
		c.method = "text"
	case "fixed":
		c.method = "flat"
		for prefix, method := range map[string]string{"r:": "nar", "git:": "git"} {
			if after, found := strings.CutPrefix(rest, prefix); found {
				c.method, rest = method, after
			}
		}
	default:
		return nil, fmt.Errorf("unknown content address %q", address)
	}
	c.algorithm, _, _ = strings.Cut(rest, ":")
	h, err := hashes.Start(c.algorithm)
	if err != nil {
		return nil, fmt.Errorf("content address %q: %w", address, err)
	}
	if c.method == "git" {
		git := nar.NewGit(func() hash.Hash {
			h, _ := hashes.Start(c.algorithm)
			return h
		})
		c.archive, c.sum = git, git.Sum
		return c, nil
	}
	// As everywhere in Nix 2.34 the object's own hash part counts as zeros,
	// and where it was does not count.
	part, _, _ := strings.Cut(base, "-")
	if part == "" {
		return nil, fmt.Errorf("%q has no hash part", base)
	}
	modulo := rewrite.NewModulo(h, part, false)
	c.sum = func() ([]byte, error) { return modulo.Sum(), nil }
	if c.method == "nar" {
		c.archive = modulo
	} else {
		c.file = modulo
	}
	return c, nil
}

// check says whether what was hashed has the address, and whether it and the
// references make the path. The kind is that of the archive's top.
func (c *content) check(n *step.Nar, kind string) error {
	digest, err := c.sum()
	if err != nil {
		return err
	}
	if c.file != nil && kind != "regular" {
		return step.Fail(step.HashMismatch,
			"'%s' is a %s, and its content address %s that of a file", n.Path, kind, c.address)
	}
	got := hashes.Hash{Algorithm: c.algorithm, Digest: digest}
	prefix := c.address[:strings.Index(c.address, c.algorithm+":")]
	spellings := []string{
		got.Nix32(), got.Base16(), c.algorithm + ":" + base64.StdEncoding.EncodeToString(digest),
	}
	if !slices.Contains(spellings, c.address[len(prefix):]) {
		return step.Fail(step.HashMismatch,
			"hash mismatch in the content of '%s':\n  specified: %s\n     got:    %s", n.Path, c.address, prefix+got.Nix32())
	}
	base, err := c.path(n, got)
	if err != nil {
		return err
	}
	if path := step.StoreDir + "/" + base; path != string(n.Path) {
		return step.Fail(step.HashMismatch,
			"the path '%s' does not follow from its content, which makes it '%s'", n.Path, path)
	}
	return nil
}

// path is the base name that content and references make
// (makeFixedOutputPathFromCA, Nix src/libstore/store-dir-config.cc).
func (c *content) path(n *step.Nar, got hashes.Hash) (string, error) {
	_, name, _ := strings.Cut(strings.TrimPrefix(string(n.Path), step.StoreDir+"/"), "-")
	kind, itself := "", false
	for _, reference := range slices.Sorted(slices.Values(n.References)) {
		if reference == n.Path {
			itself = true
		} else {
			kind += ":" + string(reference)
		}
	}
	if itself {
		kind += ":self"
	}
	switch {
	case c.method == "text" && got.Algorithm == "sha256" && !itself:
		return hashes.StorePath(step.StoreDir, "text"+kind, got, name), nil
	case c.method == "nar" && got.Algorithm == "sha256":
		return hashes.StorePath(step.StoreDir, "source"+kind, got, name), nil
	case c.method == "text" || kind != "":
		return "", step.Fail(step.HashMismatch,
			"'%s' has the content address %s, with which no object refers to what it refers to", n.Path, c.address)
	}
	prefix := map[string]string{"flat": "", "nar": "r:", "git": "git:"}[c.method]
	inner := sha256.Sum256([]byte("fixed:out:" + prefix + got.Base16() + ":"))
	return hashes.StorePath(step.StoreDir, "output:out", hashes.Hash{Algorithm: "sha256", Digest: inner[:]}, name), nil
}
