package unpack

import (
	"bytes"
	"testing"

	"nixbk/helper/internal/document"
	"nixbk/helper/internal/nar"
	"nixbk/helper/internal/step"
)

const (
	selfy = "/nix/store/v3kb54yb9z04vq3i9q5rz8ahvalk0wij-selfy"
	dep   = "/nix/store/k0bq3s4hdvxal217l04jr24n8jm5l29g-dep"

	sha512Hello = "0lrc0dwnvipqviibf7qfm1y492qvjwb1zhkcyi05cndmva1mr5gjcgrnz1x36djmk0sfg8djd2n0qv68vib2jg590mwznar9jcjphp7"
)

func executable(content string) []byte {
	var b bytes.Buffer
	w := nar.NewWriter(&b)
	w.Contents(true, uint64(len(content)))
	b.WriteString(content)
	w.ContentsDone(uint64(len(content)))
	return b.Bytes()
}

func link(target string) []byte {
	var b bytes.Buffer
	nar.NewWriter(&b).Strings("(", "type", "symlink", "target", target, ")")
	return b.Bytes()
}

func folder(name, content string) []byte {
	var b bytes.Buffer
	w := nar.NewWriter(&b)
	w.Strings("(", "type", "directory", "entry", "(", "name", name, "node")
	w.Contents(false, uint64(len(content)))
	b.WriteString(content)
	w.ContentsDone(uint64(len(content)))
	w.Strings(")", ")")
	return b.Bytes()
}

// TestContentAddress has what Nix 2.34.8 said of paths that `nix store add
// --mode … --hash-algo …` and `nix store make-content-addressed` made, and
// lies about them.
func TestContentAddress(t *testing.T) {
	hello, tool := archive("hello\n"), executable("#!/bin/sh\n")
	itself := folder("me", "I am "+selfy+" and "+dep+"\n")
	two := []step.Text{dep, selfy}
	cases := map[string]struct {
		data       []byte
		path       step.Text
		references []step.Text
		address    string
		want       string
	}{
		"nar":               {hello, "/nix/store/gwina1sjk7g95wq6fxc6b7s1hza53h74-hello", nil, "fixed:r:sha256:04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw", ""},
		"nar, base 16":      {hello, "/nix/store/gwina1sjk7g95wq6fxc6b7s1hza53h74-hello", nil, "fixed:r:sha256:1c37d01af40be2e80691de3cc3df44377a699afbb17c68f080964b2fd071fc13", ""},
		"nar, base 64":      {hello, "/nix/store/gwina1sjk7g95wq6fxc6b7s1hza53h74-hello", nil, "fixed:r:sha256:HDfQGvQL4ugGkd48w99EN3ppmvuxfGjwgJZLL9Bx/BM=", ""},
		"nar, executable":   {tool, "/nix/store/as01cz6a1b9n5kk4fkvb9jj8l97vwybr-tool", nil, "fixed:r:sha256:0m35wabrvlzjvv71f2xvca3vd91gh9mwvh4mm38h7yb0h9kc30v2", ""},
		"nar, SHA-1":        {hello, "/nix/store/ypkrwry3mx50aca2g82vp7if8fbg2skq-hello", nil, "fixed:r:sha1:wz60bbf44cw7nswp1wv8vcsyfg155sqd", ""},
		"flat":              {hello, "/nix/store/8zv8i345w2xn27jrxj4cyjc6x3b4am1q-hello", nil, "fixed:sha256:00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq", ""},
		"flat, executable":  {tool, "/nix/store/rsi5bi8pm6hlsfhaaxfm533xxy78s310-tool", nil, "fixed:sha256:1gss63iniqw2y8jr0hrlf4ksc2alyzdzgsi05c0h47nj50yns1x8", ""},
		"flat, SHA-512":     {hello, "/nix/store/5vapip0agyanfv7221kfbjiphdy7pzzp-hello", nil, "fixed:sha512:" + sha512Hello, ""},
		"text":              {hello, "/nix/store/nmrmdcw1bfnl35a893n7nyhw4xa5vy08-hello", nil, "text:sha256:00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq", ""},
		"git":               {hello, "/nix/store/dlr22xdmma53ig8996d4wfrbir1lppsg-hello", nil, "fixed:git:sha1:993998wwkrzrcmpp0slxpa0b0cjkc0ff", ""},
		"git, executable":   {tool, "/nix/store/q47aq2kcd9i228aw4b44db802rzmv66v-tool", nil, "fixed:git:sha1:r6zi9whf6f4zp4sc74r099rk3hjqa90s", ""},
		"itself and others": {itself, selfy, two, "fixed:r:sha256:19a3jpbyh425i0a9s9dj0cq7fgxiaacv7bl6szgwhh0mi772qr32", ""},
		"a reference kept back": {
			itself, selfy, []step.Text{selfy}, "fixed:r:sha256:19a3jpbyh425i0a9s9dj0cq7fgxiaacv7bl6szgwhh0mi772qr32",
			"the path '" + selfy + "' does not follow from its content, which makes it '/nix/store/",
		},
		"other content": {
			archive("hullo\n"), "/nix/store/8zv8i345w2xn27jrxj4cyjc6x3b4am1q-hello", nil,
			"fixed:sha256:00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq",
			"hash mismatch in the content of '/nix/store/8zv8i345w2xn27jrxj4cyjc6x3b4am1q-hello':\n" +
				"  specified: fixed:sha256:00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq\n" +
				"     got:    fixed:sha256:1wwm4nzs3rfyfpr7ybxf2ryfrj19a3g8aa5x0hx9rh4xrckkjphn",
		},
		"another name": {
			hello, "/nix/store/gwina1sjk7g95wq6fxc6b7s1hza53h74-hullo", nil, "fixed:r:sha256:04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw",
			"the path '/nix/store/gwina1sjk7g95wq6fxc6b7s1hza53h74-hullo' does not follow from its content, which makes it '/nix/store/",
		},
		"a link, flat": {
			link("hello"), "/nix/store/8zv8i345w2xn27jrxj4cyjc6x3b4am1q-hello", nil, "fixed:sha256:00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq",
			"'/nix/store/8zv8i345w2xn27jrxj4cyjc6x3b4am1q-hello' is a symlink, and its content address fixed:sha256:00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq that of a file",
		},
		"a file in a folder, flat": {
			folder("x", "hello\n"), "/nix/store/8zv8i345w2xn27jrxj4cyjc6x3b4am1q-hello", nil, "text:sha256:00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq",
			"'/nix/store/8zv8i345w2xn27jrxj4cyjc6x3b4am1q-hello' is a directory, and its content address text:sha256:00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq that of a file",
		},
		"text that mentions itself": {
			hello, "/nix/store/nmrmdcw1bfnl35a893n7nyhw4xa5vy08-hello", []step.Text{"/nix/store/nmrmdcw1bfnl35a893n7nyhw4xa5vy08-hello"},
			"text:sha256:00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq",
			"'/nix/store/nmrmdcw1bfnl35a893n7nyhw4xa5vy08-hello' has the content address text:sha256:00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq, with which no object refers to what it refers to",
		},
		"flat with references": {
			hello, "/nix/store/8zv8i345w2xn27jrxj4cyjc6x3b4am1q-hello", []step.Text{dep}, "fixed:sha256:00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq",
			"'/nix/store/8zv8i345w2xn27jrxj4cyjc6x3b4am1q-hello' has the content address fixed:sha256:00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq, with which no object refers to what it refers to",
		},
		"no archive, git": {
			[]byte("<html>"), "/nix/store/dlr22xdmma53ig8996d4wfrbir1lppsg-hello", nil, "fixed:git:sha1:993998wwkrzrcmpp0slxpa0b0cjkc0ff",
			"unpacking '/nix/store/dlr22xdmma53ig8996d4wfrbir1lppsg-hello': bad archive: input doesn't look like a Nix archive",
		},
		"unknown method": {
			hello, path, nil, "nar:sha256:x", "unpacking '" + path + "': unknown content address \"nar:sha256:x\"",
		},
		"unknown algorithm": {
			hello, path, nil, "fixed:r:crc32:x",
			"unpacking '" + path + "': content address \"fixed:r:crc32:x\": unknown hash algorithm \"crc32\"",
		},
		"nothing": {
			hello, path, nil, "text:", "unpacking '" + path + "': content address \"text:\": unknown hash algorithm \"\"",
		},
		"no hash part": {
			hello, "/nix/store/-x", nil, "fixed:sha256:x", "unpacking '/nix/store/-x': \"-x\" has no hash part",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			n := document.Nar{
				Nar:            step.Nar{Path: c.path, NarHash: sri(c.data), NarSize: uint64(len(c.data)), References: c.references},
				ContentAddress: c.address,
			}
			got := unpackOne(t, n, c.data)
			if (c.want == "") != (got == "") || !startsWith(got, c.want) {
				t.Errorf("expected %q, got %q", c.want, got)
			}
		})
	}
}
