package sandbox

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is what the builder writes to: a pseudo terminal as in Nix, or a
// pipe where there is none.
type terminal struct {
	own, builder int
}

func openTerminal() (terminal, error) {
	if t, err := openPty(); err == nil {
		return t, nil
	}
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return terminal{}, os.NewSyscallError("pipe", err)
	}
	return terminal{own: ends[0], builder: ends[1]}, nil
}

func openPty() (t terminal, err error) {
	t.own, err = unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return t, err
	}
	defer func() {
		if err != nil {
			_ = unix.Close(t.own)
		}
	}()
	if err = unix.IoctlSetPointerInt(t.own, unix.TIOCSPTLCK, 0); err != nil {
		return t, err
	}
	number, err := unix.IoctlGetUint32(t.own, unix.TIOCGPTN)
	if err != nil {
		return t, err
	}
	t.builder, err = unix.Open(fmt.Sprintf("/dev/pts/%d", number), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return t, err
	}
	defer func() {
		if err != nil {
			_ = unix.Close(t.builder)
		}
	}()
	if err = errors.Join(unix.Fchmod(t.builder, 0o600), unix.Fchown(t.builder, UID, 0)); err != nil {
		return t, err
	}
	// Raw, so that no newline becomes two characters.
	termios, err := unix.IoctlGetTermios(t.builder, unix.TCGETS)
	if err != nil {
		return t, err
	}
	termios.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR |
		unix.IGNCR | unix.ICRNL | unix.IXON
	termios.Oflag &^= unix.OPOST
	termios.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	termios.Cflag = termios.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	termios.Cc[unix.VMIN], termios.Cc[unix.VTIME] = 1, 0
	return t, unix.IoctlSetTermios(t.builder, unix.TCSETS, termios)
}

// watch copies the builder's output and kills the builder when it has closed
// its output (which Nix takes for its end) or when its time is up.
type watch struct {
	builder Builder
	pid     int
	copied  chan struct{}
	ended   chan struct{}

	mu      sync.Mutex
	alive   bool
	last    time.Time
	reason  string
	midline bool
}

func newWatch(b Builder, pid int) *watch {
	return &watch{
		builder: b, pid: pid, alive: true, last: time.Now(),
		copied: make(chan struct{}), ended: make(chan struct{}),
	}
}

func (w *watch) copy(from int) {
	defer close(w.copied)
	defer unix.Close(from)
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(from, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n <= 0 || err != nil {
			w.kill("")
			return
		}
		_, _ = os.Stderr.Write(buf[:n])
		w.mu.Lock()
		w.last = time.Now()
		w.midline = buf[n-1] != '\n'
		w.mu.Unlock()
	}
}

// kill ends the builder if it has not ended yet.
func (w *watch) kill(reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.alive {
		w.alive = false
		w.reason = reason
		_ = unix.Kill(w.pid, unix.SIGKILL)
	}
}

func (w *watch) exited() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alive = false
	close(w.ended)
}

func (w *watch) expired() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reason
}

// finish ends the last line, so that what follows starts one.
func (w *watch) finish() {
	if w.midline {
		_, _ = os.Stderr.WriteString("\n")
	}
}

// clock enforces the limits on time.
func (w *watch) clock() {
	if w.builder.Timeout == 0 && w.builder.MaxSilent == 0 {
		return
	}
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	start := time.Now()
	for {
		select {
		case <-w.ended:
			return
		case now := <-ticker.C:
			w.mu.Lock()
			silent := now.Sub(w.last)
			w.mu.Unlock()
			if limit := w.builder.MaxSilent; limit > 0 && silent >= limit {
				w.kill(fmt.Sprintf("builder timed out after %d seconds of silence", int(limit.Seconds())))
			}
			if limit := w.builder.Timeout; limit > 0 && now.Sub(start) >= limit {
				w.kill(fmt.Sprintf("builder timed out after %d seconds", int(limit.Seconds())))
			}
		}
	}
}
