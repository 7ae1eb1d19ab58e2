package step

import (
	"maps"
	"slices"
	"strconv"
)

// Output is what the result file says about one store object.
type Output struct {
	Path       string
	NarHash    string
	NarSize    uint64
	References []string
	Type       string
	Target     string
	// ContentAddress says what the path of a floating output was made of.
	ContentAddress string
	// Existing says that the object is one of the inputs of that path.
	Existing bool
}

// Result is canonical JSON: keys sorted, no spaces, a newline at the end.
func Result(outputs map[string]Output) []byte {
	b := []byte(`{"outputs":{`)
	for i, name := range slices.Sorted(maps.Keys(outputs)) {
		output := outputs[name]
		if i > 0 {
			b = append(b, ',')
		}
		b = AppendJSON(b, name)
		b = append(b, `:{`...)
		if output.ContentAddress != "" {
			b = append(b, `"contentAddress":`...)
			b = AppendJSON(b, output.ContentAddress)
			b = append(b, ',')
		}
		if output.Existing {
			b = append(b, `"existing":true,`...)
		}
		b = append(b, `"narHash":`...)
		b = AppendJSON(b, output.NarHash)
		b = append(b, `,"narSize":`...)
		b = strconv.AppendUint(b, output.NarSize, 10)
		b = append(b, `,"path":`...)
		b = AppendJSON(b, output.Path)
		b = append(b, `,"references":[`...)
		for j, reference := range slices.Sorted(slices.Values(output.References)) {
			if j > 0 {
				b = append(b, ',')
			}
			b = AppendJSON(b, reference)
		}
		b = append(b, ']')
		if output.Type == "symlink" {
			b = append(b, `,"target":`...)
			b = AppendJSON(b, output.Target)
		}
		b = append(b, `,"type":`...)
		b = AppendJSON(b, output.Type)
		b = append(b, '}')
	}
	return append(b, "},\"version\":1}\n"...)
}

// Failed is the result of a step that keeps what a failed build left.
func Failed(err *Failure) []byte {
	b := AppendJSON([]byte(`{"failure":`), err.Kind+": "+err.Message)
	return append(b, ",\"outputs\":{},\"version\":1}\n"...)
}
