// Package outputs turns what a build left in the store into valid store
// objects: canonical, hashed, scanned, checked (registerOutputs, Nix
// src/libstore/unix/build/derivation-builder.cc).
package outputs

import (
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"slices"

	"nixbk/helper/internal/checks"
	"nixbk/helper/internal/hashes"
	"nixbk/helper/internal/nar"
	"nixbk/helper/internal/refscan"
	"nixbk/helper/internal/step"
	"nixbk/helper/internal/store"
	"nixbk/helper/internal/stream"
	"nixbk/helper/internal/tree"
)

// Register makes the outputs of s valid. Candidates for references are the
// store's inputs and the outputs themselves.
func Register(s *step.Step, in *store.Store, registrar *tree.Registrar) (map[string]step.Output, error) {
	candidates := slices.Clone(in.Inputs)
	var names []string
	for _, path := range s.Outputs {
		name, err := step.BaseName(string(path))
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	candidates = append(candidates, names...)
	outputs := map[string]step.Output{}
	var fixed *fixedOutput
	for _, name := range slices.Sorted(maps.Keys(s.Outputs)) {
		r := registration{in: in, registrar: registrar, candidates: candidates}
		if !slices.Contains(s.Discard, name) {
			r.scan = true
		}
		if s.Fixed != nil {
			if len(s.Outputs) != 1 {
				return nil, fmt.Errorf("a fixed-output step has %d outputs", len(s.Outputs))
			}
			var err error
			if fixed, err = newFixed(s.Fixed); err != nil {
				return nil, err
			}
			r.fixed = fixed
		}
		output, err := r.register(string(name), string(s.Outputs[name]))
		if err != nil {
			return nil, err
		}
		outputs[string(name)] = output
	}
	if err := in.Clean(names); err != nil {
		return nil, err
	}
	if err := checks.Cycles(outputs); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		if fixed != nil {
			if err := fixed.check(outputs[name]); err != nil {
				return nil, err
			}
		}
		if check, found := s.Checks[step.Text(name)]; found {
			if err := checks.Outputs(name, check, outputs, s.Closure); err != nil {
				return nil, err
			}
		}
	}
	return outputs, nil
}

// Detach puts copies in the place of the outputs, which nobody can have open.
func Detach(s *step.Step, in *store.Store, registrar *tree.Registrar) error {
	for _, name := range slices.Sorted(maps.Keys(s.Outputs)) {
		path := string(s.Outputs[name])
		base, err := step.BaseName(path)
		if err != nil {
			return err
		}
		// The original is made canonical first, with all that is refused then.
		unheard := stream.NewFan()
		_, err = registrar.Register(in.Fd(), base, path, string(name), unheard)
		unheard.Close()
		if err != nil {
			return err
		}
		if err := tree.Replace(in.Fd(), base); err != nil {
			return fmt.Errorf("copying '%s': %w", path, err)
		}
	}
	return nil
}

type registration struct {
	in         *store.Store
	registrar  *tree.Registrar
	candidates []string
	scan       bool
	fixed      *fixedOutput
}

func (r registration) register(name, path string) (step.Output, error) {
	base, err := step.BaseName(path)
	if err != nil {
		return step.Output{}, err
	}
	narHash := sha256.New()
	consumers := []io.Writer{narHash}
	scanner := refscan.New(r.candidates)
	if r.scan {
		consumers = append(consumers, scanner)
	}
	if r.fixed != nil {
		consumers = append(consumers, r.fixed.consumer)
	}
	sink := stream.NewFan(consumers...)
	node, err := r.registrar.Register(r.in.Fd(), base, path, name, sink)
	sink.Close()
	if err != nil {
		return step.Output{}, err
	}
	if r.fixed != nil && r.fixed.flat && (node.Type != "regular" || node.Executable) {
		return step.Output{}, step.Fail(step.IllegalOutput,
			"output path '%s' should be a non-executable regular file since recursive hashing is not enabled"+
				" (one of outputHashMode={flat,text} is true)", path)
	}
	output := step.Output{
		Path:    path,
		NarHash: hashes.Hash{Algorithm: "sha256", Digest: narHash.Sum(nil)}.String(),
		NarSize: sink.Size(),
		Type:    node.Type,
		Target:  node.Target,
	}
	for _, found := range scanner.Found() {
		output.References = append(output.References, step.StoreDir+"/"+found)
	}
	return output, nil
}

// fixedOutput compares an output with the hash its derivation promises.
type fixedOutput struct {
	flat     bool
	expected hashes.Hash
	consumer io.Writer
	sum      func() ([]byte, error)
}

func newFixed(fixed *step.Fixed) (*fixedOutput, error) {
	expected, err := hashes.Parse(fixed.Hash)
	if err != nil {
		return nil, err
	}
	f := &fixedOutput{expected: expected}
	if fixed.Method == "git" {
		git := nar.NewGit(expected.New)
		f.consumer, f.sum = git, git.Sum
		return f, nil
	}
	got := expected.New()
	f.sum = func() ([]byte, error) { return got.Sum(nil), nil }
	switch fixed.Method {
	case "nar":
		f.consumer = got
	case "flat", "text":
		f.flat = true
		f.consumer = nar.NewFlat(got)
	default:
		return nil, fmt.Errorf("unknown method %q of a fixed output", fixed.Method)
	}
	return f, nil
}

func (f *fixedOutput) check(output step.Output) error {
	digest, err := f.sum()
	if err != nil {
		return err
	}
	got := hashes.Hash{Algorithm: f.expected.Algorithm, Digest: digest}
	if !got.Equal(f.expected) {
		return step.Fail(step.HashMismatch,
			"hash mismatch in fixed-output derivation:\n  specified: %s\n     got:    %s", f.expected, got)
	}
	if count := len(output.References); count > 0 {
		return step.Fail(step.HashMismatch, "fixed-output derivations must not reference store paths:"+
			" '%s' references %d distinct paths, e.g. '%s'", output.Path, count, output.References[0])
	}
	return nil
}
