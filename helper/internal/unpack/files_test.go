package unpack

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"nixbk/helper/internal/compression"
	"nixbk/helper/internal/document"
	"nixbk/helper/internal/step"
	"nixbk/helper/internal/store"
)

const (
	testdata  = "../compression/testdata/"
	zerosSize = 160<<20 + 112
	zerosHash = "sha256-8hqZ7gjE3rr1ekGpclgqU3tUHOFV7phwnFdcW6Eb7Rk="
)

// zeros are files of an archive, made by the C tools, by their compression.
var zeros = map[string]struct {
	file      string
	windowMiB int
}{
	"xz":    {"zeros.xz", 128},
	"zstd":  {"zeros.zst", 128},
	"bzip2": {"zeros.bz2", 0},
	"gzip":  {"zeros.gz", 0},
}

func fileOf(t *testing.T, format string) []byte {
	t.Helper()
	data, err := os.ReadFile(testdata + zeros[format].file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func compressed(t *testing.T, format string, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := compression.NewWriter(format, &out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestBombs decompresses no more than the size that was promised.
func TestBombs(t *testing.T) {
	for format := range zeros {
		for _, size := range []uint64{1, 96, 1000, 1 << 20} {
			n := document.Nar{Nar: step.Nar{
				Path: path, NarHash: sri(nil), NarSize: size, Compression: format,
			}}
			want := fmt.Sprintf("the archive of '%s' is longer than its %d bytes", path, size)
			if got := unpackOne(t, n, fileOf(t, format)); got != want {
				t.Errorf("%s, %d bytes: expected %q, got %q", format, size, want, got)
			}
		}
	}
}

// TestSpoiledFiles refuses files that hold the right archive and are not
// right themselves.
func TestSpoiledFiles(t *testing.T) {
	archive := archive(strings.Repeat("content", 10_000))
	for _, format := range []string{"xz", "zstd", "gzip"} {
		file := compressed(t, format, archive)
		last := bytes.Clone(file)
		last[len(last)-1] ^= 1
		cases := map[string]struct {
			file []byte
			want string
		}{
			"good":             {file, ""},
			"another stream":   {append(bytes.Clone(file), compressed(t, format, []byte("x"))...), "is longer than its"},
			"an empty stream":  {append(bytes.Clone(file), compressed(t, format, nil)...), ""},
			"trailing garbage": {append(bytes.Clone(file), "garbage, and of some length"...), "bad " + format + " data: "},
			"cut":              {file[:len(file)/2], "bad " + format + " data: unexpected end"},
			"cut at the end":   {file[:len(file)-1], "bad " + format + " data: unexpected end"},
			"a bit":            {last, "bad " + format + " data: "},
			"of another kind":  {append([]byte("<html>"), file...), "bad " + format + " data: "},
			"as it is":         {archive, "bad " + format + " data: "},
		}
		for name, c := range cases {
			n := document.Nar{Nar: step.Nar{
				Path: path, NarHash: sri(archive), NarSize: uint64(len(archive)), Compression: format,
			}}
			got := unpackOne(t, n, c.file)
			if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("%s, %s: expected %q, got %q", format, name, c.want, got)
			}
		}
	}
}

// mixed are archives with the largest window beside others, more than are
// unpacked at once.
const mixed = "mixed"

// measurable says whether memory is what the program takes.
var measurable = true

// TestMemory unpacks files with the largest window in a process of its own and
// asks the kernel how much memory that took: 64 MiB and the window at most,
// however many archives there are.
func TestMemory(t *testing.T) {
	if !measurable {
		t.Skip("built with the race detector")
	}
	hwm := regexp.MustCompile(`VmHWM:\s+(\d+) kB`)
	windows := map[string]int{mixed: 128}
	for format, c := range zeros {
		windows[format] = c.windowMiB
	}
	for what, windowMiB := range windows {
		command := exec.Command(os.Args[0], "-test.run=^TestMemoryOf$", "-test.v")
		command.Env = append(os.Environ(), "NIXBK_TEST_FORMAT="+what)
		out, err := command.CombinedOutput()
		found := hwm.FindSubmatch(out)
		if err != nil || found == nil {
			t.Fatalf("%s: %v\n%s", what, err, out)
		}
		took, _ := strconv.Atoi(string(found[1]))
		t.Logf("%s: %d MiB with a window of %d", what, took>>10, windowMiB)
		if took>>10 > 64+windowMiB {
			t.Errorf("%s took %d MiB with a window of %d", what, took>>10, windowMiB)
		}
	}
}

// TestMemoryOf is the process that TestMemory starts.
func TestMemoryOf(t *testing.T) {
	what := os.Getenv("NIXBK_TEST_FORMAT")
	formats := []string{what}
	switch what {
	case "":
		t.Skip("TestMemory starts it")
	case mixed:
		runtime.GOMAXPROCS(16)
		formats = nil
		for range 3 {
			formats = append(formats, "xz", "zstd", "gzip", "bzip2")
		}
	}
	root := t.TempDir()
	in, err := store.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	var nars []document.Nar
	for i, format := range formats {
		nars = append(nars, document.Nar{Nar: step.Nar{
			Path:    step.Text(path + strconv.Itoa(i)),
			NarHash: zerosHash, NarSize: zerosSize, Compression: format,
		}})
	}
	if err := All(nars, []*store.Store{in}, func(i int) string { return testdata + zeros[formats[i]].file }); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", status)
}

// TestWideAfterNarrow unpacks a file of two streams of which only the second
// has a window that is not narrow, and leaves nothing of the first attempt.
func TestWideAfterNarrow(t *testing.T) {
	wide, err := os.ReadFile(testdata + "window-128.xz")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(testdata + "text.txt")
	if err != nil {
		t.Fatal(err)
	}
	content := strings.Repeat("content", 100_000) + string(text)
	data := archive(content)
	cut := bytes.Index(data, text)
	rest := data[cut+len(text):]
	file := slices.Concat(compressed(t, "xz", data[:cut]), wide, compressed(t, "xz", rest))
	n := promised(data)
	n.Compression = "xz"
	if got := unpackOne(t, n, file); got != "" {
		t.Error(got)
	}
	n.NarHash = sri(text)
	if got := unpackOne(t, n, file); !startsWith(got, "hash mismatch in the archive") {
		t.Errorf("expected another hash, got %q", got)
	}
}
