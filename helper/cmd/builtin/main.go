// Command builtin is the helper build and the builders that are part of Nix.
// It is a program of its own so that a change of them, and of all they need
// from the network, leaves the cache keys of other builds alone.
package main

import (
	"nixbk/helper/internal/builtins"
	"nixbk/helper/internal/realise"
	"nixbk/helper/internal/run"
)

func main() {
	builtins.Main()
	run.Main(realise.Kinds(builtins.Task))
}
