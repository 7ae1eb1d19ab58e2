// Package outputs turns what a build left in the store into valid store
// objects: canonical, hashed, scanned, checked, and those whose paths follow
// from their content moved there (registerOutputs, Nix
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
	"nixbk/helper/internal/refscan"
	"nixbk/helper/internal/step"
	"nixbk/helper/internal/store"
	"nixbk/helper/internal/stream"
	"nixbk/helper/internal/tree"
)

// Register makes the outputs of s valid. Candidates for references are the
// store's inputs, but for hidden ones, and the outputs themselves.
func Register(s *step.Step, in *store.Store, registrar *tree.Registrar) (map[string]step.Output, error) {
	if s.Fixed != nil && len(s.Outputs) != 1 {
		return nil, fmt.Errorf("a fixed-output step has %d outputs", len(s.Outputs))
	}
	built := map[string]*object{}
	var own []string
	for name, path := range s.Outputs {
		base, err := step.BaseName(string(path))
		if err != nil {
			return nil, err
		}
		content, err := newContent(s, name)
		if err != nil {
			return nil, err
		}
		built[string(name)] = &object{name: string(name), base: base, content: content}
		own = append(own, base)
	}
	r := registration{in: in, registrar: registrar, own: own}
	for _, name := range in.Inputs {
		if !slices.Contains(s.Hidden, step.Text(step.StoreDir+"/"+name)) {
			r.inputs = append(r.inputs, name)
		}
	}
	outputs := map[string]step.Output{}
	for _, name := range slices.Sorted(maps.Keys(built)) {
		if err := r.register(built[name], slices.Contains(s.Discard, step.Text(name))); err != nil {
			return nil, err
		}
		outputs[name] = built[name].output
	}
	order, err := checks.Order(outputs)
	if err != nil {
		return nil, err
	}
	if err := in.Clean(own); err != nil {
		return nil, err
	}
	final := map[string]string{}
	for _, name := range order {
		o := built[name]
		if o.content == nil {
			continue
		}
		if err := o.settle(in, final); err != nil {
			return nil, err
		}
		outputs[name] = o.output
	}
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		if s.Fixed != nil {
			if err := built[name].content.check(built[name]); err != nil {
				return nil, err
			}
		}
		if check, found := s.Checks[step.Text(name)]; found {
			if err := checks.Outputs(name, moveChecks(check, final), outputs, s.Closure); err != nil {
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
	in        *store.Store
	registrar *tree.Registrar
	// own are the outputs, inputs the rest that an output can refer to.
	own, inputs []string
}

// object is one output on its way to be valid.
type object struct {
	name, base string
	content    *content
	node       tree.Node
	output     step.Output
	// mentions are the base names of outputs whose hash parts occur in it.
	mentions []string
	// sum is the content's hash if nothing of it is to be rewritten.
	sum hasher
}

// register makes the object canonical, and in the same walk hashes and scans it.
func (r registration) register(o *object, discard bool) error {
	path := step.StoreDir + "/" + o.base
	narHash := sha256.New()
	consumers := []io.Writer{narHash}
	candidates := slices.Clone(r.own)
	if !discard {
		candidates = append(candidates, r.inputs...)
	}
	scanner := refscan.New(candidates)
	if !discard || o.content != nil {
		consumers = append(consumers, scanner)
	}
	if o.content != nil && !o.content.plain() {
		var err error
		if o.sum, err = o.content.hasher(o.base); err != nil {
			return err
		}
		consumers = append(consumers, o.sum)
	}
	sink := stream.NewFan(consumers...)
	node, err := r.registrar.Register(r.in.Fd(), o.base, path, o.name, sink)
	sink.Close()
	if err != nil {
		return err
	}
	o.node = node
	o.output = step.Output{
		Path:    path,
		NarHash: hashes.Hash{Algorithm: "sha256", Digest: narHash.Sum(nil)}.String(),
		NarSize: sink.Size(),
		Type:    node.Type,
		Target:  node.Target,
	}
	for _, found := range scanner.Found() {
		if !discard {
			o.output.References = append(o.output.References, step.StoreDir+"/"+found)
		}
		if slices.Contains(r.own, found) {
			o.mentions = append(o.mentions, found)
		}
	}
	if o.sum == nil {
		o.sum = known(narHash.Sum(nil))
	}
	return nil
}
