package unpack

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
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

// TestMemory unpacks files with the largest window in a process of its own and
// asks the kernel how much memory that took: 64 MiB and the window at most.
func TestMemory(t *testing.T) {
	hwm := regexp.MustCompile(`VmHWM:\s+(\d+) kB`)
	for format, c := range zeros {
		command := exec.Command(os.Args[0], "-test.run=^TestMemoryOf$", "-test.v")
		command.Env = append(os.Environ(), "NIXBK_TEST_FORMAT="+format)
		out, err := command.CombinedOutput()
		found := hwm.FindSubmatch(out)
		if err != nil || found == nil {
			t.Fatalf("%s: %v\n%s", format, err, out)
		}
		took, _ := strconv.Atoi(string(found[1]))
		t.Logf("%s: %d MiB with a window of %d", format, took>>10, c.windowMiB)
		if took>>10 > 64+c.windowMiB {
			t.Errorf("%s took %d MiB with a window of %d", format, took>>10, c.windowMiB)
		}
	}
}

// TestMemoryOf is the process that TestMemory starts.
func TestMemoryOf(t *testing.T) {
	format := os.Getenv("NIXBK_TEST_FORMAT")
	if format == "" {
		t.Skip("TestMemory starts it")
	}
	root := t.TempDir()
	in, err := store.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	n := document.Nar{Nar: step.Nar{Path: path, NarHash: zerosHash, NarSize: zerosSize, Compression: format}}
	if _, err := All([]document.Nar{n}, in, func(int) string { return testdata + zeros[format].file }); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", status)
}
