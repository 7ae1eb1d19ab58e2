package nar

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// text is a string of the format.
func text(s string) string {
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, uint64(len(s)))
	b.WriteString(s)
	b.Write(make([]byte, -len(s)&7))
	return b.String()
}

func archive(strings ...string) string {
	out := text(Magic)
	for _, s := range strings {
		out += text(s)
	}
	return out
}

// log is a sink that writes the tree down.
type log struct {
	strings.Builder
	depth int
}

func (l *log) line(format string, args ...any) {
	fmt.Fprintf(l, strings.Repeat(" ", l.depth)+format+"\n", args...)
}

func (l *log) Directory(name string) error {
	l.line("%q/", name)
	l.depth++
	return nil
}

func (l *log) Leave() error {
	l.depth--
	return nil
}

func (l *log) Symlink(name, target string) error {
	l.line("%q -> %q", name, target)
	return nil
}

func (l *log) Regular(name string, executable bool, size uint64, contents io.Reader) error {
	data, err := io.ReadAll(contents)
	l.line("%q %t %d %q", name, executable, size, data)
	return err
}

func file(content string) []string { return []string{"(", "type", "regular", "contents", content, ")"} }

func entry(name string, node ...string) []string {
	out := append([]string{"entry", "(", "name", name, "node"}, node...)
	return append(out, ")")
}

func dir(entries ...[]string) []string {
	out := []string{"(", "type", "directory"}
	for _, e := range entries {
		out = append(out, e...)
	}
	return append(out, ")")
}

func nested(depth int) []string {
	node := file("x")
	for range depth {
		node = dir(entry("d", node...))
	}
	return node
}

// TestRead reads archives in pieces of every kind and says what they hold.
func TestRead(t *testing.T) {
	cases := map[string]struct{ archive, want string }{
		"file":            {archive(file("hi")...), "\"\" false 2 \"hi\"\n"},
		"empty file":      {archive(file("")...), "\"\" false 0 \"\"\n"},
		"executable":      {archive("(", "type", "regular", "executable", "", "contents", "x", ")"), "\"\" true 1 \"x\"\n"},
		"symlink":         {archive("(", "type", "symlink", "target", "../x", ")"), "\"\" -> \"../x\"\n"},
		"empty directory": {archive(dir()...), "\"\"/\n"},
		"directory": {
			archive(dir(entry("A", file("1")...), entry("a", dir()...), entry("\xff", file("2")...))...),
			"\"\"/\n \"A\" false 1 \"1\"\n \"a\"/\n \"\\xff\" false 1 \"2\"\n",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			readers := map[string]io.Reader{
				"whole":         strings.NewReader(c.archive),
				"bytes":         iotest.OneByteReader(strings.NewReader(c.archive)),
				"end with data": iotest.DataErrReader(strings.NewReader(c.archive)),
			}
			for kind, r := range readers {
				sink := new(log)
				if err := Read(r, sink); err != nil || sink.String() != c.want {
					t.Errorf("%s: expected %q, got %q, %v", kind, c.want, sink, err)
				}
			}
		})
	}
}

// TestRefused has one hostile archive for each rule.
func TestRefused(t *testing.T) {
	valid := archive(dir(entry("a", file("x")...))...)
	cases := map[string]struct{ archive, want string }{
		"empty":           {"", "bad archive: input doesn't look like a Nix archive"},
		"another magic":   {text("nix-archive-2") + valid[24:], "bad archive: input doesn't look like a Nix archive"},
		"long magic":      {text(strings.Repeat("x", 99)), "bad archive: input doesn't look like a Nix archive"},
		"trailing bytes":  {valid + "\x00", "bad archive: something follows the archive"},
		"two archives":    {valid + valid, "bad archive: something follows the archive"},
		"unknown type":    {archive("(", "type", "fifo", ")"), `bad archive: unknown file type "fifo"`},
		"no type":         {archive("(", "kind"), `bad archive: expected tag "type", got "kind"`},
		"unsorted":        {archive(dir(entry("b", file("")...), entry("a", file("")...))...), `bad archive: directory is not sorted: "a" follows "b"`},
		"duplicate":       {archive(dir(entry("a", file("")...), entry("a", file("")...))...), `bad archive: directory is not sorted: "a" follows "a"`},
		"empty name":      {archive(dir(entry("", file("")...))...), `bad archive: invalid file name ""`},
		"dot":             {archive(dir(entry(".", file("")...))...), `bad archive: invalid file name "."`},
		"dot dot":         {archive(dir(entry("..", file("")...))...), `bad archive: invalid file name ".."`},
		"slash":           {archive(dir(entry("a/b", file("")...))...), `bad archive: invalid file name "a/b"`},
		"NUL in name":     {archive(dir(entry("a\x00", file("")...))...), `bad archive: invalid file name "a\x00"`},
		"long name":       {archive(dir(entry(strings.Repeat("n", 256), file("")...))...), "bad archive: a string of 256 bytes where at most 255 may be"},
		"empty target":    {archive("(", "type", "symlink", "target", "", ")"), `bad archive: invalid symlink target ""`},
		"NUL in target":   {archive("(", "type", "symlink", "target", "\x00", ")"), `bad archive: invalid symlink target "\x00"`},
		"long target":     {archive("(", "type", "symlink", "target", strings.Repeat("t", 4096), ")"), "bad archive: a string of 4096 bytes where at most 4095 may be"},
		"executable x":    {archive("(", "type", "regular", "executable", "x"), `bad archive: expected tag "", got "x"`},
		"executable last": {archive("(", "type", "regular", "contents", "x", "executable"), `bad archive: expected tag ")", got "executable"`},
		"no contents":     {archive("(", "type", "regular", ")"), `bad archive: expected tag "contents", got ")"`},
		"entry in a file": {archive("(", "type", "directory", "contents"), `bad archive: expected tag "entry" or ")", got "contents"`},
		"too deep":        {archive(nested(64)...), "bad archive: nesting exceeds the maximum depth of 64"},
		"padding":         {strings.Replace(archive(file("x")...), "x\x00", "x\x01", 1), "bad archive: non-zero padding"},
		"padding of tag":  {strings.Replace(archive(file("x")...), "type\x00", "type\x01", 1), "bad archive: non-zero padding"},
		"huge file": {
			archive("(", "type", "regular", "contents") + "\xff\xff\xff\xff\xff\xff\xff\x7f",
			"bad archive: a file of 9223372036854775807 bytes",
		},
		"huge string": {archive("(") + "\xff\xff\xff\xff\xff\xff\xff\xff", "bad archive: a string of 18446744073709551615 bytes where at most 32 may be"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := Read(strings.NewReader(c.archive), new(log))
			if err == nil || err.Error() != c.want {
				t.Errorf("expected %q, got %v", c.want, err)
			}
		})
	}
	for cut := range len(valid) {
		if err := Read(strings.NewReader(valid[:cut]), new(log)); err == nil || !(strings.Contains(err.Error(), "unexpected end") || (cut < 24 && strings.HasSuffix(err.Error(), "like a Nix archive"))) {
			t.Errorf("cut after %d bytes: %v", cut, err)
		}
	}
	if err := Read(strings.NewReader(archive(nested(63)...)), new(log)); err != nil {
		t.Errorf("the greatest depth: %v", err)
	}
}

// rewriter is a sink that writes the archive again.
type rewriter struct {
	w    *Writer
	to   io.Writer
	tops []string
}

func (r *rewriter) open(name string) {
	if len(r.tops) > 0 {
		r.w.Strings("entry", "(", "name", name, "node")
	}
}

func (r *rewriter) close() {
	if len(r.tops) > 0 {
		r.w.Strings(")")
	}
}

func (r *rewriter) Directory(name string) error {
	r.open(name)
	r.tops = append(r.tops, name)
	r.w.Strings("(", "type", "directory")
	return nil
}

func (r *rewriter) Leave() error {
	r.w.Strings(")")
	r.tops = r.tops[:len(r.tops)-1]
	r.close()
	return nil
}

func (r *rewriter) Symlink(name, target string) error {
	r.open(name)
	r.w.Strings("(", "type", "symlink", "target", target, ")")
	r.close()
	return nil
}

func (r *rewriter) Regular(name string, executable bool, size uint64, contents io.Reader) error {
	r.open(name)
	r.w.Contents(executable, size)
	if _, err := io.Copy(r.to, contents); err != nil {
		return err
	}
	r.w.ContentsDone(size)
	r.close()
	return nil
}

// FuzzRead holds that whatever is read is written again with the same bytes.
func FuzzRead(f *testing.F) {
	f.Add([]byte(archive(file("hello")...)))
	f.Add([]byte(archive("(", "type", "regular", "executable", "", "contents", "x", ")")))
	f.Add([]byte(archive("(", "type", "symlink", "target", "../x", ")")))
	f.Add([]byte(archive(dir(entry("a", dir()...), entry("b", file("x")...))...)))
	f.Add([]byte(archive(nested(5)...)))
	f.Fuzz(func(t *testing.T, data []byte) {
		var out bytes.Buffer
		err := Read(bytes.NewReader(data), &rewriter{w: NewWriter(&out), to: &out})
		if err == nil && !bytes.Equal(out.Bytes(), data) {
			t.Fatalf("%q became %q", data, out.Bytes())
		}
	})
}

// TestFlat takes a file's contents out of its archive, however it is cut.
func TestFlat(t *testing.T) {
	for _, content := range []string{"", "x", "12345678", strings.Repeat("long", 100)} {
		whole := archive(file(content)...)
		for cut := range len(whole) + 1 {
			var got bytes.Buffer
			f := NewFlat(&got)
			_, _ = f.Write([]byte(whole[:cut]))
			_, _ = f.Write([]byte(whole[cut:]))
			if got.String() != content {
				t.Fatalf("expected %q, got %q", content, got.String())
			}
		}
	}
}
