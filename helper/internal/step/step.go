// Package step is the protocol between the planner and the helper: the step
// a container is to run, the settings that must stay outside of cache keys,
// the result file, and the last line of a failure.
package step

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// Version is the only version of the protocol this helper speaks.
const Version = 1

// StoreDir is the one store directory.
const StoreDir = "/nix/store"

// Step is what NIXBK_STEP says. Which fields are read depends on Kind.
type Step struct {
	Version int           `json:"version"`
	Kind    string        `json:"kind"`
	Outputs map[Text]Text `json:"outputs"`

	Builder   Text            `json:"builder"`
	Args      []Text          `json:"args"`
	Env       map[Text]Text   `json:"env"`
	Files     map[Text]Text   `json:"files"`
	Links     map[Text]Text   `json:"links"`
	Hidden    []Text          `json:"hidden"`
	ImpureEnv []Text          `json:"impureEnv"`
	Network   bool            `json:"network"`
	System    string          `json:"system"`
	Fixed     *Fixed          `json:"fixed"`
	Checks    map[Text]Checks `json:"checks"`
	Closure   map[Text]Known  `json:"closure"`
	Discard   []Text          `json:"unsafeDiscardReferences"`

	Floating   map[Text]Floating `json:"floating"`
	Impure     bool              `json:"impure"`
	KeepFailed bool              `json:"keepFailed"`

	Executable bool `json:"executable"`

	Nars  []Nar  `json:"nars"`
	Paths []Text `json:"paths"`
}

// Fixed is the content a fixed-output derivation promises.
type Fixed struct {
	Method string `json:"method"`
	Hash   string `json:"hash"`
}

// Floating is how the path of an output follows from its content; its path in
// the step is the one it has until then.
type Floating struct {
	Method    string `json:"method"`
	Algorithm string `json:"algorithm"`
	// Positions hashes where the references to itself are, as Nix does but in
	// its releases 2.17 to 2.34.
	Positions bool `json:"positions"`
}

// Known is a store object outside of this build, for checks that need a closure.
type Known struct {
	NarSize    uint64 `json:"narSize"`
	References []Text `json:"references"`
}

// Checks are the output checks of one output; a nil list is an absent one.
type Checks struct {
	AllowedReferences    *[]Text `json:"allowedReferences"`
	AllowedRequisites    *[]Text `json:"allowedRequisites"`
	DisallowedReferences []Text  `json:"disallowedReferences"`
	DisallowedRequisites []Text  `json:"disallowedRequisites"`
	MaxSize              *uint64 `json:"maxSize"`
	MaxClosureSize       *uint64 `json:"maxClosureSize"`
	IgnoreSelfRefs       bool    `json:"ignoreSelfRefs"`
}

// Nar is one archive to unpack.
type Nar struct {
	Path        Text   `json:"path"`
	NarHash     string `json:"narHash"`
	NarSize     uint64 `json:"narSize"`
	Compression string `json:"compression"`
	References  []Text `json:"references"`
}

// Settings are what the user may change without changing a cache key.
type Settings struct {
	Cores     int
	Timeout   time.Duration
	MaxSilent time.Duration
	// Tell has the result printed on standard output, too, where nothing else is.
	Tell bool
}

// settingsMark starts the settings at the end of a no_proxy value.
const settingsMark = ";nixbk:"

// Environment is the helper's own environment.
type Environment struct {
	values map[string]string
}

// NewEnvironment takes lines of NAME=value, as os.Environ gives them.
func NewEnvironment(lines []string) Environment {
	values := make(map[string]string, len(lines))
	for _, line := range lines {
		name, value, found := strings.Cut(line, "=")
		if found {
			values[name] = value
		}
	}
	return Environment{values}
}

// Proxies are the proxy variables without the settings at their end.
func (e Environment) Proxies() map[string]string {
	proxies := map[string]string{}
	for name, value := range e.values {
		switch strings.ToLower(name) {
		case "http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy":
			value, _, _ = strings.Cut(value, settingsMark)
			proxies[name] = value
		}
	}
	return proxies
}

// Settings reads what follows ";nixbk:" in no_proxy.
func (e Environment) Settings() (Settings, error) {
	var settings Settings
	_, text, found := strings.Cut(e.values["no_proxy"], settingsMark)
	if !found {
		_, text, found = strings.Cut(e.values["NO_PROXY"], settingsMark)
	}
	if !found {
		return settings, nil
	}
	for field := range strings.SplitSeq(text, ";") {
		if field == "" {
			continue
		}
		name, value, _ := strings.Cut(field, "=")
		number, err := strconv.Atoi(value)
		if err != nil || number < 0 {
			return settings, fmt.Errorf("setting %q is not a number", field)
		}
		switch name {
		case "cores":
			settings.Cores = number
		case "timeout":
			settings.Timeout = time.Duration(number) * time.Second
		case "max-silent":
			settings.MaxSilent = time.Duration(number) * time.Second
		case "tell":
			settings.Tell = number != 0
		default:
			return settings, fmt.Errorf("unknown setting %q", name)
		}
	}
	return settings, nil
}

// Read finds the step: in NIXBK_STEP and its numbered continuations, or in
// the mounted file when it was too long for those.
func Read(e Environment, file string) (*Step, error) {
	text, found := e.values["NIXBK_STEP"]
	if !found {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		return Parse(data)
	}
	var all strings.Builder
	for i := 1; found; i++ {
		all.WriteString(text)
		text, found = e.values["NIXBK_STEP_"+strconv.Itoa(i)]
	}
	return Parse([]byte(all.String()))
}

// Parse reads a step and refuses what this helper would not understand.
func Parse(data []byte) (*Step, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	s := new(Step)
	if err := decoder.Decode(s); err != nil {
		return nil, fmt.Errorf("the step is not what this helper reads: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the step is followed by something else")
	}
	if s.Version != Version {
		return nil, fmt.Errorf("the step has version %d, this helper reads %d", s.Version, Version)
	}
	for _, path := range s.Outputs {
		if _, err := BaseName(string(path)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// BaseName is the last part of a store path; anything but a direct child of
// the store is refused.
func BaseName(path string) (string, error) {
	name, found := strings.CutPrefix(path, StoreDir+"/")
	if !found || name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return "", fmt.Errorf("%q is no store path", path)
	}
	return name, nil
}
