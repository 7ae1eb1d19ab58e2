package keep

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// TestFolder keeps what is there as it is, but for owners.
func TestFolder(t *testing.T) {
	top := filepath.Join(t.TempDir(), "build")
	in := func(name string) string { return filepath.Join(top, name) }
	long := strings.Repeat("n", 200)
	must(t,
		os.MkdirAll(in("sub/deep"), 0o750),
		os.WriteFile(in("sub/file"), []byte("text"), 0o640),
		os.Link(in("sub/file"), in("sub/hard")),
		os.Symlink("/etc/passwd", in("link")),
		unix.Mkfifo(in("pipe"), 0o600),
		os.WriteFile(in("\xff"+long), nil, 0o644),
		os.Chmod(in("sub/deep"), 0),
		os.Chtimes(in("sub/file"), time.Unix(7, 0), time.Unix(7, 5)),
	)
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err, os.Chdir(top), unix.Bind(socket, &unix.SockaddrUnix{Name: "socket"}))
	defer unix.Close(socket)
	target := filepath.Join(t.TempDir(), "build.tar")
	must(t, Folder(top, target))
	file, err := os.Open(target)
	must(t, err)
	defer file.Close()
	type member struct {
		kind byte
		mode int64
		link string
	}
	got := map[string]member{}
	for archive := tar.NewReader(file); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		got[h.Name] = member{h.Typeflag, h.Mode, h.Linkname}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" {
			t.Errorf("%s belongs to %d:%d", h.Name, h.Uid, h.Gid)
		}
		if h.Name == "build/sub/file" {
			text, err := io.ReadAll(archive)
			must(t, err)
			if string(text) != "text" || !h.ModTime.Equal(time.Unix(7, 0)) {
				t.Errorf("got %q of %v", text, h.ModTime)
			}
		}
	}
	want := map[string]member{
		"build/":            {tar.TypeDir, 0o755, ""},
		"build/sub/":        {tar.TypeDir, 0o750, ""},
		"build/sub/deep/":   {tar.TypeDir, 0, ""},
		"build/sub/file":    {tar.TypeReg, 0o640, ""},
		"build/sub/hard":    {tar.TypeLink, 0o640, "build/sub/file"},
		"build/link":        {tar.TypeSymlink, 0o777, "/etc/passwd"},
		"build/pipe":        {tar.TypeFifo, 0o600, ""},
		"build/\xff" + long: {tar.TypeReg, 0o644, ""},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("expected %v, got %v", want, got)
	}
	if err := Folder(top, target); !errors.Is(err, os.ErrExist) {
		t.Errorf("an archive is written over: %v", err)
	}
}
