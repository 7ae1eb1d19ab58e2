package document

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"nixbk/helper/internal/step"
)

// TestRead finds the document in one variable, in several, and in a file.
func TestRead(t *testing.T) {
	text := `{"version":1,"kind":"unpack","nars":[{"path":"\u00ff","narSize":2,"contentAddress":"text:x","root":3}]}`
	file := filepath.Join(t.TempDir(), "step.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want := &Document{Version: 1, Kind: "unpack", Nars: []Nar{{step.Nar{Path: "\xff", NarSize: 2}, "text:x", 3}}}
	for name, env := range map[string]map[string]string{
		"one variable": {"NIXBK_STEP": text},
		"several":      {"NIXBK_STEP": text[:5], "NIXBK_STEP_1": text[5:9], "NIXBK_STEP_2": text[9:]},
		"file":         {},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := read(func(name string) (string, bool) { v, found := env[name]; return v, found }, file)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := Parse(data); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("expected %+v, got %+v, %v", want, got, err)
			}
		})
	}
}

// TestRefused has documents this program must not guess about.
func TestRefused(t *testing.T) {
	const unreadable = "the step is not what this helper reads: "
	for text, want := range map[string]string{
		`{"version":1,"colour":1}`:              unreadable + `json: unknown field "colour"`,
		`{"version":1,"builder":"/bin/sh"}`:     unreadable + `json: unknown field "builder"`,
		`{"version":1,"nars":[{"url":"x"}]}`:    unreadable + `json: unknown field "url"`,
		`{"version":1,"path":"\u0100"}`:         unreadable + "a character beyond U+00FF stands for no byte",
		`{"version":2}`:                         "the step has version 2, this helper reads 1",
		`{"version":1} 2`:                       "the step is followed by something else",
		`{"version":1,"nars":[{"narSize":-1}]}`: unreadable + "json: cannot unmarshal number -1 into Go struct field Nar.nars.Nar.narSize of type uint64",
	} {
		if _, err := Parse([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%s: expected %q, got %v", text, want, err)
		}
	}
}
