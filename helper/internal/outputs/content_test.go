package outputs

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"nixbk/helper/internal/hashes"
	"nixbk/helper/internal/step"
	"nixbk/helper/internal/tree"
)

// hello makes a tree with a file, an executable and a link.
func hello(t *testing.T, top string) {
	t.Helper()
	must(t,
		os.MkdirAll(filepath.Join(top, "sub"), 0o755),
		os.WriteFile(filepath.Join(top, "sub", "file"), []byte("hello\n"), 0o644),
		os.Symlink("sub/file", filepath.Join(top, "link")),
		os.WriteFile(filepath.Join(top, "run"), []byte("#!\n"), 0o755),
	)
}

// TestFloating has the paths that Nix 2.34.8 gave to derivations that make
// the same files.
func TestFloating(t *testing.T) {
	itself := step.StoreDir + "/" + out
	file := func(text string) func(*testing.T, string) {
		return func(t *testing.T, top string) {
			t.Helper()
			must(t, os.WriteFile(top, []byte(text), 0o644))
		}
	}
	const refuses = "fixed output derivation 'x' is not allowed to refer to other store paths.\n" +
		"  You may need to use the 'unsafeDiscardReferences' derivation attribute, see the manual for more details."
	cases := map[string]struct {
		method, algorithm string
		make              func(*testing.T, string)
		want              string
	}{
		"nar":        {"nar", "sha256", hello, "jhv8qsfhz4d3va3jcrx6xwr4f70vzk6b"},
		"nar sha512": {"nar", "sha512", hello, "6f0150krgv5k5x5lvrfh60gb7w46170g"},
		"nar sha1":   {"nar", "sha1", hello, "mhs70l6kx4ch51q2fmj0lxim84496y45"},
		"nar md5":    {"nar", "md5", hello, "4i1xj9h80iabb3vjn6qxmp3g5gfskm5h"},
		"git":        {"git", "sha1", hello, "xyzc9xybfzf4zq1q75w4vrpa1z826lld"},
		"git sha256": {"git", "sha256", hello, "2mnkyml22h5ys5xbmw0vnl5fszfxabkx"},
		"flat":       {"flat", "sha256", file("hello\n"), "974pyy65p8annw3kp4ibcknbhz1pndwm"},
		"flat sha1":  {"flat", "sha1", file("hello\n"), "dsc734dhhribw6ipnnx7jygx2drfv9hh"},
		"text":       {"text", "sha256", file("hello\n"), "rqg5w7rhsv8yqgywwssnamlvg3c7qmrn"},
		"itself twice": {
			"nar", "sha256", file(itself + "\n" + itself + "\n"), "1sjqi65v5b0zk4d3zj0539xchspy83a2",
		},
		"itself in texts, names and links": {"nar", "sha256", func(t *testing.T, top string) {
			hello(t, top)
			must(t,
				os.WriteFile(filepath.Join(top, "self"), []byte(itself+" "+itself+"\n"), 0o644),
				os.Symlink(itself+"/self", filepath.Join(top, "n-"+out)),
			)
		}, "gdh54wgq669khgqwm3cwrz7qk258gdsd"},
		"a link to itself": {"nar", "sha256", func(t *testing.T, top string) {
			t.Helper()
			must(t, os.Symlink(itself+"/x", top))
		}, "c021g5wrg6ifprbkikbqs81cx92zy53x"},
		"a folder, flat": {"flat", "sha256", hello, "output path '" + itself + "' should be a non-executable regular file" +
			" since recursive hashing is not enabled (one of outputHashMode={flat,text} is true)"},
		"itself, flat":   {"flat", "sha256", file(itself), refuses},
		"itself, text":   {"text", "sha256", file(itself), "self-reference not allowed with text hashing"},
		"itself, sha512": {"nar", "sha512", file(itself), refuses},
		"itself, git":    {"git", "sha1", file(itself), refuses},
		"git by md5":     {"git", "md5", hello, "Git file ingestion must use SHA-1 or SHA-256 hash, but instead using: md5"},
		"unsorted in the end": {"nar", "sha256", func(t *testing.T, top string) {
			t.Helper()
			must(t, os.Mkdir(top, 0o755), os.WriteFile(filepath.Join(top, out), nil, 0o644))
			for _, c := range "0123456789abcdfghijklmnpqrsvwxyz" {
				must(t, os.WriteFile(filepath.Join(top, string(c)), nil, 0o644))
			}
		}, "bad archive: directory is not sorted:"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			in, dir := newStore(t)
			c.make(t, filepath.Join(dir, out))
			s := &step.Step{
				Outputs:  map[step.Text]step.Text{"out": path(out)},
				Floating: map[step.Text]step.Floating{"out": {Method: c.method, Algorithm: c.algorithm}},
			}
			outputs, err := Register(s, in, tree.NewTrustingRegistrar())
			if err != nil {
				if !strings.HasPrefix(err.Error(), c.want) {
					t.Fatalf("expected %q, got %q", c.want, err)
				}
				return
			}
			final := step.StoreDir + "/" + c.want + "-x"
			if outputs["out"].Path != final {
				t.Fatalf("expected %s, got %s", final, outputs["out"].Path)
			}
			entries, err := os.ReadDir(dir)
			must(t, err)
			if len(entries) != 2 {
				t.Errorf("the store has %v", entries)
			}
			// What was found is what there is now.
			again, err := Register(
				&step.Step{Outputs: map[step.Text]step.Text{"out": step.Text(final)}}, in, tree.NewTrustingRegistrar())
			must(t, err)
			want := outputs["out"]
			want.ContentAddress = ""
			if !reflect.DeepEqual(again["out"], want) {
				t.Errorf("expected %+v, got %+v", want, again["out"])
			}
		})
	}
}

// TestSiblings has outputs that mention each other, as Nix 2.34.8 moves them.
func TestSiblings(t *testing.T) {
	const derivation = "3knppgyskkjfrcimmjj2x23kyrlymyqx-x.drv"
	scratch := func(output, name string) string {
		zeros := hashes.Hash{Algorithm: "sha256", Digest: make([]byte, 32)}
		return hashes.StorePath(step.StoreDir, "rewrite:"+derivation+":name:"+output, zeros, name)
	}
	out, dev, lib := scratch("out", "x"), scratch("dev", "x-dev"), scratch("lib", "x-lib")
	cases := map[string]struct {
		discard bool
		refs    string
		want    map[string]string
	}{
		"references": {false, "", map[string]string{
			"out": "ha47kgqn7blw57k3bcc1bmykll51lgw1-x",
			"dev": "ylmvf499vvagz99l7j222kxq56g2q3am-x-dev",
			"lib": "0mipywj2wpvgbcpdffpivin8bpgdi7wd-x-lib",
		}},
		// dev is first in the alphabet, and is left with a path lib had.
		"discarded": {true, " " + string(path(out)), map[string]string{
			"out": "7rxsh2pjvrcrn125w2dfwigdwhg71ak9-x",
			"dev": "8lzvkccaqvbq8jss9v57f2r973l1zkyk-x-dev",
			"lib": "0mipywj2wpvgbcpdffpivin8bpgdi7wd-x-lib",
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			in, dir := newStore(t)
			refs := string(path(dev)+" "+path(lib)) + c.refs + "\n"
			must(t,
				os.Mkdir(filepath.Join(dir, out), 0o755),
				os.WriteFile(filepath.Join(dir, out, "refs"), []byte(refs), 0o644),
				os.WriteFile(filepath.Join(dir, dev), []byte(path(lib)+" "+path(dev)+"\n"), 0o644),
				os.WriteFile(filepath.Join(dir, lib), []byte("lib\n"), 0o644),
			)
			floating := step.Floating{Method: "nar", Algorithm: "sha256"}
			s := &step.Step{
				Outputs:  map[step.Text]step.Text{"out": path(out), "dev": path(dev), "lib": path(lib)},
				Floating: map[step.Text]step.Floating{"out": floating, "dev": floating, "lib": floating},
				Checks: map[step.Text]step.Checks{
					"out": {AllowedReferences: &[]step.Text{path(dev), "lib"}},
				},
			}
			if c.discard {
				s.Discard = []step.Text{"out", "dev", "lib"}
			}
			outputs, err := Register(s, in, tree.NewTrustingRegistrar())
			must(t, err)
			for name, want := range c.want {
				if got := outputs[name].Path; got != string(path(want)) {
					t.Errorf("expected %s, got %s", want, got)
				}
			}
			if c.discard {
				return
			}
			text, err := os.ReadFile(filepath.Join(dir, c.want["out"], "refs"))
			must(t, err)
			if want := string(path(c.want["dev"]) + " " + path(c.want["lib"]) + "\n"); string(text) != want {
				t.Errorf("expected %q, got %q", want, text)
			}
			if want := []string{string(path(c.want["lib"])), string(path(c.want["dev"]))}; !reflect.DeepEqual(outputs["dev"].References, want) {
				t.Errorf("expected %v, got %v", want, outputs["dev"].References)
			}
		})
	}
}

// TestExisting leaves an input alone that an output turns out to be.
func TestExisting(t *testing.T) {
	in, dir := newStore(t)
	const final = "974pyy65p8annw3kp4ibcknbhz1pndwm-x"
	must(t, os.WriteFile(filepath.Join(dir, out), []byte("hello\n"), 0o644))
	in.Inputs = append(in.Inputs, final)
	s := &step.Step{
		Outputs:  map[step.Text]step.Text{"out": path(out)},
		Floating: map[step.Text]step.Floating{"out": {Method: "flat", Algorithm: "sha256"}},
	}
	outputs, err := Register(s, in, tree.NewTrustingRegistrar())
	must(t, err)
	if got := outputs["out"]; !got.Existing || got.Path != string(path(final)) {
		t.Errorf("got %+v", got)
	}
	if _, err := os.Lstat(filepath.Join(dir, out)); !os.IsNotExist(err) {
		t.Errorf("the output is still there: %v", err)
	}
}

// TestHidden is no reference, be it mentioned or not.
func TestHidden(t *testing.T) {
	in, dir := newStore(t)
	must(t, os.WriteFile(filepath.Join(dir, out), []byte(input+link), 0o644))
	s := &step.Step{Outputs: map[step.Text]step.Text{"out": path(out)}, Hidden: []step.Text{path(input)}}
	outputs, err := Register(s, in, tree.NewTrustingRegistrar())
	must(t, err)
	if want := []string{string(path(link))}; !reflect.DeepEqual(outputs["out"].References, want) {
		t.Errorf("expected %v, got %v", want, outputs["out"].References)
	}
}
