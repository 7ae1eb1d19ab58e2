package sandbox

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestKillAll ends children, orphans and those that left their session. The
// test is not process 1, so this is the way without kill(-1).
func TestKillAll(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Skip(err)
	}
	const script = `
		sleep 1000 &
		setsid sleep 1000 &
		(trap '' TERM HUP; setsid sh -c 'sleep 1000 & sleep 1000' &)
		exit 3`
	command := exec.Command("sh", "-c", script)
	if err := command.Start(); err != nil {
		t.Skip(err)
	}
	status, err := wait(command.Process.Pid)
	if err != nil || status.ExitStatus() != 3 {
		t.Fatalf("expected status 3, got %v, %v", status, err)
	}
	time.Sleep(50 * time.Millisecond)
	if err := killAll(); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("a child is left: %v", err)
	}
}

// TestEndUnseen ends what is left before it can tell that the builder ended.
func TestEndUnseen(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Skip(err)
	}
	seen := filepath.Join(t.TempDir(), "seen")
	const script = `
		for i in 1 2 3 4; do
			(while kill -0 $$; do :; done; echo > "$0") 2> /dev/null &
		done`
	for range 20 {
		command := exec.Command("sh", "-c", script, seen)
		if err := command.Start(); err != nil {
			t.Skip(err)
		}
		if _, err := wait(command.Process.Pid); err != nil {
			t.Fatal(err)
		}
		if err := killAll(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(seen); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("a process outlived the builder for long enough to tell: %v", err)
		}
	}
}

// TestSignals are named as strsignal names them.
func TestSignals(t *testing.T) {
	for signal, want := range map[unix.Signal]string{
		unix.SIGKILL: "Killed", unix.SIGSEGV: "Segmentation fault", 40: "Real-time signal 6", 33: "Unknown signal 33",
	} {
		if got := signalName(signal); got != want {
			t.Errorf("expected %q, got %q", want, got)
		}
	}
}

// TestTerminal passes bytes on as they are.
func TestTerminal(t *testing.T) {
	terminal, err := openTerminal()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(terminal.own)
	text := "a\nb\r\n\x03\x04\x1b\xff"
	if _, err := unix.Write(terminal.builder, []byte(text)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, err := unix.Read(terminal.own, buf)
	if err != nil || string(buf[:n]) != text {
		t.Errorf("expected %q, got %q, %v", text, buf[:max(n, 0)], err)
	}
	_ = unix.Close(terminal.builder)
}
