// Package stream passes one stream of bytes to several consumers, each on a
// processor of its own.
package stream

import (
	"io"
	"sync"
	"sync/atomic"
)

// BlockSize is how many bytes travel at once.
const BlockSize = 256 << 10

const blocksInFlight = 8

type block struct {
	data  []byte
	users atomic.Int32
}

// Fan is a writer whose bytes reach every consumer, in order. Writes never
// fail: the consumers are hashes and scanners.
type Fan struct {
	free    chan *block
	current *block
	queues  []chan *block
	done    sync.WaitGroup
	size    uint64
}

// NewFan starts one goroutine for each consumer.
func NewFan(consumers ...io.Writer) *Fan {
	f := &Fan{free: make(chan *block, blocksInFlight)}
	for range blocksInFlight {
		f.free <- new(block)
	}
	for _, consumer := range consumers {
		queue := make(chan *block, blocksInFlight)
		f.queues = append(f.queues, queue)
		f.done.Go(func() {
			for b := range queue {
				_, _ = consumer.Write(b.data)
				f.release(b)
			}
		})
	}
	return f
}

func (f *Fan) release(b *block) {
	if b.users.Add(-1) == 0 {
		b.data = b.data[:0]
		f.free <- b
	}
}

// Room is the unused part of the current block, never empty; Advance says how
// much of it was filled.
func (f *Fan) Room() []byte {
	if f.current == nil {
		f.current = <-f.free
		if f.current.data == nil {
			f.current.data = make([]byte, 0, BlockSize)
		}
	}
	data := f.current.data
	return data[len(data):cap(data)]
}

// Advance takes the first n bytes of Room as written.
func (f *Fan) Advance(n int) {
	b := f.current
	b.data = b.data[:len(b.data)+n]
	f.size += uint64(n)
	if len(b.data) == cap(b.data) {
		f.flush()
	}
}

func (f *Fan) flush() {
	b := f.current
	if b == nil {
		return
	}
	f.current = nil
	if len(f.queues) == 0 {
		b.data = b.data[:0]
		f.free <- b
		return
	}
	b.users.Store(int32(len(f.queues)))
	for _, queue := range f.queues {
		queue <- b
	}
}

// Write copies data into blocks.
func (f *Fan) Write(data []byte) (int, error) {
	total := len(data)
	for len(data) > 0 {
		n := copy(f.Room(), data)
		f.Advance(n)
		data = data[n:]
	}
	return total, nil
}

// Size is the number of bytes written so far.
func (f *Fan) Size() uint64 { return f.size }

// Close hands over what is left and waits for the consumers to be done.
func (f *Fan) Close() {
	f.flush()
	for _, queue := range f.queues {
		close(queue)
	}
	f.done.Wait()
}
