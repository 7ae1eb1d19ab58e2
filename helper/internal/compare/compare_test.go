package compare

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// TestTrees names each kind of difference, and neither times nor permissions.
func TestTrees(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	write := func(name, first, second string, firstMode, secondMode os.FileMode) {
		t.Helper()
		for i, top := range []string{a, b} {
			path := filepath.Join(top, name)
			must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			must(t, os.WriteFile(path, []byte([]string{first, second}[i]), []os.FileMode{firstMode, secondMode}[i]))
		}
	}
	large := strings.Repeat("x", 600<<10)
	write("same", large, large, 0o644, 0o444)
	write("sub/large", large+"1", large+"2", 0o644, 0o644)
	write("sub/longer", "1", "12", 0o644, 0o755)
	write("empty", "", "", 0o644, 0o755)
	write("\xff\n", "1", "2", 0o644, 0o644)
	must(t,
		os.Symlink("x", filepath.Join(a, "link")), os.Symlink("y", filepath.Join(b, "link")),
		os.Mkdir(filepath.Join(a, "type"), 0o755), os.Symlink("y", filepath.Join(b, "type")),
		os.MkdirAll(filepath.Join(a, "first/inner"), 0o755), os.WriteFile(filepath.Join(b, "second"), nil, 0o644),
	)
	found, more, err := Trees(a, b)
	must(t, err)
	want := []Difference{
		{"empty", Executable}, {"first", OnlyFirst}, {"link", Target}, {"second", OnlySecond},
		{"sub/large", Content}, {"sub/longer", Content}, {"sub/longer", Executable}, {"type", Type}, {"\xff\n", Content},
	}
	if !reflect.DeepEqual(found, want) || more != 0 {
		t.Errorf("expected %q, got %q and %d", want, found, more)
	}
	if found, _, err := Trees(a, a); len(found) > 0 || err != nil {
		t.Errorf("it differs from itself: %v, %v", found, err)
	}
	found, _, err = Trees(filepath.Join(a, "sub/longer"), filepath.Join(b, "sub/longer"))
	if want := []Difference{{"", Content}, {"", Executable}}; err != nil || !reflect.DeepEqual(found, want) {
		t.Errorf("expected %q, got %q, %v", want, found, err)
	}
	if _, _, err := Trees(a, filepath.Join(a, "none")); err == nil {
		t.Error("nothing was compared")
	}
}

// TestMany counts what it does not name.
func TestMany(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	for i := range most + 7 {
		must(t, os.WriteFile(filepath.Join(a, fmt.Sprintf("%05d", i)), nil, 0o644))
	}
	found, more, err := Trees(a, b)
	if err != nil || len(found) != most || more != 7 || found[most-1].Path != "00999" {
		t.Errorf("%d and %d, %v", len(found), more, err)
	}
}

// TestJSON is canonical, and bytes are latin-1.
func TestJSON(t *testing.T) {
	got := string(JSON([]Difference{{"a\xff\"", Content}, {"b", Type}}, 3))
	want := `{"differences":[{"path":"a\u00ff\"","what":"content"},{"path":"b","what":"type"}],"more":3,"version":1}` + "\n"
	if got != want {
		t.Errorf("expected %s, got %s", want, got)
	}
	if got, want := string(JSON(nil, 0)), `{"differences":[],"version":1}`+"\n"; got != want {
		t.Errorf("expected %s, got %s", want, got)
	}
}
