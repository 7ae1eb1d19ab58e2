// Package refscan finds which of a set of store paths a stream of bytes
// mentions, by the 32 characters of their hash parts (RefScanSink and
// PathRefScanSink, Nix src/libstore/references.cc).
package refscan

import (
	"maps"
	"slices"
	"strings"
)

// HashLength is the number of characters of a store path's hash part.
const HashLength = 32

const (
	prefixDigits = 4
	prefixBits   = 5 * prefixDigits
)

const alphabet = "0123456789abcdfghijklmnpqrsvwxyz"

// digits holds each base-32 digit's value plus one, and 0 for other bytes.
var digits = func() (table [256]uint8) {
	for i := range len(alphabet) {
		table[alphabet[i]] = uint8(i + 1)
	}
	return table
}()

// Scanner is a writer that looks for hash parts; parts that span writes are
// found as well.
type Scanner struct {
	wanted map[[HashLength]byte]string
	// filter has a bit for the first digits of each wanted hash, so that long
	// runs of digits (hexadecimal dumps, say) cost no look-up each.
	filter [1 << prefixBits / 64]uint64
	found  map[string]struct{}
	tail   []byte
}

// New looks for the base names given; those that start with no hash part are
// left out.
func New(names []string) *Scanner {
	s := &Scanner{
		wanted: make(map[[HashLength]byte]string, len(names)),
		found:  map[string]struct{}{},
		tail:   make([]byte, 0, 2*HashLength),
	}
	for _, name := range names {
		part, rest, _ := strings.Cut(name, "-")
		if len(part) != HashLength || rest == "" || strings.Trim(part, alphabet) != "" {
			continue
		}
		s.wanted[[HashLength]byte([]byte(part))] = name
		bit := prefix([]byte(part))
		s.filter[bit/64] |= 1 << (bit % 64)
	}
	return s
}

// prefix packs the first digits of a hash.
func prefix(hash []byte) uint {
	bits := uint(0)
	for _, c := range hash[:prefixDigits] {
		bits = bits<<5 | uint(digits[c]-1)
	}
	return bits
}

// Write scans data and never fails.
func (s *Scanner) Write(data []byte) (int, error) {
	if len(s.wanted) == 0 {
		return len(data), nil
	}
	head := min(len(data), HashLength-1)
	s.tail = append(s.tail, data[:head]...)
	s.search(s.tail)
	s.search(data)
	if len(data) >= HashLength-1 {
		s.tail = append(s.tail[:0], data[len(data)-(HashLength-1):]...)
	} else if extra := len(s.tail) - (HashLength - 1); extra > 0 {
		s.tail = append(s.tail[:0], s.tail[extra:]...)
	}
	return len(data), nil
}

func (s *Scanner) search(data []byte) {
	for i := 0; i+HashLength <= len(data); {
		// From the window's end backwards: the first byte that is no digit
		// rules out every window that holds it.
		window := data[i : i+HashLength : i+HashLength]
		j := HashLength - 1
		for j >= 0 && digits[window[j]] != 0 {
			j--
		}
		if j >= 0 {
			i += j + 1
			continue
		}
		// All digits: the run goes on for as long as the next byte is one.
		for bits := prefix(window); ; {
			if s.filter[bits/64]&(1<<(bits%64)) != 0 {
				s.look(data[i:])
			}
			next := i + HashLength
			if next >= len(data) || digits[data[next]] == 0 {
				i = next + 1
				break
			}
			bits = (bits<<5 | uint(digits[data[i+prefixDigits]]-1)) & (1<<prefixBits - 1)
			i++
		}
	}
}

// look takes the hash at the start of data off the wanted list if it is there.
func (s *Scanner) look(data []byte) {
	key := [HashLength]byte(data)
	if name, found := s.wanted[key]; found {
		s.found[name] = struct{}{}
		delete(s.wanted, key)
	}
}

// Found lists the base names seen so far, sorted.
func (s *Scanner) Found() []string {
	return slices.Sorted(maps.Keys(s.found))
}
