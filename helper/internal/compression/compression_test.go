package compression

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// formats are the names of formats by the ends of files.
var formats = map[string]string{".xz": "xz", ".zst": "zstd", ".gz": "gzip", ".bz2": "bzip2"}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func decompress(format string, from io.Reader) ([]byte, error) {
	r, err := NewReader(format, from, MaxWindow)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

// whole is every file that can be read, with what is in it.
func whole(t testing.TB) map[string][]byte {
	t.Helper()
	text := read(t, "text.txt")
	files, err := filepath.Glob("testdata/*.*")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	all := map[string][]byte{}
	for _, file := range files {
		name := filepath.Base(file)
		switch {
		case formats[filepath.Ext(name)] == "" || strings.HasPrefix(name, "refused-"):
		case strings.HasPrefix(name, "zeros."):
		case strings.HasPrefix(name, "twice"):
			all[name] = append(append([]byte{}, text...), text...)
		default:
			all[name] = text
		}
	}
	return all
}

// TestReader reads what the C tools have written, however it arrives.
func TestReader(t *testing.T) {
	for name, want := range whole(t) {
		t.Run(name, func(t *testing.T) {
			format, data := formats[filepath.Ext(name)], read(t, name)
			for kind, r := range map[string]io.Reader{
				"whole":         bytes.NewReader(data),
				"bytes":         iotest.OneByteReader(bytes.NewReader(data)),
				"end with data": iotest.DataErrReader(bytes.NewReader(data)),
			} {
				if got, err := decompress(format, r); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes instead of %d, %v", kind, len(got), len(want), err)
				}
			}
		})
	}
	for _, format := range []string{"", "none"} {
		if got, err := decompress(format, strings.NewReader("x")); err != nil || string(got) != "x" {
			t.Errorf("%q: %q, %v", format, got, err)
		}
	}
}

// TestAgain reads one file after another with the same windows, also after
// one that ends early, one that is damaged, and one that is not read to its end.
func TestAgain(t *testing.T) {
	const window = 16 << 20
	all := whole(t)
	some := func(format string, data []byte, most int64) ([]byte, error) {
		r, err := NewReader(format, bytes.NewReader(data), window)
		if err != nil {
			return nil, err
		}
		got, err := io.ReadAll(io.LimitReader(r, most))
		return got, errors.Join(err, r.Close())
	}
	for round := range 3 {
		for name, want := range all {
			format, data := formats[filepath.Ext(name)], read(t, name)
			got, err := some(format, data, 1<<30)
			if wide := new(Error); errors.As(err, &wide) && wide.Wide {
				continue
			}
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("round %d, %s: %d bytes instead of %d, %v", round, name, len(got), len(want), err)
			}
			damaged := bytes.Clone(data)
			damaged[len(data)/2] ^= 0xff
			_, _ = some(format, damaged, 1<<30)
			_, _ = some(format, data[:len(data)/2], 1<<30)
			_, _ = some(format, data, 10)
		}
	}
}

// TestRefused says what is wrong with files that are not to be read.
func TestRefused(t *testing.T) {
	const window = "its window is larger than the 128 MiB that are allowed"
	cases := map[string]string{
		"refused-window.xz":      "bad xz data: " + window,
		"refused-padding.xz":     "bad xz data: xz: data is corrupt",
		"refused-format.xz":      "bad xz data: xz: file format not recognized",
		"refused-window.zst":     "bad zstd data: " + window,
		"refused-dictionary.zst": "bad zstd data: it was made with a dictionary, which is not here",
		"refused-padding.gz":     "bad gzip data: unexpected end",
	}
	for name, want := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := decompress(formats[filepath.Ext(name)], bytes.NewReader(read(t, name)))
			if err == nil || err.Error() != want {
				t.Errorf("expected %q, got %v", want, err)
			}
		})
	}
	if _, err := NewReader("lzip", strings.NewReader(""), MaxWindow); err == nil || err.Error() != `unknown compression "lzip"` {
		t.Errorf("lzip: %v", err)
	}
	// A frame of one segment has no window but its size.
	segment := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0, 1, 0, 0, 8, 0, 0, 0, 0, 1, 0, 0}
	if _, err := decompress("zstd", bytes.NewReader(segment)); err == nil || err.Error() != "bad zstd data: "+window {
		t.Errorf("one large segment: %v", err)
	}
	broken := errors.New("the disk is broken")
	for format, data := range map[string][]byte{"xz": read(t, "plain.xz"), "zstd": read(t, "plain.zst"), "gzip": read(t, "plain.gz"), "bzip2": read(t, "plain.bz2")} {
		for _, cut := range []int{0, 3, len(data) / 2, len(data)} {
			_, err := decompress(format, io.MultiReader(bytes.NewReader(data[:cut]), iotest.ErrReader(broken)))
			if !errors.Is(err, broken) {
				t.Errorf("%s: %v", format, err)
			}
		}
	}
}

// TestDamaged refuses files that are cut, followed by something, or have a bit
// that is another one; without a checksum only what the format can tell.
func TestDamaged(t *testing.T) {
	for _, name := range []string{"plain.xz", "blocks.xz", "plain.zst", "plain.gz", "plain.bz2"} {
		format, data := formats[filepath.Ext(name)], read(t, name)
		want := read(t, "text.txt")
		step := max(1, len(data)/97)
		for cut := 1; cut < len(data); cut += step {
			wrong := new(Error)
			if _, err := decompress(format, bytes.NewReader(data[:cut])); !errors.As(err, &wrong) {
				t.Errorf("%s cut after %d bytes: %v", name, cut, err)
			}
		}
		for _, more := range []string{"\x00", "x", "BZ", "BZh", "\x1f\x8b", "\x28\xb5\x2f", "\xfd7zXZ", "trailing garbage", strings.Repeat("\x00", 7)} {
			if _, err := decompress(format, strings.NewReader(string(data)+more)); err == nil {
				t.Errorf("%s followed by %q was read", name, more)
			}
		}
		for at := 0; at < len(data); at += step {
			other := bytes.Clone(data)
			other[at] ^= 4
			// Flags and times in headers of gzip mean nothing.
			if got, err := decompress(format, bytes.NewReader(other)); err == nil && !bytes.Equal(got, want) {
				t.Errorf("%s became something else by byte %d", name, at)
			}
		}
	}
}

// TestEmptyFile is the end of a stream, or no stream at all.
func TestEmptyFile(t *testing.T) {
	for _, format := range formats {
		if data, err := decompress(format, strings.NewReader("")); len(data) != 0 || (err == nil && format != "zstd") {
			t.Errorf("%s: %d bytes, %v", format, len(data), err)
		}
	}
}

// compress writes in pieces of the size that a fan has.
func compress(t *testing.T, format string, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(format, &out)
	if err != nil {
		t.Fatal(err)
	}
	for rest := data; len(rest) > 0; {
		n := min(len(rest), 256<<10)
		if _, err := w.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestWriter writes what it reads again, the same bytes on any number of
// processors.
func TestWriter(t *testing.T) {
	text := read(t, "text.txt")
	cases := map[string][]byte{
		"empty": nil, "byte": {1}, "text": text,
		"many": bytes.Repeat(text, 9), "chunk": make([]byte, chunkSize), "chunks": make([]byte, chunkSize*2+1),
	}
	for _, format := range []string{"none", "gzip", "xz", "zstd"} {
		for name, data := range cases {
			if testing.Short() && len(data) > 1<<20 {
				continue
			}
			first := compress(t, format, data)
			if got, err := decompress(format, bytes.NewReader(first)); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s of %s: %d bytes, %v", format, name, len(got), err)
			}
			before := runtime.GOMAXPROCS(1)
			alone := compress(t, format, data)
			runtime.GOMAXPROCS(8)
			many := compress(t, format, data)
			runtime.GOMAXPROCS(before)
			if !bytes.Equal(first, alone) || !bytes.Equal(first, many) {
				t.Errorf("%s of %s depends on the number of processors", format, name)
			}
		}
	}
	if _, err := NewWriter("bzip2", io.Discard); err == nil || err.Error() != `unknown compression "bzip2"` {
		t.Errorf("bzip2: %v", err)
	}
}

// TestStreamsInOrder makes the same file of many streams however many are
// made at once.
func TestStreamsInOrder(t *testing.T) {
	data := make([]byte, chunkSize*3)
	for i := range data[:len(data)/1024] {
		data[i*1024] = byte(i)
	}
	var sums [][32]byte
	for _, atOnce := range []int{1, 2, 8} {
		h := sha256.New()
		s := newStreams(h, atOnce)
		_, _ = s.Write(data)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		sums = append(sums, [32]byte(h.Sum(nil)))
	}
	if sums[0] != sums[1] || sums[1] != sums[2] {
		t.Error("the files differ")
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("the disk is full") }

// TestFullDisk tells of an error below at the latest when it is closed.
func TestFullDisk(t *testing.T) {
	for _, format := range []string{"none", "gzip", "xz", "zstd"} {
		w, err := NewWriter(format, full{})
		if err == nil {
			_, err = w.Write(make([]byte, 1<<20))
			err = errors.Join(err, w.Close())
		}
		if err == nil || !strings.Contains(err.Error(), "the disk is full") {
			t.Errorf("%s: %v", format, err)
		}
	}
}

// FuzzReader holds that no bytes do more than to be refused.
func FuzzReader(f *testing.F) {
	for name := range whole(f) {
		f.Add(formats[filepath.Ext(name)], read(f, name))
	}
	for _, name := range []string{"refused-window.xz", "refused-padding.xz", "refused-window.zst", "refused-dictionary.zst", "zeros.bz2", "zeros.zst"} {
		f.Add(formats[filepath.Ext(name)], read(f, name))
	}
	f.Fuzz(func(t *testing.T, format string, data []byte) {
		r, err := NewReader(format, bytes.NewReader(data), MaxWindow)
		if err == nil {
			_, _ = io.CopyN(io.Discard, r, 1<<20)
			_ = r.Close()
		}
	})
}

// BenchmarkReader decompresses the files of the folder NIXBK_BENCH. Its profile
// is cmd/unpack/default.pgo.
func BenchmarkReader(b *testing.B) {
	files, _ := filepath.Glob(filepath.Join(os.Getenv("NIXBK_BENCH"), "*.*"))
	for b.Loop() {
		total := int64(0)
		for _, name := range files {
			file, err := os.Open(name)
			if err != nil {
				b.Fatal(err)
			}
			r, err := NewReader(formats[filepath.Ext(name)], file, MaxWindow)
			if err != nil {
				b.Fatal(err)
			}
			n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 256<<10))
			if err := errors.Join(err, r.Close(), file.Close()); err != nil {
				b.Fatal(err)
			}
			total += n
		}
		b.SetBytes(total)
	}
}
