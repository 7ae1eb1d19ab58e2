package pack

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nixbk/helper/internal/compression"
	"nixbk/helper/internal/nar"
	"nixbk/helper/internal/tree"
)

const path = "/nix/store/00000000000000000000000000000000-x"

func sri(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// object is an archive with everything an archive may hold, names in the
// order of their bytes.
func object() []byte {
	var b bytes.Buffer
	w := nar.NewWriter(&b)
	w.Strings("(", "type", "directory")
	entry := func(name string, write func()) {
		w.Strings("entry", "(", "name", name, "node")
		write()
		w.Strings(")")
	}
	contents := func(executable bool, content string) func() {
		return func() {
			w.Contents(executable, uint64(len(content)))
			b.WriteString(content)
			w.ContentsDone(uint64(len(content)))
		}
	}
	entry("A", contents(false, "1"))
	entry("a", contents(true, strings.Repeat("long", 300_000)))
	entry("a.b", func() { w.Strings("(", "type", "directory", ")") })
	entry("a0", func() { w.Strings("(", "type", "symlink", "target", "/etc/passwd", ")") })
	entry("\xff\n", contents(false, ""))
	w.Strings(")")
	return b.Bytes()
}

func unpacked(t *testing.T, archive []byte) string {
	t.Helper()
	root := t.TempDir()
	at, err := tree.OpenDir(unix.AT_FDCWD, root)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(at)
	if err := nar.Read(bytes.NewReader(archive), tree.NewRestorer(at, filepath.Base(path))); err != nil {
		t.Fatal(err)
	}
	return root
}

// TestInStore packs what was unpacked into the archive that it was, twice the
// same, and says so.
func TestInStore(t *testing.T) {
	archive := object()
	root := unpacked(t, archive)
	for _, format := range []string{"none", "gzip", "xz", "zstd"} {
		t.Run(format, func(t *testing.T) {
			var files [][]byte
			for range 2 {
				results := t.TempDir()
				packed, err := InStore(root, path, "", format, results)
				if err != nil {
					t.Fatal(err)
				}
				data, err := os.ReadFile(filepath.Join(results, Name))
				if err != nil {
					t.Fatal(err)
				}
				files = append(files, data)
				r, err := compression.NewReader(format, bytes.NewReader(data), compression.MaxWindow)
				if err != nil {
					t.Fatal(err)
				}
				var got bytes.Buffer
				if _, err := got.ReadFrom(r); err != nil || !bytes.Equal(got.Bytes(), archive) {
					t.Errorf("another archive of %d bytes, %v", got.Len(), err)
				}
				if packed.NarSize != uint64(len(archive)) || packed.NarHash.String() != sri(archive) ||
					packed.FileSize != uint64(len(data)) || packed.FileHash.String() != sri(data) {
					t.Errorf("a wrong promise: %s", packed.JSON())
				}
			}
			if !bytes.Equal(files[0], files[1]) {
				t.Error("the second file has other bytes")
			}
		})
	}
}

// TestJSON is canonical.
func TestJSON(t *testing.T) {
	results := t.TempDir()
	// A link needs no mount; what was left there before is replaced.
	if err := os.WriteFile(filepath.Join(results, Name), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	packed, err := InStore(t.TempDir(), path, "over/there", "none", results)
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	nar.NewWriter(&archive).Strings("(", "type", "symlink", "target", "over/there", ")")
	want := `{"compression":"none","fileHash":"` + sri(archive.Bytes()) + `","fileSize":128,"narHash":"` +
		sri(archive.Bytes()) + `","narSize":128,"path":"` + path + "\",\"version\":1}\n"
	if got := string(packed.JSON()); got != want {
		t.Errorf("expected %s, got %s", want, got)
	}
}

// TestRefused has what there is no file of.
func TestRefused(t *testing.T) {
	root := unpacked(t, object())
	inside := filepath.Join(root, filepath.Base(path))
	if err := errors.Join(os.Chmod(inside, 0o755), unix.Mkfifo(filepath.Join(inside, "pipe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ path, format, want string }{
		"pipe":        {path, "zstd", "file '" + path + "/pipe' has an unsupported type"},
		"missing":     {path + "y", "zstd", "stat " + path + "y: no such file or directory"},
		"compression": {path, "bzip2", `unknown compression "bzip2"`},
		"outside":     {"/nix/store/..", "none", `"/nix/store/.." is no store path`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := InStore(root, c.path, "", c.format, t.TempDir()); err == nil || err.Error() != c.want {
				t.Errorf("expected %q, got %v", c.want, err)
			}
		})
	}
}
