package unpack

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nixbk/helper/internal/document"
	"nixbk/helper/internal/nar"
	"nixbk/helper/internal/step"
	"nixbk/helper/internal/store"
)

const path = "/nix/store/00000000000000000000000000000000-x"

func archive(content string) []byte {
	var b bytes.Buffer
	w := nar.NewWriter(&b)
	w.Contents(false, uint64(len(content)))
	b.WriteString(content)
	w.ContentsDone(uint64(len(content)))
	return b.Bytes()
}

func sri(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// TestAll unpacks what is as promised and leaves nothing of what is not.
func TestAll(t *testing.T) {
	small := archive("hello")
	large := archive(strings.Repeat("large", 1<<20))
	promise := func(data []byte, change func(*step.Nar)) document.Nar {
		n := step.Nar{Path: path, NarHash: sri(data), NarSize: uint64(len(data)), Compression: "none"}
		change(&n)
		return document.Nar{Nar: n}
	}
	same := func(*step.Nar) {}
	cases := map[string]struct {
		data []byte
		nar  document.Nar
		want string
	}{
		"small": {small, promise(small, same), ""},
		"large": {large, promise(large, same), ""},
		"another hash": {
			small, promise(small, func(n *step.Nar) { n.NarHash = sri(large) }),
			"hash mismatch in the archive of '" + path + "':\n  specified: " + sri(large) + "\n     got:    " + sri(small),
		},
		"longer": {
			large, promise(large, func(n *step.Nar) { n.NarSize = 100 }),
			"the archive of '" + path + "' is longer than its 100 bytes",
		},
		"one byte longer": {
			small, promise(small, func(n *step.Nar) { n.NarSize-- }),
			"the archive of '" + path + "' is longer than its 119 bytes",
		},
		"shorter": {
			small, promise(small, func(n *step.Nar) { n.NarSize++ }),
			"the archive of '" + path + "' has 120 bytes instead of 121",
		},
		"truncated": {
			small[:100], promise(small, same),
			"unpacking '" + path + "': bad archive: unexpected end",
		},
		"no archive": {
			[]byte("<html>"), promise([]byte("<html>"), same),
			"unpacking '" + path + "': bad archive: input doesn't look like a Nix archive",
		},
		"compression": {
			small, promise(small, func(n *step.Nar) { n.Compression = "lzop" }),
			"unpacking '" + path + "': unknown compression \"lzop\"",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			in, err := store.Open(root)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(root, "nar")
			if err := os.WriteFile(file, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			err = All([]document.Nar{c.nar}, []*store.Store{in}, func(int) string { return file })
			_, stat := os.Stat(root + path)
			if c.want == "" {
				if err != nil || stat != nil {
					t.Errorf("it was refused: %v, %v", err, stat)
				}
				return
			}
			if err == nil || err.Error() != c.want {
				t.Errorf("expected %q, got %v", c.want, err)
			}
			if !errors.Is(stat, os.ErrNotExist) {
				t.Error("something is left")
			}
		})
	}
}

// TestMany unpacks more archives than there are processors.
func TestMany(t *testing.T) {
	root := t.TempDir()
	in, err := store.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	var nars []document.Nar
	for i := range 50 {
		data := archive(strconv.Itoa(i))
		if err := os.WriteFile(filepath.Join(root, strconv.Itoa(i)), data, 0o600); err != nil {
			t.Fatal(err)
		}
		nars = append(nars, document.Nar{Nar: step.Nar{
			Path: step.Text(path + strconv.Itoa(i)), NarHash: sri(data), NarSize: uint64(len(data)),
		}})
	}
	if err := All(nars, []*store.Store{in}, func(i int) string { return filepath.Join(root, strconv.Itoa(i)) }); err != nil {
		t.Fatal(err)
	}
	for i := range nars {
		got, err := os.ReadFile(root + path + strconv.Itoa(i))
		if err != nil || string(got) != strconv.Itoa(i) {
			t.Errorf("%d became %q, %v", i, got, err)
		}
	}
}

// TestRoots unpacks each archive where it is to lie, and nowhere else.
func TestRoots(t *testing.T) {
	data := archive("text")
	file := filepath.Join(t.TempDir(), "nar")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	roots := []string{t.TempDir(), t.TempDir()}
	var stores []*store.Store
	var nars []document.Nar
	for i, root := range []int{0, 1, 1} {
		nars = append(nars, document.Nar{Root: root, Nar: step.Nar{
			Path: step.Text(path + strconv.Itoa(i)), NarHash: sri(data), NarSize: uint64(len(data)),
		}})
	}
	for _, root := range roots {
		in, err := store.Open(root)
		if err != nil {
			t.Fatal(err)
		}
		stores = append(stores, in)
	}
	if err := All(nars, stores, func(int) string { return file }); err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]string{{"0"}, {"1", "2"}} {
		found, err := filepath.Glob(roots[i] + path + "*")
		for n, name := range want {
			want[n] = roots[i] + path + name
		}
		if err != nil || !slices.Equal(found, want) {
			t.Errorf("root %d has %v, %v", i, found, err)
		}
	}
	for _, nowhere := range []int{-1, 2} {
		nars[0].Root = nowhere
		err := All(nars[:1], stores, func(int) string { return file })
		if want := fmt.Sprintf("unpacking '%s0': there is no root %d for it", path, nowhere); err == nil || err.Error() != want {
			t.Errorf("expected %q, got %v", want, err)
		}
	}
}

// TestFirstError is the error of the first archive that has one, in the order
// of the step, whichever is found first.
func TestFirstError(t *testing.T) {
	small, large := archive("small"), archive(strings.Repeat("large", 1<<20))
	for _, files := range [][][]byte{{small, small, large}, {large, large, small}} {
		var nars []document.Nar
		for i, data := range files {
			n := promised(data)
			n.Path = step.Text(path + strconv.Itoa(i))
			if i > 0 {
				n.NarHash = sri([]byte("something else"))
			}
			nars = append(nars, n)
		}
		for range 5 {
			root := t.TempDir()
			err := unpackAll(t, root, nars, files)
			if err == nil || !startsWith(err.Error(), "hash mismatch in the archive of '"+path+"1'") {
				t.Errorf("expected the hash of %s1 to be wrong, got %v", path, err)
			}
			left, _ := os.ReadDir(root + "/nix/store")
			if len(left) != 1 {
				t.Errorf("%v is left", left)
			}
		}
	}
}

// fuzzed unpacks archives to one path, each with the size and hash it has.
func fuzzed(t *testing.T, root string, archives ...[]byte) error {
	t.Helper()
	var nars []document.Nar
	for _, data := range archives {
		nars = append(nars, promised(data))
	}
	return unpackAll(t, root, nars, archives)
}

func unpackAll(t *testing.T, root string, nars []document.Nar, archives [][]byte) error {
	t.Helper()
	in, err := store.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(in.Fd()) })
	source := func(i int) string { return filepath.Join(root, "nars", strconv.Itoa(i)) }
	if err := os.Mkdir(filepath.Join(root, "nars"), 0o700); err != nil {
		t.Fatal(err)
	}
	for i, data := range archives {
		if err := os.WriteFile(source(i), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return All(nars, []*store.Store{in}, source)
}

// unpackOne unpacks one archive and returns why it could not be; whatever the
// reason, nothing of it may be left then.
func unpackOne(t *testing.T, n document.Nar, data []byte) string {
	t.Helper()
	root := t.TempDir()
	err := unpackAll(t, root, []document.Nar{n}, [][]byte{data})
	found, failed := os.ReadDir(root + "/nix/store")
	if failed != nil {
		t.Fatal(failed)
	}
	if err == nil {
		if len(found) != 1 {
			t.Errorf("%d objects were made", len(found))
		}
		return ""
	}
	if len(found) != 0 {
		t.Errorf("%v is left after %v", found, err)
	}
	return err.Error()
}

func startsWith(text, start string) bool { return strings.HasPrefix(text, start) }
