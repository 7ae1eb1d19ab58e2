package refscan

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

const (
	hashA = "0123456789abcdfghijklmnpqrsvwxyz"
	hashB = "zyxwvsrqpnmlkjihgfdcba9876543210"
	nameA = hashA + "-a"
	nameB = hashB + "-b-1.0"
)

// TestFound looks for two names in texts cut at every position.
func TestFound(t *testing.T) {
	cases := map[string]struct {
		text string
		want []string
	}{
		"nothing":                 {"", nil},
		"hash alone":              {hashA, []string{nameA}},
		"path":                    {"/nix/store/" + nameA + "/bin/sh", []string{nameA}},
		"inside a longer run":     {"abc" + hashA + "xyz", []string{nameA}},
		"two that touch":          {hashB + hashA, []string{nameA, nameB}},
		"twice":                   {hashA + " " + hashA, []string{nameA}},
		"one character is wrong":  {strings.Replace(hashA, "7", "e", 1), nil},
		"one character is absent": {hashA[1:], nil},
		"capitals":                {strings.ToUpper(hashA), nil},
		"after binary":            {"\x00\xff" + hashB + "\x00", []string{nameB}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for cut := range len(c.text) + 1 {
				s := New([]string{nameA, nameB})
				_, _ = s.Write([]byte(c.text[:cut]))
				_, _ = s.Write([]byte(c.text[cut:]))
				if got := s.Found(); !slices.Equal(got, c.want) {
					t.Fatalf("cut at %d: expected %q, got %q", cut, c.want, got)
				}
			}
			s := New([]string{nameA, nameB})
			for i := range len(c.text) {
				_, _ = s.Write([]byte{c.text[i]})
			}
			if got := s.Found(); !slices.Equal(got, c.want) {
				t.Fatalf("byte by byte: expected %q, got %q", c.want, got)
			}
		})
	}
}

// TestCandidates leaves out names that begin with no hash part.
func TestCandidates(t *testing.T) {
	s := New([]string{nameA, "lost+found", hashB, "E" + hashB[1:] + "-x", ".links"})
	_, _ = s.Write([]byte(hashA + hashB + ".links"))
	if got, want := s.Found(), []string{nameA}; !slices.Equal(got, want) {
		t.Fatalf("expected %q, got %q", want, got)
	}
}

// naive is the law: every window that is a wanted hash.
func naive(names []string, text []byte) []string {
	var found []string
	for _, name := range names {
		if bytes.Contains(text, []byte(name[:HashLength])) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte(hashA+hashB), uint64(1))
	f.Add([]byte("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), uint64(7))
	f.Fuzz(func(t *testing.T, noise []byte, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 0))
		names := []string{nameA, nameB, strings.Repeat("a", HashLength) + "-c"}
		text := slices.Clone(noise)
		for range random.IntN(4) {
			hash := names[random.IntN(len(names))][:HashLength]
			text = slices.Insert(text, random.IntN(len(text)+1), []byte(hash)...)
		}
		s := New(names)
		for rest := text; len(rest) > 0; {
			n := 1 + random.IntN(len(rest))
			_, _ = s.Write(rest[:n])
			rest = rest[n:]
		}
		if got, want := s.Found(), naive(names, text); !slices.Equal(got, want) {
			t.Fatalf("expected %q, got %q in %q", want, got, text)
		}
	})
}

func BenchmarkScanner(b *testing.B) {
	random := rand.NewChaCha8([32]byte{})
	binary := make([]byte, 1<<20)
	_, _ = random.Read(binary)
	digits := make([]byte, len(binary))
	for i, c := range binary {
		digits[i] = alphabet[c%32]
	}
	names := make([]string, 1000)
	for i := range names {
		part := make([]byte, HashLength)
		for j := range part {
			part[j] = alphabet[random.Uint64()%32]
		}
		names[i] = string(part) + "-x"
	}
	for name, data := range map[string][]byte{"binary": binary, "digits": digits} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				_, _ = New(names).Write(data)
			}
		})
	}
}
