package nar

import (
	"crypto/sha1"
	"encoding/hex"
	"testing"
)

// TestGit has what `git hash-object` and `git write-tree` said.
func TestGit(t *testing.T) {
	cases := map[string]struct{ archive, want string }{
		"file":         {archive(file("hello\n")...), "ce013625030ba8dba906f756967f9e9ca394464a"},
		"empty file":   {archive(file("")...), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"},
		"empty folder": {archive(dir()...), "4b825dc642cb6eb9a060e54bf8d69288fbee4904"},
		"link":         {archive("(", "type", "symlink", "target", "../x", ")"), "eda76f7226728b0f13def6ba3452fc35bb8d3961"},
		"tree": {
			archive(dir(
				entry("a", dir(entry("x", file("1")...))...),
				entry("a.b", file("2")...),
				entry("a0", "(", "type", "regular", "executable", "", "contents", "3", ")"),
				entry("l", "(", "type", "symlink", "target", "../x", ")"),
			)...),
			"2f47a12a8edbed992eb5df494208dcbc6cf10c4e",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewGit(sha1.New)
			_, _ = g.Write([]byte(c.archive))
			sum, err := g.Sum()
			if got := hex.EncodeToString(sum); err != nil || got != c.want {
				t.Errorf("expected %s, got %s, %v", c.want, got, err)
			}
		})
	}
	g := NewGit(sha1.New)
	_, _ = g.Write([]byte("no archive"))
	if _, err := g.Sum(); err == nil {
		t.Error("what is no archive has a hash")
	}
}
