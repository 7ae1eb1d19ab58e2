package builtins

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nixbk/helper/internal/step"
)

// plant makes a tree of "folder/", "file" and "link -> target" lines, in
// which names of other trees stand for their paths.
func plant(t *testing.T, root, name string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		path, target, link := strings.Cut(line, " -> ")
		full := filepath.Join(root, name, path)
		err := os.MkdirAll(filepath.Dir(full), 0o755)
		switch {
		case err != nil:
		case link:
			err = os.Symlink(filepath.Join(root, target), full)
		case strings.HasSuffix(path, "/"):
			err = os.MkdirAll(full, 0o755)
		default:
			err = os.WriteFile(full, []byte(root+"/p"), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func list(t *testing.T, root, name string) string {
	t.Helper()
	var lines []string
	top := filepath.Join(root, name)
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == top {
			return err
		}
		line := strings.TrimPrefix(path, top+"/")
		if entry.IsDir() {
			line += "/"
		} else if target, err := os.Readlink(path); err == nil {
			line += " -> " + strings.TrimPrefix(target, root+"/")
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// TestBuildenv has what Nix 2.34.8 made of the same packages.
func TestBuildenv(t *testing.T) {
	merged := `bin/
bin/a -> a/bin/a
bin/b -> b/bin/b
bin/p -> p/bin/p
lib -> a/lib
manifest.nix -> m
same -> b/same
share/
share/doc/
share/doc/x -> a/share/doc/x
share/doc/y -> b/share/doc/y`
	plain := "bin -> a/bin\nlib -> a/lib\nmanifest.nix -> m\nsame -> a/same\nshare -> a/share"
	cases := map[string]struct{ derivations, want string }{
		"priorities":                   {"true 5 1 @a true 4 1 @b false 1 1 @p", merged},
		"links to folders":             {"true 6 1 @a true 5 1 @b true 7 1 @l", merged},
		"a link to a folder":           {"true 6 1 @l true 5 1 @b", strings.ReplaceAll(strings.ReplaceAll(merged, "> a/", "> l/"), "lib -> l/lib\n", "")},
		"a package that is a file":     {"true 5 1 @f true 5 1 @a", plain},
		"a file that gives way":        {"true 5 1 @a true 6 1 @d", plain},
		"several paths, spaces, twice": {" true\t5 2 @a @a\ntrue 5 1 @a", plain},
		"conflict": {"true 5 1 @a true 5 1 @b", "Unable to build profile. There is a conflict for the following files:\n" +
			"\n         \"a/same\"\n         \"b/same\""},
		"folder over file": {"true 6 1 @a true 5 1 @d", `collision between "a/share" and non-directory "d/share"`},
		"no such package":  {"true 5 1 @x", `cannot read directory "x": No such file or directory`},
		"no number":        {"true x 1 @a", "stoi"},
		"no count":         {"true 1 x @a", "stoul"},
		"cut off":          {"true 1 2 @a", "attribute 'derivations' ends too early"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			plant(t, root, "a", "bin/a", "share/doc/x", "lib/", "same", "dangling -> nowhere", ".hidden", "nix-support/y")
			plant(t, root, "b", "bin/b", "share/doc/y", "same", "nix-support/propagated-user-env-packages")
			plant(t, root, "p", "bin/p", "same")
			plant(t, root, "l", "share -> a/share", "bin -> a/bin")
			plant(t, root, "d", "share")
			plant(t, root, "", "f")
			env := map[step.Text]step.Text{
				"derivations": step.Text(strings.ReplaceAll(c.derivations, "@", root+"/")), "manifest": step.Text(root + "/m"),
			}
			err := buildenv(&task{Outputs: map[step.Text]step.Text{"out": step.Text(root + "/out")}, Env: env})
			got := ""
			if err != nil {
				got = strings.ReplaceAll(err.Error(), root+"/", "")
			} else {
				got = list(t, root, "out")
			}
			if got != c.want {
				t.Errorf("expected\n%s\ngot\n%s", c.want, got)
			}
		})
	}
	err := buildenv(&task{Outputs: map[step.Text]step.Text{"out": step.Text(t.TempDir())}})
	if err == nil || err.Error() != "attribute 'derivations' missing" {
		t.Errorf("got %v", err)
	}
}
