package builtins

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"

	"nixbk/helper/internal/step"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func dir(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755} }

func file(name string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: 1, Mode: 0o644}
}

func link(kind byte, name, target string) tar.Header {
	return tar.Header{Name: name, Typeflag: kind, Linkname: target}
}

func archive(t *testing.T, members ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, member := range members {
		must(t, w.WriteHeader(&member))
		if member.Size > 0 {
			_, err := w.Write(make([]byte, member.Size))
			must(t, err)
		}
	}
	must(t, w.Close())
	return out.Bytes()
}

func compress[W io.WriteCloser](t *testing.T, data []byte, open func(io.Writer) (W, error)) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := open(&out)
	must(t, err)
	_, err = w.Write(data)
	must(t, err, w.Close())
	return out.Bytes()
}

// TestChannel has what Nix 2.34.8 made of such archives.
func TestChannel(t *testing.T) {
	const plain = "chan/\nchan/h\nchan/x"
	good := archive(t, dir("a"), file("a/x"), link(tar.TypeLink, "a/h", "a/x"))
	gzipped := func(data []byte) []byte {
		return compress(t, data, func(w io.Writer) (*gzip.Writer, error) { return gzip.NewWriter(w), nil })
	}
	lzmad := compress(t, good, func(w io.Writer) (*lzma.Writer, error) { return lzma.NewWriter(w) })
	xzed := compress(t, good, func(w io.Writer) (*xz.Writer, error) { return xz.NewWriter(w) })
	bzipped, err := base64.StdEncoding.DecodeString(
		"QlpoOTFBWSZTWUQZHpYAAKF7gMiAAQBAAO+AAANgQB5ACAggAHQbUgjQBp6g9QRShkaGgAPveYwpWCQgRNBSMrumGg4jJmokAwLtLaZgwFBkA7qYEy/WLPKVh6GC3athJ4Vfh+CCCFeqzEJfi7kinChIIgyPSwA=")
	must(t, err)
	damaged := bytes.Clone(good)
	damaged[600] ^= 1
	var zipped bytes.Buffer
	z := zip.NewWriter(&zipped)
	for _, name := range []string{"a/x", "a/h"} {
		_, err := z.Create(name)
		must(t, err)
	}
	must(t, z.Close())
	failed := func(text string) string { return "failed to extract archive (" + text + ")" }
	cases := map[string]struct {
		data []byte
		want string
	}{
		"tar":                   {good, plain},
		"gzip":                  {gzipped(good), plain},
		"gzip in two":           {append(gzipped(good[:1024]), gzipped(good[1024:])...), plain},
		"xz":                    {xzed, plain},
		"xz in gzip":            {gzipped(xzed), plain},
		"lzma":                  {lzmad, plain},
		"bzip2":                 {bzipped, plain},
		"zstd":                  {compress(t, good, func(w io.Writer) (*zstd.Encoder, error) { return zstd.NewWriter(w) }), plain},
		"zip":                   {zipped.Bytes(), plain},
		"from the root":         {archive(t, file("/a/x"), link(tar.TypeLink, "a/h", "/a/x")), plain},
		"dots":                  {archive(t, dir("./a"), file("a/./x"), file("a//h"), dir(".")), plain},
		"one file":              {archive(t, file("a")), "chan"},
		"global header":         {archive(t, tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}, file("a")), "chan"},
		"twice":                 {archive(t, file("a"), dir("a"), dir("a"), file("a/x"), file("a/x"), file("a/h")), plain},
		"a link in the way":     {archive(t, dir("a"), link(tar.TypeSymlink, "a/x", ".."), file("a/x"), file("a/h")), plain},
		"a link, then a folder": {archive(t, link(tar.TypeSymlink, "a", "/"), dir("a"), file("a/x"), file("a/h")), plain},
		"an unknown type":       {archive(t, dir("a"), tar.Header{Typeflag: 'Z', Name: "a/x"}, file("a/h")), plain},
		"through a link":        {archive(t, link(tar.TypeSymlink, "a", "/tmp"), file("a/x")), failed("Cannot extract through symlink OUT/a/x")},
		"through a link within": {archive(t, dir("a/r"), link(tar.TypeSymlink, "a/l", "r"), file("a/l/x")), failed("Cannot extract through symlink OUT/a/l/x")},
		"through a file":        {archive(t, file("a"), file("a/x")), failed("Could not stat OUT/a/x")},
		"up":                    {archive(t, file("a/../../x")), failed("Path contains '..'")},
		"hard link up":          {archive(t, link(tar.TypeLink, "a", "../x")), failed("Path contains '..'")},
		"hard link out":         {archive(t, link(tar.TypeLink, "a", "/etc/passwd")), failed("Hard-link target 'OUT/etc/passwd' does not exist")},
		"hard link by a link":   {archive(t, link(tar.TypeSymlink, "s", "/etc"), link(tar.TypeLink, "a", "s/passwd")), failed("Cannot extract through symlink OUT/s/passwd")},
		"device":                {archive(t, tar.Header{Typeflag: tar.TypeChar, Name: "a", Devmajor: 1, Devminor: 3}), failed("Can't create 'OUT/a'")},
		"file over folder":      {archive(t, file("a/x"), file("a")), failed("Can't replace existing directory with non-directory")},
		"cut off":               {good[:1100], failed("Truncated input file")},
		"damaged":               {damaged, "cannot get archive member name: Damaged tar archive (bad header checksum)"},
		"rubbish":               {bytes.Repeat([]byte("rubbish"), 1000), "failed to open archive: Unrecognized archive format"},
		"nothing":               {nil, "channel tarball 'SRC' is empty"},
		"zeros":                 {make([]byte, 10240), "channel tarball 'SRC' is empty"},
		"two":                   {archive(t, file("a"), file("b")), "channel tarball 'SRC' contains more than one file"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			source, out := filepath.Join(root, "src"), filepath.Join(root, "out")
			must(t, os.WriteFile(source, c.data, 0o644))
			err := unpackChannel(&task{
				Outputs: map[step.Text]step.Text{"out": step.Text(out)},
				Env:     map[step.Text]step.Text{"channelName": "chan", "src": step.Text(source)},
			})
			got := ""
			if err == nil {
				got = list(t, root, "out")
			} else {
				got = strings.ReplaceAll(strings.ReplaceAll(err.Error(), out, "OUT"), source, "SRC")
			}
			if got != c.want {
				t.Errorf("expected\n%s\ngot\n%s", c.want, got)
			}
		})
	}
}

// TestChannelName may not lead elsewhere.
func TestChannelName(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	err := unpackChannel(&task{
		Outputs: map[step.Text]step.Text{"out": step.Text(out)},
		Env:     map[step.Text]step.Text{"channelName": "../x", "src": "/nothing"},
	})
	if want := `channelName is not allowed to contain filesystem separators, got "../x"`; err == nil || err.Error() != want {
		t.Errorf("expected %q, got %v", want, err)
	}
}
