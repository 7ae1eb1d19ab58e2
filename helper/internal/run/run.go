// Package run is what both helper programs do around a step: read it, call
// the kind's function, report.
package run

import (
	"fmt"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"nixbk/helper/internal/step"
	"nixbk/helper/internal/tree"
)

// Dir is where the helper, its inputs and its result are mounted.
const Dir = "/.nixbk"

// Context is what a kind's function gets.
type Context struct {
	Step     *step.Step
	Settings step.Settings
	Proxies  map[string]string
}

// Main runs the step whose kind is the program's argument and ends the process.
func Main(kinds map[string]func(Context) error) {
	if err := run(kinds); err != nil {
		text, status := step.Report(err)
		_, _ = os.Stderr.WriteString(text)
		os.Exit(status)
	}
	os.Exit(0)
}

func run(kinds map[string]func(Context) error) error {
	// Nothing that came open from outside may reach a builder.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	unix.Umask(0o022)
	if len(os.Args) != 2 || kinds[os.Args[1]] == nil {
		return fmt.Errorf("called as %q, which names no kind of step", os.Args)
	}
	environment := step.NewEnvironment(os.Environ())
	os.Clearenv()
	s, err := step.Read(environment, filepath.Join(Dir, "step.json"))
	if err != nil {
		return err
	}
	if s.Kind != os.Args[1] {
		return fmt.Errorf("called for a step of kind %q, got one of kind %q", os.Args[1], s.Kind)
	}
	settings, err := environment.Settings()
	if err != nil {
		return err
	}
	return kinds[s.Kind](Context{s, settings, environment.Proxies()})
}

// Results is the folder of the result: a mount, or a part of the root.
const Results = Dir + "/result"

// WriteResult writes a file of the result folder.
func WriteResult(name string, data []byte) error {
	if err := os.MkdirAll(Results, 0o755); err != nil {
		return err
	}
	return tree.WriteFile(Results, name, data)
}
