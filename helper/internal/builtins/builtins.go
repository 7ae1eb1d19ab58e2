// Package builtins has the builders that are part of Nix (src/libstore/
// builtins). They run as any builder does: in a process of their own, as the
// builder's user, confined, with the network only if the step has one.
package builtins

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"nixbk/helper/internal/realise"
	"nixbk/helper/internal/run"
	"nixbk/helper/internal/step"
)

var builders = map[string]func(*task) error{
	"fetchurl":       fetchurl,
	"buildenv":       buildenv,
	"unpack-channel": unpackChannel,
}

// taskFd is where the process of a builtin builder reads what it is to do.
const taskFd = 3

// task is what the builder's process is given: it cannot read the step's
// secrets itself.
type task struct {
	Outputs map[step.Text]step.Text `json:"outputs"`
	Env     map[step.Text]step.Text `json:"env"`
	// Open says whether the builder may use the network.
	Open  bool      `json:"open"`
	Netrc step.Text `json:"netrc"`
	CA    step.Text `json:"ca"`
}

// Task is the document for the process that runs the step's builder, or nil
// when there is no such builder.
func Task(s *step.Step) ([]byte, error) {
	name := strings.TrimPrefix(string(s.Builder), realise.Builtin)
	if builders[name] == nil {
		return nil, nil
	}
	t := task{Outputs: s.Outputs, Env: s.Env, Open: s.Fixed != nil || s.Impure}
	if name == "fetchurl" {
		var err error
		if t.Netrc, err = secret("netrc"); err != nil {
			return nil, err
		}
		if t.CA, err = secret("ca.pem"); err != nil {
			return nil, err
		}
	}
	return t.json(), nil
}

// json is the form that runTask reads.
func (t *task) json() []byte {
	b := append([]byte(nil), '{')
	for _, field := range []struct {
		name  string
		texts map[step.Text]step.Text
	}{{"outputs", t.Outputs}, {"env", t.Env}} {
		b = append(step.AppendJSON(b, field.name), ":{"...)
		for i, name := range slices.Sorted(maps.Keys(field.texts)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(step.AppendJSON(b, string(name)), ':')
			b = step.AppendJSON(b, string(field.texts[name]))
		}
		b = append(b, "},"...)
	}
	b = append(step.AppendJSON(append(b, `"netrc":`...), string(t.Netrc)), `,"ca":`...)
	b = append(step.AppendJSON(b, string(t.CA)), `,"open":`...)
	return append(strconv.AppendBool(b, t.Open), '}')
}

// secret reads a file that is mounted when the user has one.
func secret(name string) (step.Text, error) {
	data, err := os.ReadFile(filepath.Join(run.Dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return step.Text(data), err
}

// Main runs the builder the process was started for and ends the process; in
// any other process it returns.
func Main() {
	name, found := strings.CutPrefix(os.Args[0], realise.Builtin)
	if !found || builders[name] == nil {
		return
	}
	if err := runTask(builders[name]); err != nil {
		message := strings.Replace("error: "+err.Error(), "error: \n", "error:\n", 1)
		if bare := new(bareError); errors.As(err, &bare) {
			message = bare.Error()
		}
		_, _ = os.Stderr.WriteString(message + "\n")
		os.Exit(1)
	}
	os.Exit(0)
}

func runTask(builder func(*task) error) error {
	file := os.NewFile(taskFd, "task")
	t := new(task)
	err := json.NewDecoder(file).Decode(t)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return builder(t)
}

// bareError is a text that Nix prints as it is.
type bareError struct{ text string }

func (e *bareError) Error() string { return e.text }

func warn(format string, args ...any) {
	_, _ = fmt.Fprintf(os.Stderr, "warning: "+format+"\n", args...)
}

func (t *task) attribute(name string) (string, error) {
	value, found := t.Env[step.Text(name)]
	if !found {
		return "", fmt.Errorf("attribute '%s' missing", name)
	}
	return string(value), nil
}

func (t *task) out() (string, error) {
	out, found := t.Outputs["out"]
	if !found {
		return "", &bareError{"map::at"}
	}
	return string(out), nil
}

// reason is what the operating system says, without the call and the path,
// as strerror has it.
func reason(err error) string {
	if errno := unix.Errno(0); errors.As(err, &errno) {
		text := errno.Error()
		return strings.ToUpper(text[:1]) + text[1:]
	}
	return err.Error()
}
