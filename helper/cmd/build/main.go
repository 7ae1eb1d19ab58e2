// Command build is the helper that realises one derivation: it runs inside
// of the container of one BuildKit step, as root and as process 1.
//
// Every byte of this program is part of the cache key of every build.
package main

import (
	"nixbk/helper/internal/realise"
	"nixbk/helper/internal/run"
	"nixbk/helper/internal/step"
)

func main() {
	run.Main(realise.Kinds(func(*step.Step) ([]byte, error) { return nil, nil }))
}
