//go:build race

package unpack

// The race detector takes a multiple of the memory itself.
func init() { measurable = false }
