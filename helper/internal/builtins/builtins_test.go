package builtins

import (
	"encoding/json"
	"reflect"
	"testing"

	"nixbk/helper/internal/step"
)

// TestTask is the same after the way to the builder's process.
func TestTask(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	text := step.Text(all)
	want := &task{
		Outputs: map[step.Text]step.Text{"out": "/nix/store/x"},
		Env:     map[step.Text]step.Text{text: text, "": "", "url": "x"},
		Netrc:   text, CA: "y", Open: true,
	}
	got := new(task)
	if err := json.Unmarshal(want.json(), got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("expected %+v, got %+v, %v", want, got, err)
	}
}

// TestTaskOf is for builders there are.
func TestTaskOf(t *testing.T) {
	for builder, open := range map[step.Text]*step.Step{
		"builtin:fetchurl": {Fixed: new(step.Fixed)},
		"builtin:buildenv": {},
		"builtin:nonsense": nil,
	} {
		s := &step.Step{Builder: builder}
		if open != nil {
			s.Fixed = open.Fixed
		}
		data, err := Task(s)
		if err != nil || (data != nil) != (open != nil) {
			t.Errorf("%s: got %s, %v", builder, data, err)
		}
	}
}
