// Package checks decides whether outputs may be what they are: cycles between
// them, and the output checks of the derivation (checkOutputs, Nix
// src/libstore/build/derivation-check.cc).
package checks

import (
	"maps"
	"slices"
	"strings"

	"nixbk/helper/internal/step"
)

// Order lists the outputs so that each follows those it refers to, and fails
// when they refer to each other in a circle (topoSort, Nix
// src/libutil/include/nix/util/topo-sort.hh, and its use).
func Order(outputs map[string]step.Output) ([]string, error) {
	names := map[string]string{}
	for name, output := range outputs {
		names[output.Path] = name
	}
	const visiting, visited = 1, 2
	state := map[string]int{}
	var order []string
	var visit func(name, parent string) error
	visit = func(name, parent string) error {
		switch state[name] {
		case visited:
			return nil
		case visiting:
			return step.Fail(step.Cycle,
				"cycle detected in the references of output '%s' from output '%s'", name, parent)
		}
		state[name] = visiting
		var others []string
		for _, reference := range outputs[name].References {
			if other, found := names[reference]; found && other != name {
				others = append(others, other)
			}
		}
		for _, other := range slices.Sorted(slices.Values(others)) {
			if err := visit(other, name); err != nil {
				return err
			}
		}
		state[name] = visited
		order = append(order, name)
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		if err := visit(name, ""); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// Outputs applies the checks of the output called name.
func Outputs(name string, checks step.Checks, outputs map[string]step.Output, closure map[step.Text]step.Known) error {
	c := checker{name, outputs[name], checks, outputs, closure}
	if limit := checks.MaxSize; limit != nil && c.output.NarSize > *limit {
		return step.Fail(step.OutputCheck, "path '%s' is too large at %d bytes; limit is %d bytes",
			c.output.Path, c.output.NarSize, *limit)
	}
	if limit := checks.MaxClosureSize; limit != nil {
		_, size, err := c.requisites()
		if err != nil {
			return err
		}
		if size > *limit {
			return step.Fail(step.OutputCheck,
				"closure of path '%s' is too large at %d bytes; limit is %d bytes",
				c.output.Path, size, *limit)
		}
	}
	const allowed, recursive = true, true
	if list := checks.AllowedReferences; list != nil {
		if err := c.references(*list, allowed, !recursive); err != nil {
			return err
		}
	}
	if list := checks.AllowedRequisites; list != nil {
		if err := c.references(*list, allowed, recursive); err != nil {
			return err
		}
	}
	if list := checks.DisallowedReferences; len(list) > 0 {
		if err := c.references(list, !allowed, !recursive); err != nil {
			return err
		}
	}
	if list := checks.DisallowedRequisites; len(list) > 0 {
		return c.references(list, !allowed, recursive)
	}
	return nil
}

type checker struct {
	name    string
	output  step.Output
	checks  step.Checks
	outputs map[string]step.Output
	closure map[step.Text]step.Known
}

// references compares what is used with a list of store paths and names of
// outputs.
func (c checker) references(list []step.Text, allowed, recursive bool) error {
	listed := map[string]bool{}
	for _, entry := range list {
		if strings.HasPrefix(string(entry), step.StoreDir+"/") {
			listed[string(entry)] = true
			continue
		}
		output, found := c.outputs[string(entry)]
		if !found {
			return step.Fail(step.OutputCheck, "output check for '%s' contains output name '%s',"+
				" but this is not a valid output of this derivation. (Valid outputs are [%s].)",
				c.name, entry, strings.Join(slices.Sorted(maps.Keys(c.outputs)), ", "))
		}
		listed[output.Path] = true
	}
	used := c.output.References
	if recursive {
		var err error
		if used, _, err = c.requisites(); err != nil {
			return err
		}
	}
	var bad strings.Builder
	for _, path := range slices.Sorted(slices.Values(used)) {
		ignored := recursive && c.checks.IgnoreSelfRefs && path == c.output.Path
		if !ignored && listed[path] != allowed {
			bad.WriteString("\n  " + path)
		}
	}
	if bad.Len() > 0 {
		return step.Fail(step.OutputCheck,
			"output '%s' is not allowed to refer to the following paths:%s", c.output.Path, bad.String())
	}
	return nil
}

// requisites are the paths reachable from the output, itself included, and
// the sum of their sizes.
func (c checker) requisites() ([]string, uint64, error) {
	byPath := map[string]step.Output{}
	for _, output := range c.outputs {
		byPath[output.Path] = output
	}
	var size uint64
	paths := []string{c.output.Path}
	done := map[string]bool{c.output.Path: true}
	add := func(path string) {
		if !done[path] {
			done[path] = true
			paths = append(paths, path)
		}
	}
	for i := 0; i < len(paths); i++ {
		if output, found := byPath[paths[i]]; found {
			size += output.NarSize
			for _, reference := range output.References {
				add(reference)
			}
			continue
		}
		known, found := c.closure[step.Text(paths[i])]
		if !found {
			return nil, 0, step.Fail(step.Internal, "the step says nothing about '%s'", paths[i])
		}
		size += known.NarSize
		for _, reference := range known.References {
			add(string(reference))
		}
	}
	return paths, size, nil
}
