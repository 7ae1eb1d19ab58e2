// Package hashes reads and prints hashes as Subresource Integrity has them
// (algorithm-base64), which is the only spelling the protocol knows.
package hashes

import (
	"bytes"
	"crypto/md5"  //nolint:gosec // Nix derivations may be pinned by it
	"crypto/sha1" //nolint:gosec // the same
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash"
	"strings"
)

var algorithms = map[string]func() hash.Hash{
	"md5":    md5.New,
	"sha1":   sha1.New,
	"sha256": sha256.New,
	"sha512": sha512.New,
}

// Hash is an algorithm's name and a digest of its length.
type Hash struct {
	Algorithm string
	Digest    []byte
}

// Parse reads algorithm-base64.
func Parse(text string) (Hash, error) {
	name, encoded, _ := strings.Cut(text, "-")
	algorithm, found := algorithms[name]
	if !found {
		return Hash{}, fmt.Errorf("%q has an unknown hash algorithm", text)
	}
	digest, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(digest) != algorithm().Size() {
		return Hash{}, fmt.Errorf("%q is no %s hash", text, name)
	}
	return Hash{name, digest}, nil
}

// New starts a computation with the hash's algorithm.
func (h Hash) New() hash.Hash { return algorithms[h.Algorithm]() }

// Equal compares algorithm and digest.
func (h Hash) Equal(other Hash) bool {
	return h.Algorithm == other.Algorithm && bytes.Equal(h.Digest, other.Digest)
}

func (h Hash) String() string {
	return h.Algorithm + "-" + base64.StdEncoding.EncodeToString(h.Digest)
}
