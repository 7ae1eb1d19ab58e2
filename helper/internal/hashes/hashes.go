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
	"encoding/hex"
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

// Start starts a computation with the algorithm of that name.
func Start(algorithm string) (hash.Hash, error) {
	start, found := algorithms[algorithm]
	if !found {
		return nil, fmt.Errorf("unknown hash algorithm %q", algorithm)
	}
	return start(), nil
}

// Base16 is algorithm:hexadecimal.
func (h Hash) Base16() string { return h.Algorithm + ":" + hex.EncodeToString(h.Digest) }

// Nix32 is algorithm:digits of Nix's base 32, the last digit first.
func (h Hash) Nix32() string { return h.Algorithm + ":" + nix32(h.Digest) }

// Digits are the digits of Nix's base 32, in the order of their values.
const Digits = "0123456789abcdfghijklmnpqrsvwxyz"

func nix32(digest []byte) string {
	out := make([]byte, 0, (len(digest)*8+4)/5)
	for n := cap(out) - 1; n >= 0; n-- {
		i, j := n*5/8, n*5%8
		value := digest[i] >> j
		if i+1 < len(digest) {
			value |= digest[i+1] << (8 - j)
		}
		out = append(out, Digits[value&31])
	}
	return string(out)
}

// StorePath is the base name of the object called name that type and hash
// identify (makeStorePath, Nix src/libstore/store-dir-config.cc).
func StorePath(store, kind string, h Hash, name string) string {
	full := sha256.Sum256([]byte(kind + ":" + h.Base16() + ":" + store + ":" + name))
	folded := make([]byte, 20)
	for i, c := range full {
		folded[i%len(folded)] ^= c
	}
	return nix32(folded) + "-" + name
}

// Equal compares algorithm and digest.
func (h Hash) Equal(other Hash) bool {
	return h.Algorithm == other.Algorithm && bytes.Equal(h.Digest, other.Digest)
}

func (h Hash) String() string {
	return h.Algorithm + "-" + base64.StdEncoding.EncodeToString(h.Digest)
}
