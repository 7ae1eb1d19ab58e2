package unpack

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nixbk/helper/internal/document"
	"nixbk/helper/internal/nar"
	"nixbk/helper/internal/step"
)

// node is an archive in the making, strings of the format.
type node []string

func file(content string) node { return node{"(", "type", "regular", "contents", content, ")"} }

func symlink(target string) node { return node{"(", "type", "symlink", "target", target, ")"} }

// directory has names and nodes by turns, and keeps their order.
func directory(entries ...any) node {
	out := node{"(", "type", "directory"}
	for i := 0; i < len(entries); i += 2 {
		out = append(out, "entry", "(", "name", entries[i].(string), "node")
		out = append(append(out, entries[i+1].(node)...), ")")
	}
	return append(out, ")")
}

func nested(depth int, inner node) node {
	for range depth {
		inner = directory("d", inner)
	}
	return inner
}

func (n node) archive() []byte {
	var b bytes.Buffer
	nar.NewWriter(&b).Strings(n...)
	return b.Bytes()
}

func promised(data []byte) document.Nar {
	return document.Nar{Nar: step.Nar{Path: path, NarHash: sri(data), NarSize: uint64(len(data))}}
}

// TestHostile has archives whose size and hash are as signed, by somebody who
// wants to leave the store object.
func TestHostile(t *testing.T) {
	const bad = "unpacking '" + path + "': bad archive: "
	sized := func(size uint64) []byte {
		data := node{"(", "type", "regular", "contents"}.archive()
		return binary.LittleEndian.AppendUint64(data, size)
	}
	many := make([]any, 0, 4000)
	for i := range cap(many) / 2 {
		many = append(many, "f"+strconv.Itoa(10_000+i), file(""))
	}
	cases := map[string]struct {
		data []byte
		want string
	}{
		"names of every kind": {directory(
			"\x01", file(""), "\n", file(""), " ", file(""), "-rf", file(""), "...", file(""), ".nix", file(""),
			"A", file("1"), "B~", file(""), "C:\\x", file(""), "a", file("2"), "con", file(""),
			"\xc3\x84", file("3"), "\xc3\xa4", file("4"), "\xff\xfe", file(""),
		).archive(), ""},
		"case variants":       {directory("Makefile", file("1"), "makefile", file("2")).archive(), ""},
		"composed and not":    {directory("e\xcc\x81", file("1"), "\xc3\xa9", file("2")).archive(), ""},
		"longest name":        {directory(strings.Repeat("n", 255), file("")).archive(), ""},
		"longest target":      {symlink(strings.Repeat("t", 4095)).archive(), ""},
		"deepest":             {nested(63, file("x")).archive(), ""},
		"many files":          {directory(many...).archive(), ""},
		"target anywhere":     {directory("l", symlink("/etc/passwd"), "u", symlink("../../../..")).archive(), ""},
		"too deep":            {nested(64, file("x")).archive(), bad + "nesting exceeds the maximum depth of 64"},
		"far too deep":        {nested(2000, file("x")).archive(), bad + "nesting exceeds the maximum depth of 64"},
		"parent":              {directory("..", file("x")).archive(), bad + `invalid file name ".."`},
		"itself":              {directory(".", file("x")).archive(), bad + `invalid file name "."`},
		"empty name":          {directory("", file("x")).archive(), bad + `invalid file name ""`},
		"absolute":            {directory("/etc/passwd", file("x")).archive(), bad + `invalid file name "/etc/passwd"`},
		"through a link":      {directory("l", symlink("/"), "l/x", file("x")).archive(), bad + `invalid file name "l/x"`},
		"NUL":                 {directory("a\x00b", file("x")).archive(), bad + `invalid file name "a\x00b"`},
		"a link, then a file": {directory("l", symlink("/etc/passwd"), "l", file("x")).archive(), bad + `directory is not sorted: "l" follows "l"`},
		"a link, then a folder": {
			directory("l", symlink("/etc"), "l", directory("x", file("x"))).archive(),
			bad + `directory is not sorted: "l" follows "l"`,
		},
		"twice":               {directory("x", file("1"), "y", file(""), "x", file("2")).archive(), bad + `directory is not sorted: "x" follows "y"`},
		"unsorted":            {directory("b", file(""), "a", file("")).archive(), bad + `directory is not sorted: "a" follows "b"`},
		"a device":            {node{"(", "type", "device", ")"}.archive(), bad + `unknown file type "device"`},
		"executable folder":   {node{"(", "type", "directory", "executable", "", ")"}.archive(), bad + `expected tag "entry" or ")", got "executable"`},
		"file of 2^62 bytes":  {sized(1 << 62), bad + "unexpected end"},
		"file of 2^63 bytes":  {sized(1 << 63), bad + "a file of 9223372036854775808 bytes"},
		"file of -1 bytes":    {sized(1<<64 - 1), bad + "a file of 18446744073709551615 bytes"},
		"nothing":             {nil, bad + "input doesn't look like a Nix archive"},
		"something follows":   {append(file("x").archive(), 0), bad + "something follows the archive"},
		"two archives":        {append(file("x").archive(), file("x").archive()...), bad + "something follows the archive"},
		"contents after all":  {append(file("x").archive(), directory().archive()[24:]...), bad + "something follows the archive"},
		"name of 256 bytes":   {directory(strings.Repeat("n", 256), file("")).archive(), bad + "a string of 256 bytes where at most 255 may be"},
		"target of 4096":      {symlink(strings.Repeat("t", 4096)).archive(), bad + "a string of 4096 bytes where at most 4095 may be"},
		"another file system": {directory(strings.Repeat("\xff", 255), file("")).archive(), ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := unpackOne(t, promised(c.data), c.data); got != c.want {
				t.Errorf("expected %q, got %q", c.want, got)
			}
		})
	}
}

// TestSameTree keeps case variants apart, and gives modes, owners and times
// that the archive cannot choose.
func TestSameTree(t *testing.T) {
	data := directory(
		"A", file("1"), "a", file("2"), "l", symlink("/etc"),
		"x", node{"(", "type", "regular", "executable", "", "contents", "3", ")"},
	).archive()
	root := t.TempDir()
	fuzzed(t, root, data)
	got := map[string]string{}
	err := filepath.WalkDir(root+path, func(name string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(name, &st)
		}
		content, _ := os.ReadFile(name)
		if st.Mode&unix.S_IFMT == unix.S_IFLNK {
			target, _ := os.Readlink(name)
			content = []byte("-> " + target)
		}
		if st.Mtim != (unix.Timespec{Sec: 1}) || st.Nlink != 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			t.Errorf("%s: %v, %d links", name, st.Mtim, st.Nlink)
		}
		got[name[len(root+path):]] = strconv.FormatUint(uint64(st.Mode), 8) + " " + string(content)
		return err
	})
	want := map[string]string{
		"": "40555 ", "/A": "100444 1", "/a": "100444 2", "/l": "120777 -> /etc", "/x": "100555 3",
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("expected %v, got %v, %v", want, got, err)
	}
}

// TestTwice refuses two archives of one path.
func TestTwice(t *testing.T) {
	data := archive("x")
	root := t.TempDir()
	if err := fuzzed(t, root, data, data); err == nil || !strings.Contains(err.Error(), "file exists") {
		t.Errorf("two archives of one path: %v", err)
	}
}

// FuzzUnpack holds that nothing but the object is made, and nothing at all of
// what is refused.
func FuzzUnpack(f *testing.F) {
	f.Add(file("x").archive())
	f.Add(directory("..", file("x")).archive())
	f.Add(directory("l", symlink("/tmp"), "l/x", file("x")).archive())
	f.Add(directory("A", directory("a", symlink("..")), "a", file("x")).archive())
	f.Add(nested(64, file("x")).archive())
	f.Fuzz(func(t *testing.T, data []byte) {
		root := t.TempDir()
		err := fuzzed(t, root, data)
		for dir, most := range map[string]int{root: 2, root + "/nix": 1, root + "/nix/store": 1} {
			found, failed := os.ReadDir(dir)
			if failed != nil || len(found) > most || (err != nil && dir == root+"/nix/store" && len(found) > 0) {
				t.Errorf("%v in %s after %v, %v", found, dir, err, failed)
			}
		}
	})
}
