// Package sandbox runs a builder as Nix's sandbox would, as far as an
// unprivileged container allows: user, group, capabilities, system call
// filter, limits, terminal, and the end of all its processes.
package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"nixbk/helper/internal/step"
	"nixbk/helper/internal/tree"
)

// The builder's user and group, as Nix has them inside of its sandbox.
const (
	UID = 1000
	GID = 100
)

// BuildDir is where builds run.
const BuildDir = "/build"

// Builder is one program to run.
type Builder struct {
	Program string
	// Name is what the program is told it is called.
	Name   string
	Args   []string
	Env    map[string]string
	System string
	// Input, unless it is nil, is what the program reads from descriptor 3.
	Input []byte

	Timeout   time.Duration
	MaxSilent time.Duration
}

func sortedKeys[K interface{ ~uint32 | ~string }, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}

// PrepareDirs makes the folders a builder expects, and its files.
func PrepareDirs(files map[step.Text]step.Text) error {
	for _, dir := range []string{BuildDir, "/tmp"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := errors.Join(
		os.Chown(BuildDir, UID, GID), unix.Chmod(BuildDir, 0o700), unix.Chmod("/tmp", 0o1777),
	); err != nil {
		return err
	}
	for _, name := range sortedKeys(files) {
		text := string(name)
		if text == "" || text == "." || text == ".." || strings.ContainsAny(text, "/\x00") {
			return fmt.Errorf("%q is no name for a file in the build folder", text)
		}
		path := filepath.Join(BuildDir, text)
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o644)
		if err != nil {
			return err
		}
		_, err = file.WriteString(string(files[name]))
		if err := errors.Join(err, file.Chmod(0o644), file.Chown(UID, GID), file.Close()); err != nil {
			return err
		}
	}
	adjust()
	return nil
}

// adjust brings the container's own folders nearer to those of Nix's sandbox.
// All of it is best effort: on other runtimes they may be read-only.
func adjust() {
	_ = os.Remove("/dev/core") // runc's, absent in Nix
	if os.Remove("/dev/ptmx") == nil {
		_ = os.Symlink("/dev/pts/ptmx", "/dev/ptmx")
	}
	// Nix has no /sys. Where the step mounts an empty one over the machine's,
	// what the runtime needs in it is closed to the builder.
	var st unix.Statfs_t
	if unix.Statfs("/sys", &st) == nil && st.Type == unix.TMPFS_MAGIC {
		_ = unix.Chmod("/sys", 0)
	}
	_ = unix.Chown("/", 0, GID)
	_ = unix.Chmod("/", 0o750)
}

// switchFile lets programs of a build with a network look up hosts and
// services alone, and only where Nix lets them.
const switchFile = "/etc/nsswitch.conf"

// PrepareNetwork adds what a build with a network finds. Where the machine has
// closed /etc, it does without.
func PrepareNetwork() error {
	err := os.WriteFile(switchFile, []byte("hosts: files dns\nservices: files\n"), 0o644)
	if errors.Is(err, unix.EROFS) {
		return nil
	}
	return err
}

// Restore takes back what was done to the root, which is part of the result.
func Restore() error {
	err := os.Remove(switchFile)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EROFS) {
		err = nil
	}
	return errors.Join(err, unix.Chown("/", 0, 0), unix.Chmod("/", 0o755))
}

// Leave empties the folders a builder could write to where they are part of
// the root, and so of the result, and makes them what the base has.
func Leave() error {
	for _, dir := range []string{BuildDir, "/tmp"} {
		fd, err := tree.OpenDir(unix.AT_FDCWD, dir)
		if err != nil {
			return err
		}
		if !tree.IsMount(fd) {
			err = errors.Join(tree.Empty(fd), tree.StripAttributes(fd, dir), unix.Fchown(fd, 0, 0), unix.Fchmod(fd, 0o755))
		}
		if err := errors.Join(err, unix.Close(fd)); err != nil {
			return err
		}
	}
	return nil
}

// Run runs the builder to its end, and then ends all it left running. It
// returns whether nobody outside can hold files of the build open: a builder
// on a shared network may hand them out through an abstract socket.
func Run(b Builder) (apart bool, err error) {
	terminal, err := openTerminal()
	if err != nil {
		return false, err
	}
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	if os.Getpid() != 1 {
		// Orphans come to us all the same.
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return false, os.NewSyscallError("prctl", err)
		}
	}
	pid, apart, err := b.start(int(null.Fd()), terminal.builder)
	_ = null.Close()
	_ = unix.Close(terminal.builder)
	if err != nil {
		return false, err
	}
	watch := newWatch(b, pid)
	go watch.copy(terminal.own)
	go watch.clock()
	status, err := wait(pid)
	watch.exited()
	if err != nil {
		return false, err
	}
	if err := killAll(); err != nil {
		return false, err
	}
	<-watch.copied
	watch.finish()
	if message := watch.expired(); message != "" {
		return false, step.Fail(step.TimedOut, "%s", message)
	}
	return apart, failure(status)
}

// failure is how a builder's end is told.
func failure(status unix.WaitStatus) error {
	note := ""
	if diskFull() {
		note = "\n  note: build failure may have been caused by lack of free disk space"
	}
	switch {
	case status.Signaled():
		return step.Fail(step.BuilderFailed, "builder failed due to signal %d (%s)%s",
			int(status.Signal()), signalName(status.Signal()), note)
	case status.ExitStatus() != 0:
		return step.Fail(step.BuilderFailed, "builder failed with exit code %d%s", status.ExitStatus(), note)
	}
	return nil
}

// signalName is what strsignal says.
func signalName(signal unix.Signal) string {
	names := map[unix.Signal]string{
		unix.SIGHUP: "Hangup", unix.SIGINT: "Interrupt", unix.SIGQUIT: "Quit",
		unix.SIGILL: "Illegal instruction", unix.SIGTRAP: "Trace/breakpoint trap",
		unix.SIGABRT: "Aborted", unix.SIGBUS: "Bus error", unix.SIGFPE: "Floating point exception",
		unix.SIGKILL: "Killed", unix.SIGUSR1: "User defined signal 1",
		unix.SIGSEGV: "Segmentation fault", unix.SIGUSR2: "User defined signal 2",
		unix.SIGPIPE: "Broken pipe", unix.SIGALRM: "Alarm clock", unix.SIGTERM: "Terminated",
		unix.SIGXCPU: "CPU time limit exceeded", unix.SIGXFSZ: "File size limit exceeded",
		unix.SIGSYS: "Bad system call", unix.SIGSTKFLT: "Stack fault",
		unix.SIGVTALRM: "Virtual timer expired", unix.SIGPROF: "Profiling timer expired",
		unix.SIGIO: "I/O possible", unix.SIGPWR: "Power failure",
	}
	if name, found := names[signal]; found {
		return name
	}
	const firstRealTime = 34 // the C library keeps two for itself
	if signal >= firstRealTime {
		return fmt.Sprintf("Real-time signal %d", int(signal)-firstRealTime)
	}
	return fmt.Sprintf("Unknown signal %d", int(signal))
}

// diskFull guesses as Nix does: less than 8 MiB are left.
func diskFull() bool {
	for _, dir := range []string{step.StoreDir, BuildDir} {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil && st.Bavail*uint64(st.Bsize) < 8<<20 {
			return true
		}
	}
	return false
}

// start runs the program on a thread that has given up what the builder may
// not have; the thread is never used again.
func (b Builder) start(stdin, output int) (pid int, apart bool, err error) {
	type result struct {
		pid   int
		apart bool
		err   error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and no unlock: the thread ends with this function
		apart, err := confine(b.System)
		if err != nil {
			done <- result{0, false, err}
			return
		}
		argv := append([]string{b.Name}, b.Args...)
		env := make([]string, 0, len(b.Env))
		for _, name := range sortedKeys(b.Env) {
			env = append(env, name+"="+b.Env[name])
		}
		files := []uintptr{uintptr(stdin), uintptr(output), uintptr(output)}
		if b.Input != nil {
			input, err := feed(b.Input)
			if err != nil {
				done <- result{0, false, err}
				return
			}
			defer input.Close()
			files = append(files, input.Fd())
		}
		pid, err := syscall.ForkExec(b.Program, argv, &syscall.ProcAttr{
			Dir:   BuildDir,
			Env:   env,
			Files: files,
			Sys: &syscall.SysProcAttr{
				Setsid: true,
				Credential: &syscall.Credential{
					Uid: UID, Gid: GID, NoSetGroups: groupsDenied(),
				},
			},
		})
		if err != nil {
			err = step.Fail(step.BuilderFailed, "executing '%s': %s", b.Program, sentence(err))
		}
		done <- result{pid, apart, err}
	}()
	r := <-done
	return r.pid, r.apart, r.err
}

// feed is a pipe out of which comes data.
func feed(data []byte) (*os.File, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		_, _ = writer.Write(data) // whoever does not read it has ended
		_ = writer.Close()
	}()
	return reader, nil
}

// sentence is an error as strerror has it: with a capital.
func sentence(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}

// groupsDenied tells of user namespaces in which groups cannot be dropped.
func groupsDenied() bool {
	text, err := os.ReadFile("/proc/self/setgroups")
	return err == nil && strings.TrimSpace(string(text)) == "deny"
}

const (
	personalityLinux32   = 0x0008
	personalityNoRandom  = 0x0040000
	personalityUnchanged = 0xffffffff
)

// confine takes from the calling thread what a builder may not have, and
// returns whether it keeps builds that share a network apart.
func confine(system string) (bool, error) {
	for capability := uintptr(0); capability <= unix.CAP_LAST_CAP; capability++ {
		// Best effort: after the change of user and with no new privileges
		// the bounding set is only what a look into /proc shows.
		_ = unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0)
	}
	dropInheritable()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return false, os.NewSyscallError("prctl", err)
	}
	if system == "i686-linux" || system == "armv7l-linux" || system == "armv6l-linux" || system == "armv5tel-linux" {
		if _, _, errno := unix.RawSyscall(unix.SYS_PERSONALITY, personalityLinux32, 0, 0); errno != 0 {
			return false, os.NewSyscallError("personality", errno)
		}
	}
	// Docker's system call filter refuses this one: then addresses stay random.
	if current, _, errno := unix.RawSyscall(unix.SYS_PERSONALITY, personalityUnchanged, 0, 0); errno == 0 {
		_, _, _ = unix.RawSyscall(unix.SYS_PERSONALITY, current|personalityNoRandom, 0, 0)
	}
	return scopeSockets(), setFilter()
}

// dropInheritable empties the inheritable and ambient sets, which survive a
// change of user.
func dropInheritable() {
	_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) == nil {
		data[0].Inheritable, data[1].Inheritable = 0, 0
		_ = unix.Capset(&header, &data[0])
	}
}

// LimitCores keeps core files away from builds, as Nix does.
func LimitCores() {
	unlimited := unix.Rlimit{Cur: 0, Max: unix.RLIM_INFINITY}
	if unix.Setrlimit(unix.RLIMIT_CORE, &unlimited) != nil {
		var current unix.Rlimit
		if unix.Getrlimit(unix.RLIMIT_CORE, &current) == nil {
			_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 0, Max: current.Max})
		}
	}
}

// wait reaps children until pid has ended, and signals all it left to end
// before pid is reaped: until then it is seen to exist, and nobody can tell
// the end of the builder from a look at it.
func wait(pid int) (unix.WaitStatus, error) {
	for {
		ended, err := firstEnded()
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, os.NewSyscallError("waitid", err)
		}
		if ended == pid {
			if err := killOnce(); err != nil {
				return 0, err
			}
		}
		var status unix.WaitStatus
		if _, err := unix.Wait4(ended, &status, 0, nil); err != nil {
			return 0, os.NewSyscallError("wait4", err)
		}
		if ended == pid {
			return status, nil
		}
	}
}

// firstEnded waits for a child that has ended, and leaves it to be reaped.
func firstEnded() (int, error) {
	// siginfo_t of a child on 64 bit, waitid(2)
	var info struct {
		_   [4]int32
		pid int32
		_   [108]byte
	}
	whole := (*unix.Siginfo)(unsafe.Pointer(&info))
	err := unix.Waitid(unix.P_ALL, 0, whole, unix.WEXITED|unix.WNOWAIT, nil)
	return int(info.pid), err
}

// killAll ends every process the build left, and returns once none is there.
func killAll() error {
	deadline := time.Now().Add(time.Minute)
	for {
		if err := killOnce(); err != nil {
			return err
		}
		for {
			child, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if errors.Is(err, unix.ECHILD) {
				if gone() {
					return nil
				}
				break
			}
			if child == 0 && !errors.Is(err, unix.EINTR) {
				break
			}
		}
		if time.Now().After(deadline) {
			return errors.New("processes of the build do not end")
		}
		time.Sleep(time.Millisecond)
	}
}

// gone says whether nothing is left that a signal would reach.
func gone() bool {
	return os.Getpid() != 1 || errors.Is(unix.Kill(-1, 0), unix.ESRCH)
}

// killOnce kills all processes of the namespace when it is ours, and else our
// children; orphans become children, so that this reaches all in the end.
func killOnce() error {
	if os.Getpid() == 1 {
		if err := unix.Kill(-1, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return os.NewSyscallError("kill", err)
		}
		return nil
	}
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return err
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		for field := range strings.FieldsSeq(string(text)) {
			var pid int
			if _, err := fmt.Sscan(field, &pid); err == nil && pid > 1 {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
	return nil
}
