package outputs

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"

	"nixbk/helper/internal/step"
	"nixbk/helper/internal/store"
	"nixbk/helper/internal/tree"
)

const (
	out   = "11111111111111111111111111111111-x"
	dev   = "22222222222222222222222222222222-x-dev"
	input = "33333333333333333333333333333333-in"
	link  = "44444444444444444444444444444444-link"
)

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// newStore has one input that is a folder and one that is a link.
func newStore(t testing.TB) (*store.Store, string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("owners can be changed by root only")
	}
	root := t.TempDir()
	dir := filepath.Join(root, step.StoreDir)
	must(t, os.MkdirAll(filepath.Join(dir, input), 0o755))
	in, err := store.Open(root)
	must(t, err, in.Link(map[step.Text]step.Text{step.Text(step.StoreDir + "/" + link): "nowhere"}))
	must(t, in.Lend(100))
	return in, dir
}

func path(name string) step.Text { return step.Text(step.StoreDir + "/" + name) }

// TestRegister finds references to inputs, links and outputs, in contents,
// names and link targets, and cleans the store.
func TestRegister(t *testing.T) {
	in, dir := newStore(t)
	must(t,
		os.WriteFile(filepath.Join(dir, out), []byte("refers to "+input+" and "+dev), 0o755),
		os.Mkdir(filepath.Join(dir, dev), 0o755),
		os.WriteFile(filepath.Join(dir, dev, "the name "+link), nil, 0o644),
		os.Symlink(step.StoreDir+"/"+dev+"/x", filepath.Join(dir, dev, "self")),
		os.MkdirAll(filepath.Join(dir, "junk", "more"), 0o755),
		os.WriteFile(filepath.Join(dir, "junk", "more", "x"), nil, 0o644),
	)
	s := &step.Step{Outputs: map[step.Text]step.Text{"out": path(out), "dev": path(dev)}}
	outputs, err := Register(s, in, tree.NewTrustingRegistrar())
	must(t, err)
	references := map[string][]string{}
	for name, output := range outputs {
		references[name] = output.References
	}
	want := map[string][]string{
		"out": {string(path(dev)), string(path(input))},
		"dev": {string(path(dev)), string(path(link))},
	}
	if !reflect.DeepEqual(references, want) {
		t.Errorf("expected %v, got %v", want, references)
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if want := []string{out, dev, input}; !reflect.DeepEqual(names, want) {
		t.Errorf("expected %v, got %v", want, names)
	}
	info, err := os.Stat(dir)
	must(t, err)
	if info.Mode() != os.ModeDir|0o755 {
		t.Errorf("the store has mode %v", info.Mode())
	}
}

// TestFixed compares an output with its promise, by each method.
func TestFixed(t *testing.T) {
	sri := func(name string, sum []byte) string {
		return name + "-" + base64.StdEncoding.EncodeToString(sum)
	}
	hello := md5.Sum([]byte("hello"))
	nothing := md5.Sum(nil)
	archive := sha256.Sum256([]byte("\r\x00\x00\x00\x00\x00\x00\x00nix-archive-1\x00\x00\x00" +
		"\x01\x00\x00\x00\x00\x00\x00\x00(\x00\x00\x00\x00\x00\x00\x00" +
		"\x04\x00\x00\x00\x00\x00\x00\x00type\x00\x00\x00\x00" +
		"\x07\x00\x00\x00\x00\x00\x00\x00regular\x00" +
		"\x08\x00\x00\x00\x00\x00\x00\x00contents" +
		"\x05\x00\x00\x00\x00\x00\x00\x00hello\x00\x00\x00" +
		"\x01\x00\x00\x00\x00\x00\x00\x00)\x00\x00\x00\x00\x00\x00\x00"))
	cases := map[string]struct {
		fixed step.Fixed
		mode  os.FileMode
		want  string
	}{
		"flat": {step.Fixed{Method: "flat", Hash: sri("md5", hello[:])}, 0o644, ""},
		"text": {step.Fixed{Method: "text", Hash: sri("md5", hello[:])}, 0o644, ""},
		"nar":  {step.Fixed{Method: "nar", Hash: sri("sha256", archive[:])}, 0o644, ""},
		"git":  {step.Fixed{Method: "git", Hash: "sha1-tvxMYgtn2V+VOlwcEjCqq121obA="}, 0o644, ""},
		"mismatch": {
			step.Fixed{Method: "flat", Hash: sri("md5", nothing[:])}, 0o644,
			"hash mismatch in fixed-output derivation:\n  specified: " + sri("md5", nothing[:]) +
				"\n     got:    " + sri("md5", hello[:]),
		},
		"executable": {
			step.Fixed{Method: "flat", Hash: sri("md5", hello[:])}, 0o755,
			"output path '" + string(path(out)) + "' should be a non-executable regular file since" +
				" recursive hashing is not enabled (one of outputHashMode={flat,text} is true)",
		},
		"unknown method": {
			step.Fixed{Method: "round", Hash: sri("md5", hello[:])}, 0o644,
			`unknown method "round" of a fixed output`,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			in, dir := newStore(t)
			must(t, os.WriteFile(filepath.Join(dir, out), []byte("hello"), c.mode))
			s := &step.Step{Outputs: map[step.Text]step.Text{"out": path(out)}, Fixed: &c.fixed}
			_, err := Register(s, in, tree.NewTrustingRegistrar())
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("expected %q, got %q", c.want, got)
			}
		})
	}
}

// TestDetach refuses what Register refuses and leaves copies of the rest.
func TestDetach(t *testing.T) {
	in, dir := newStore(t)
	must(t, os.WriteFile(filepath.Join(dir, out), []byte("x"), 0o644))
	s := &step.Step{Outputs: map[step.Text]step.Text{"out": path(out)}}
	before, err := os.Open(filepath.Join(dir, out))
	must(t, err)
	defer before.Close()
	if err := Detach(s, in, tree.NewRegistrar(1000)); err == nil {
		t.Error("somebody else's output was accepted")
	}
	must(t, os.Chown(filepath.Join(dir, out), 1000, 100), Detach(s, in, tree.NewRegistrar(1000)))
	a, err := before.Stat()
	must(t, err)
	b, err := os.Stat(filepath.Join(dir, out))
	must(t, err)
	if os.SameFile(a, b) || b.Mode() != 0o444 {
		t.Errorf("the output is no copy, or has mode %v", b.Mode())
	}
}

// BenchmarkRegister is canonicalising, hashing and scanning, with 1,000 candidates.
func BenchmarkRegister(b *testing.B) {
	in, dir := newStore(b)
	const alphabet = "0123456789abcdfghijklmnpqrsvwxyz"
	random := rand.NewChaCha8([32]byte{})
	for range 1000 {
		name := make([]byte, 32)
		for i := range name {
			name[i] = alphabet[random.Uint64()%32]
		}
		in.Inputs = append(in.Inputs, string(name)+"-x")
	}
	data := make([]byte, 256<<20)
	_, _ = random.Read(data)
	must(b, os.WriteFile(filepath.Join(dir, out), data, 0o644))
	b.SetBytes(int64(len(data)))
	s := &step.Step{Outputs: map[step.Text]step.Text{"out": path(out)}}
	for b.Loop() {
		_, err := Register(s, in, tree.NewTrustingRegistrar())
		must(b, err)
	}
}

// BenchmarkManyFiles is an output of 100,000 small files.
func BenchmarkManyFiles(b *testing.B) {
	in, dir := newStore(b)
	for i := range 100 {
		folder := filepath.Join(dir, out, strconv.Itoa(i))
		must(b, os.MkdirAll(folder, 0o755))
		for j := range 1000 {
			must(b, os.WriteFile(filepath.Join(folder, strconv.Itoa(j)), []byte("some text\n"), 0o644))
		}
	}
	s := &step.Step{Outputs: map[step.Text]step.Text{"out": path(out)}}
	for b.Loop() {
		b.StopTimer()
		must(b, exec.Command("chown", "-R", "1000:100", filepath.Join(dir, out)).Run())
		must(b, exec.Command("chmod", "-R", "u+w", filepath.Join(dir, out)).Run())
		b.StartTimer()
		_, err := Register(s, in, tree.NewRegistrar(1000))
		must(b, err)
	}
}

// BenchmarkFloating is what is done besides for a path that follows from a
// large content, without and with a reference to itself.
func BenchmarkFloating(b *testing.B) {
	for name, text := range map[string]string{"plain": "", "self": string(path(out))} {
		b.Run(name, func(b *testing.B) {
			in, dir := newStore(b)
			data := make([]byte, 256<<20)
			_, _ = rand.NewChaCha8([32]byte{}).Read(data)
			copy(data, text)
			b.SetBytes(int64(len(data)))
			s := &step.Step{
				Outputs:  map[step.Text]step.Text{"out": path(out)},
				Floating: map[step.Text]step.Floating{"out": {Method: "nar", Algorithm: "sha256"}},
			}
			for b.Loop() {
				b.StopTimer()
				must(b, os.WriteFile(filepath.Join(dir, out), data, 0o644))
				b.StartTimer()
				_, err := Register(s, in, tree.NewTrustingRegistrar())
				must(b, err)
			}
		})
	}
}
