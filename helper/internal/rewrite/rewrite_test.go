package rewrite

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

const (
	from = "0123456789abcdfghijklmnpqrsvwxyz"
	into = "zyxwvsrqpnmlkjihgfdcba9876543210"
)

// naive is the law: the first match is replaced until there is none.
func naive(text string) string {
	for start := 0; ; {
		i := strings.Index(text[start:], from)
		if i < 0 {
			return text
		}
		start += i
		text = text[:start] + into + text[start+len(from):]
	}
}

// TestWriter replaces in texts cut at every position.
func TestWriter(t *testing.T) {
	for _, text := range []string{
		"", "x", from, from[1:], "a" + from + from + "b", from[:31] + from, strings.Repeat(from+"-", 5), from + from[1:],
	} {
		want := naive(text)
		for cut := range len(text) + 1 {
			var got bytes.Buffer
			w := New(&got, from, into)
			_, _ = w.Write([]byte(text[:cut]))
			_, _ = w.Write([]byte(text[cut:]))
			if err := w.Close(); err != nil || got.String() != want {
				t.Fatalf("cut at %d: expected %q, got %q, %v", cut, want, got.String(), err)
			}
		}
	}
}

// FuzzWriter holds that pieces do not matter.
func FuzzWriter(f *testing.F) {
	f.Add([]byte("some noise"), uint64(1))
	f.Fuzz(func(t *testing.T, noise []byte, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 0))
		text := slices.Clone(noise)
		for range random.IntN(5) {
			text = slices.Insert(text, random.IntN(len(text)+1), []byte(from[:32-random.IntN(2)])...)
		}
		kept := slices.Clone(text)
		var got bytes.Buffer
		w := New(&got, from, into)
		for rest := text; len(rest) > 0; {
			n := 1 + random.IntN(min(len(rest), 40))
			_, _ = w.Write(rest[:n])
			rest = rest[n:]
		}
		_ = w.Close()
		if want := naive(string(kept)); got.String() != want {
			t.Fatalf("expected %q, got %q", want, got.String())
		}
		if !bytes.Equal(text, kept) {
			t.Fatal("what was written has changed")
		}
	})
}

type broken struct{}

var errBroken = errors.New("broken")

func (broken) Write([]byte) (int, error) { return 0, errBroken }

// TestSame leaves alone what would be replaced by itself.
func TestSame(t *testing.T) {
	var got bytes.Buffer
	w := New(&got, from, from)
	_, _ = w.Write([]byte(from + from))
	if err := w.Close(); err != nil || got.String() != from+from {
		t.Errorf("got %q, %v", got.String(), err)
	}
}

// TestBroken tells of a writer below that fails.
func TestBroken(t *testing.T) {
	w := New(broken{}, from, into)
	if _, err := w.Write([]byte(strings.Repeat("x", 100))); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
	if _, err := w.Write([]byte(strings.Repeat("x", 100))); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
	if err := New(broken{}, from, into).Close(); err != nil {
		t.Errorf("got %v", err)
	}
}

// TestModulo has the hash of zeros for the part, and of its positions if asked.
func TestModulo(t *testing.T) {
	zeros := string(make([]byte, 32))
	text := "a" + from + "bc" + from
	without := "a" + zeros + "bc" + zeros
	for positions, want := range map[bool]string{false: without, true: without + "|1|35"} {
		h := sha256.New()
		m := NewModulo(h, from, positions)
		_, _ = m.Write([]byte(text[:20]))
		_, _ = m.Write([]byte(text[20:]))
		sum := sha256.Sum256([]byte(want))
		if got := m.Sum(); !bytes.Equal(got, sum[:]) {
			t.Errorf("expected %x, got %s", sum, hex.EncodeToString(got))
		}
	}
}
