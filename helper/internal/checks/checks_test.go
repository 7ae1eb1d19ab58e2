package checks

import (
	"testing"

	"nixbk/helper/internal/step"
)

const (
	out   = "/nix/store/11111111111111111111111111111111-x"
	dev   = "/nix/store/22222222222222222222222222222222-x-dev"
	input = "/nix/store/33333333333333333333333333333333-in"
	below = "/nix/store/44444444444444444444444444444444-below"
)

func list(paths ...step.Text) *[]step.Text {
	if paths == nil {
		paths = []step.Text{}
	}
	return &paths
}

func size(n uint64) *uint64 { return &n }

// TestOutputs has outputs out -> (itself, dev), dev -> input -> below.
func TestOutputs(t *testing.T) {
	outputs := map[string]step.Output{
		"out": {Path: out, NarSize: 100, References: []string{out, dev}},
		"dev": {Path: dev, NarSize: 10, References: []string{input}},
	}
	closure := map[step.Text]step.Known{
		input: {NarSize: 1000, References: []step.Text{below, input}},
		below: {NarSize: 1},
	}
	const refuses = "output '" + out + "' is not allowed to refer to the following paths:"
	cases := map[string]struct {
		checks step.Checks
		want   string
	}{
		"none":                            {step.Checks{}, ""},
		"references as allowed":           {step.Checks{AllowedReferences: list(out, "dev")}, ""},
		"self not allowed":                {step.Checks{AllowedReferences: list("dev")}, refuses + "\n  " + out},
		"self ignored, references only":   {step.Checks{AllowedReferences: list("dev"), IgnoreSelfRefs: true}, refuses + "\n  " + out},
		"nothing allowed":                 {step.Checks{AllowedReferences: list()}, refuses + "\n  " + out + "\n  " + dev},
		"requisites as allowed":           {step.Checks{AllowedRequisites: list("out", "dev", input, below)}, ""},
		"requisites, self ignored":        {step.Checks{AllowedRequisites: list("dev", input, below), IgnoreSelfRefs: true}, ""},
		"a requisite too many":            {step.Checks{AllowedRequisites: list("out", "dev", input)}, refuses + "\n  " + below},
		"disallowed reference":            {step.Checks{DisallowedReferences: *list("dev")}, refuses + "\n  " + dev},
		"disallowed, but no reference":    {step.Checks{DisallowedReferences: *list(input)}, ""},
		"disallowed requisite":            {step.Checks{DisallowedRequisites: *list(below)}, refuses + "\n  " + below},
		"disallowed requisite, elsewhere": {step.Checks{DisallowedRequisites: *list("/nix/store/5-y")}, ""},
		"size at the limit":               {step.Checks{MaxSize: size(100)}, ""},
		"size over it":                    {step.Checks{MaxSize: size(99)}, "path '" + out + "' is too large at 100 bytes; limit is 99 bytes"},
		"closure at the limit":            {step.Checks{MaxClosureSize: size(1111)}, ""},
		"closure over it":                 {step.Checks{MaxClosureSize: size(1110)}, "closure of path '" + out + "' is too large at 1111 bytes; limit is 1110 bytes"},
		"unknown output": {
			step.Checks{AllowedReferences: list("doc")},
			"output check for 'out' contains output name 'doc', but this is not a valid output of this derivation." +
				" (Valid outputs are [dev, out].)",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := Outputs("out", c.checks, outputs, closure)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("expected %q, got %q", c.want, got)
			}
		})
	}
}

// TestOrder finds circles between outputs, but no self-reference.
func TestOrder(t *testing.T) {
	cases := map[string]struct {
		out, dev []string
		want     string
	}{
		"none":  {[]string{dev}, nil, ""},
		"self":  {[]string{out}, []string{dev}, ""},
		"both":  {[]string{dev}, []string{out}, "cycle detected in the references of output 'dev' from output 'out'"},
		"other": {[]string{input}, []string{input}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := Order(map[string]step.Output{
				"out": {Path: out, References: c.out}, "dev": {Path: dev, References: c.dev},
			})
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("expected %q, got %q", c.want, got)
			}
		})
	}
}
