package stream

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestFan gives every consumer the same bytes, in order.
func TestFan(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	sizes := rand.New(random)
	for _, total := range []int{0, 1, BlockSize - 1, BlockSize, BlockSize + 1, 5*BlockSize + 7} {
		data := make([]byte, total)
		_, _ = random.Read(data)
		var a, b bytes.Buffer
		fan := NewFan(&a, &b)
		for rest := data; len(rest) > 0; {
			n := min(len(rest), 1+sizes.IntN(BlockSize))
			if sizes.IntN(2) == 0 {
				_, _ = fan.Write(rest[:n])
			} else {
				n = copy(fan.Room(), rest[:n])
				fan.Advance(n)
			}
			rest = rest[n:]
		}
		fan.Close()
		if fan.Size() != uint64(total) || !bytes.Equal(a.Bytes(), data) || !bytes.Equal(b.Bytes(), data) {
			t.Errorf("%d bytes came through as %d, %d, %d", total, fan.Size(), a.Len(), b.Len())
		}
	}
}

// TestNobody takes bytes that nobody wants.
func TestNobody(t *testing.T) {
	fan := NewFan()
	_, _ = fan.Write(make([]byte, 2*blocksInFlight*BlockSize))
	fan.Close()
	if fan.Size() != 2*blocksInFlight*BlockSize {
		t.Errorf("%d bytes were counted", fan.Size())
	}
}
