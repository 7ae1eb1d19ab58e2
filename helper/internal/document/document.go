// Package document is the protocol of the program unpack. It is not a part of
// package step, whose types are in the bytes of the programs that build: what
// is added here leaves the cache keys of builds alone.
package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"nixbk/helper/internal/run"
	"nixbk/helper/internal/step"
)

// Document is what NIXBK_STEP says. Which fields are read depends on Kind.
type Document struct {
	Version int    `json:"version"`
	Kind    string `json:"kind"`

	Nars  []Nar                   `json:"nars"`
	Paths []step.Text             `json:"paths"`
	Links map[step.Text]step.Text `json:"links"`

	Path        step.Text `json:"path"`
	Compression string    `json:"compression"`
}

// Nar is one archive to unpack.
type Nar struct {
	step.Nar
	// ContentAddress, as narinfo files have it, is checked when it is there.
	ContentAddress string `json:"contentAddress"`
	// Root is the file system that the object is to lie in: the container's
	// own, or another one that is mounted.
	Root int `json:"root"`
}

// Main runs the step whose kind is the program's argument and ends the process.
func Main(kinds map[string]func(*Document) error) {
	if err := carryOut(kinds); err != nil {
		text, status := step.Report(err)
		_, _ = os.Stderr.WriteString(text)
		os.Exit(status)
	}
	os.Exit(0)
}

func carryOut(kinds map[string]func(*Document) error) error {
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	unix.Umask(0o022)
	if len(os.Args) != 2 || kinds[os.Args[1]] == nil {
		return fmt.Errorf("called as %q, which names no kind of step", os.Args)
	}
	text, err := read(os.LookupEnv, filepath.Join(run.Dir, "step.json"))
	if err != nil {
		return err
	}
	os.Clearenv()
	d, err := Parse(text)
	if err != nil {
		return err
	}
	if d.Kind != os.Args[1] {
		return fmt.Errorf("called for a step of kind %q, got one of kind %q", os.Args[1], d.Kind)
	}
	return kinds[d.Kind](d)
}

// read finds the text as step.Read does.
func read(variable func(string) (string, bool), file string) ([]byte, error) {
	text, found := variable("NIXBK_STEP")
	if !found {
		return os.ReadFile(file)
	}
	var all strings.Builder
	for i := 1; found; i++ {
		all.WriteString(text)
		text, found = variable("NIXBK_STEP_" + strconv.Itoa(i))
	}
	return []byte(all.String()), nil
}

// Parse reads a document and refuses what this program would not understand.
func Parse(data []byte) (*Document, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	d := new(Document)
	if err := decoder.Decode(d); err != nil {
		return nil, fmt.Errorf("the step is not what this helper reads: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the step is followed by something else")
	}
	if d.Version != step.Version {
		return nil, fmt.Errorf("the step has version %d, this helper reads %d", d.Version, step.Version)
	}
	return d, nil
}
