package tree

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nixbk/helper/internal/nar"
	"nixbk/helper/internal/step"
	"nixbk/helper/internal/stream"
)

const builder = 1000

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("owners can be changed by root only")
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// give makes everything below path the builder's.
func give(t *testing.T, path string) {
	t.Helper()
	must(t, filepath.WalkDir(path, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, builder, 100))
	}))
}

func open(t *testing.T, path string) int {
	t.Helper()
	fd, err := OpenDir(unix.AT_FDCWD, path)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func register(t *testing.T, r *Registrar, dir, name string) ([]byte, Node, error) {
	t.Helper()
	var archive bytes.Buffer
	sink := stream.NewFan(&archive)
	node, err := r.Register(open(t, dir), name, "/nix/store/x-"+name, "out", sink)
	sink.Close()
	return archive.Bytes(), node, err
}

// TestRegister makes a tree canonical that a builder did its worst to.
func TestRegister(t *testing.T) {
	needRoot(t)
	top := t.TempDir()
	out := filepath.Join(top, "out")
	must(t,
		os.MkdirAll(filepath.Join(out, "closed", "\xff\n"), 0o755),
		os.WriteFile(filepath.Join(out, "file"), []byte("content"), 0o600),
		os.WriteFile(filepath.Join(out, "tool"), nil, 0o600),
		os.Link(filepath.Join(out, "tool"), filepath.Join(out, "closed", "tool")),
		os.Symlink("/etc/passwd", filepath.Join(out, "link")),
		os.Symlink("nowhere", filepath.Join(out, "closed", "dangling")),
	)
	give(t, out)
	must(t,
		os.Chmod(filepath.Join(out, "file"), os.ModeSetuid|0o610),
		os.Chmod(filepath.Join(out, "tool"), 0o100),
		os.Chmod(filepath.Join(out, "closed"), os.ModeSticky|os.ModeSetgid),
	)
	if err := unix.Setxattr(filepath.Join(out, "file"), "user.x", []byte("y"), 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
		t.Fatal(err)
	}
	archive, node, err := register(t, NewRegistrar(builder), top, "out")
	must(t, err)
	if node.Type != "directory" {
		t.Errorf("expected a directory, got %q", node.Type)
	}
	for name, mode := range map[string]uint32{
		"": unix.S_IFDIR | 0o555, "closed": unix.S_IFDIR | 0o555, "closed/\xff\n": unix.S_IFDIR | 0o555,
		"file": unix.S_IFREG | 0o444, "tool": unix.S_IFREG | 0o555, "closed/tool": unix.S_IFREG | 0o555,
		"link": unix.S_IFLNK | 0o777, "closed/dangling": unix.S_IFLNK | 0o777,
	} {
		var st unix.Stat_t
		must(t, unix.Lstat(filepath.Join(out, name), &st))
		if st.Mode != mode || st.Uid != 0 || st.Gid != 0 || st.Mtim != (unix.Timespec{Sec: 1}) {
			t.Errorf("%q: mode %o, owner %d:%d, time %v", name, st.Mode, st.Uid, st.Gid, st.Mtim)
		}
	}
	if size, err := unix.Listxattr(filepath.Join(out, "file"), nil); err == nil && size != 0 {
		t.Errorf("%d bytes of attributes are left", size)
	}
	if info, err := os.Stat("/etc/passwd"); err == nil && info.ModTime().Equal(time.Unix(1, 0)) {
		t.Error("a link was followed")
	}

	// The archive makes the same tree, and that one the same archive.
	restorer := NewRestorer(open(t, top), "again")
	must(t, nar.Read(bytes.NewReader(archive), restorer))
	again, _, err := register(t, NewTrustingRegistrar(), top, "again")
	must(t, err)
	if !bytes.Equal(archive, again) {
		t.Error("the archive of the restored tree is another one")
	}
	must(t, CopyTree(open(t, top), "copy", open(t, top), "out"))
	copied, _, err := register(t, NewTrustingRegistrar(), top, "copy")
	must(t, err)
	if !bytes.Equal(archive, copied) {
		t.Error("the archive of the copied tree is another one")
	}
	old, err := os.Stat(filepath.Join(top, "copy", "file"))
	must(t, err, Replace(open(t, top), "copy"))
	replaced, _, err := register(t, NewTrustingRegistrar(), top, "copy")
	must(t, err)
	fresh, err := os.Stat(filepath.Join(top, "copy", "file"))
	must(t, err)
	if !bytes.Equal(archive, replaced) || os.SameFile(old, fresh) {
		t.Error("an object was not replaced by a copy of the same archive")
	}
	var a, b unix.Stat_t
	must(t, unix.Lstat(filepath.Join(top, "copy/tool"), &a), unix.Lstat(filepath.Join(top, "copy/closed/tool"), &b))
	if a.Ino != b.Ino {
		t.Error("a copy has two files where there was one with two names")
	}
}

// TestRegisterRefuses has one output for each thing a store cannot hold.
func TestRegisterRefuses(t *testing.T) {
	needRoot(t)
	cases := map[string]struct {
		make func(out string) error
		kind string
		want string
	}{
		"missing": {
			func(string) error { return nil }, step.OutputMissing,
			"builder failed to produce output path for output 'out' at '/nix/store/x-out'",
		},
		"fifo": {
			func(out string) error {
				return errors.Join(os.Mkdir(out, 0o755), unix.Mkfifo(out+"/pipe", 0o644), os.Lchown(out, builder, 0))
			},
			step.IllegalOutput, "file '/nix/store/x-out/pipe' has an unsupported type",
		},
		"writable by a group": {
			func(out string) error {
				return errors.Join(os.Mkdir(out, 0o755), os.Chmod(out, 0o775), os.Lchown(out, builder, 0))
			},
			step.IllegalOutput,
			"suspicious ownership or permission on '/nix/store/x-out' for output 'out'; rejecting this build output",
		},
		"somebody else's": {
			func(out string) error { return os.WriteFile(out, nil, 0o644) }, step.IllegalOutput,
			"suspicious ownership or permission on '/nix/store/x-out' for output 'out'; rejecting this build output",
		},
		"hard link to somebody else's": {
			func(out string) error {
				return errors.Join(
					os.Mkdir(out, 0o755), os.Lchown(out, builder, 0),
					os.WriteFile(out+"-shadow", nil, 0o600), os.Link(out+"-shadow", out+"/shadow"),
				)
			},
			step.IllegalOutput, "invalid ownership on file '/nix/store/x-out/shadow'",
		},
		"too deep": {
			func(out string) error {
				deep := out + strings.Repeat("/d", nar.MaxDepth)
				return errors.Join(os.MkdirAll(deep, 0o755), filepath.WalkDir(out, func(path string, _ os.DirEntry, err error) error {
					return errors.Join(err, os.Lchown(path, builder, 0))
				}))
			},
			step.IllegalOutput,
			"path '/nix/store/x-out" + strings.Repeat("/d", nar.MaxDepth) + "' exceeds maximum NAR directory depth of 64",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			must(t, c.make(filepath.Join(top, "out")))
			_, _, err := register(t, NewRegistrar(builder), top, "out")
			failure := new(step.Failure)
			if !errors.As(err, &failure) || failure.Kind != c.kind || failure.Message != c.want {
				t.Errorf("expected %s: %s, got %v", c.kind, c.want, err)
			}
		})
	}
}

// TestSharedFiles accepts hard links between the outputs of one build.
func TestSharedFiles(t *testing.T) {
	needRoot(t)
	top := t.TempDir()
	must(t,
		os.Mkdir(filepath.Join(top, "out"), 0o755), os.Mkdir(filepath.Join(top, "dev"), 0o755),
		os.WriteFile(filepath.Join(top, "out", "f"), []byte("x"), 0o755),
		os.Link(filepath.Join(top, "out", "f"), filepath.Join(top, "dev", "f")),
	)
	give(t, filepath.Join(top, "out"))
	give(t, filepath.Join(top, "dev"))
	r := NewRegistrar(builder)
	one, _, err := register(t, r, top, "dev")
	must(t, err)
	two, _, err := register(t, r, top, "out")
	must(t, err)
	if !bytes.Equal(one, two) {
		t.Error("the same file has two archives")
	}
}

// TestRemove deletes what nobody may enter, and links instead of their targets.
func TestRemove(t *testing.T) {
	top := t.TempDir()
	must(t,
		os.MkdirAll(filepath.Join(top, "gone", "closed", "deep"), 0o755),
		os.WriteFile(filepath.Join(top, "stays"), nil, 0o644),
		os.Symlink("../stays", filepath.Join(top, "gone", "link")),
		os.Symlink("..", filepath.Join(top, "gone", "closed", "up")),
	)
	if os.Getuid() == 0 {
		must(t, os.Chmod(filepath.Join(top, "gone", "closed"), 0))
	}
	must(t, Remove(open(t, top), "gone"), Remove(open(t, top), "never was"))
	entries, err := List(open(t, top))
	must(t, err)
	if len(entries) != 1 || entries[0].Name != "stays" {
		t.Errorf("expected only 'stays', got %v", entries)
	}
}

// TestEmpty deletes all there is, whatever has been put in its way.
func TestEmpty(t *testing.T) {
	top := t.TempDir()
	must(t,
		os.MkdirAll(filepath.Join(top, "a", "b", "c", "d"), 0o755),
		os.MkdirAll(filepath.Join(top, ".nixbk-removed-1", "full"), 0o755),
		os.WriteFile(filepath.Join(top, ".nixbk-removed-2"), nil, 0o644),
		os.Symlink("/", filepath.Join(top, ".nixbk-removed-3")),
		os.Mkdir(filepath.Join(top, ".nixbk-removed-4"), 0o755),
	)
	must(t, Empty(open(t, top)))
	entries, err := List(open(t, top))
	must(t, err)
	if len(entries) != 0 {
		t.Errorf("%v is left", entries)
	}
}

// TestIsMount knows a mount from a folder.
func TestIsMount(t *testing.T) {
	if !IsMount(open(t, "/proc")) {
		t.Error("/proc is no mount")
	}
	if IsMount(open(t, t.TempDir())) {
		t.Error("a folder is a mount")
	}
}

// TestRemoveDeep deletes what is nested deeper than there are descriptors.
func TestRemoveDeep(t *testing.T) {
	top := t.TempDir()
	const depth = 300
	at, err := OpenDir(unix.AT_FDCWD, top)
	must(t, err)
	for range depth {
		must(t, unix.Mkdirat(at, "d", 0o755), unix.Mkdirat(at, "e", 0o755))
		next, err := OpenDir(at, "d")
		must(t, err)
		_ = unix.Close(at)
		at = next
	}
	_ = unix.Close(at)
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	few := limit
	few.Cur = 64
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &few))
	err = errors.Join(Remove(open(t, top), "d"), Remove(open(t, top), "e"))
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	must(t, err)
	entries, err := List(open(t, top))
	must(t, err)
	if len(entries) != 0 {
		t.Errorf("%d entries are left", len(entries))
	}
}

// TestRestoreStaysInside makes nothing through what is there already.
func TestRestoreStaysInside(t *testing.T) {
	top := t.TempDir()
	must(t, os.Symlink("/etc", filepath.Join(top, "x")))
	err := NewRestorer(open(t, top), "x").Directory("")
	if !errors.Is(err, os.ErrExist) {
		t.Errorf("expected that it exists, got %v", err)
	}
	if err := NewRestorer(open(t, top), "x").Regular("", false, 0, strings.NewReader("")); !errors.Is(err, os.ErrExist) {
		t.Errorf("expected that it exists, got %v", err)
	}
}
