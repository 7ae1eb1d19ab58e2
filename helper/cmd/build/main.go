// Command build is the helper that realises one derivation: it runs inside
// of the container of one BuildKit step, as root and as process 1, prepares
// what Nix's sandbox would be, runs the builder, and makes its outputs valid
// store objects. Kind fetch does the last part for a file BuildKit fetched.
//
// Every byte of this program is part of the cache key of every build.
package main

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"nixbk/helper/internal/outputs"
	"nixbk/helper/internal/run"
	"nixbk/helper/internal/sandbox"
	"nixbk/helper/internal/step"
	"nixbk/helper/internal/store"
	"nixbk/helper/internal/tree"

	"golang.org/x/sys/unix"
)

func main() {
	run.Main(map[string]func(run.Context) error{"build": build, "fetch": fetch})
}

func build(c run.Context) error {
	in, err := store.Open("/")
	if err != nil {
		return err
	}
	if err := in.Link(c.Step.Links); err != nil {
		return err
	}
	if err := sandbox.PrepareDirs(c.Step.Files); err != nil {
		return err
	}
	if err := in.Lend(sandbox.GID); err != nil {
		return err
	}
	// The builder has no business among our own mounts.
	if err := unix.Chmod(run.Dir, 0o700); err != nil {
		return os.NewSyscallError("chmod", err)
	}
	sandbox.LimitCores()
	apart, err := sandbox.Run(builder(c))
	if err != nil {
		return err
	}
	if err := sandbox.Restore(); err != nil {
		return err
	}
	registrar := tree.NewRegistrar(sandbox.UID)
	if c.Step.Network && !apart {
		if err := outputs.Detach(c.Step, in, registrar); err != nil {
			return err
		}
		registrar = tree.NewTrustingRegistrar()
	}
	return finish(c.Step, in, registrar)
}

// builder is the program with its environment: the step's, the number of
// cores, and for builds that may be impure the proxy variables they ask for.
func builder(c run.Context) sandbox.Builder {
	cores := c.Settings.Cores
	if cores == 0 {
		cores = runtime.NumCPU()
	}
	env := map[string]string{"NIX_BUILD_CORES": strconv.Itoa(cores)}
	for name, value := range c.Step.Env {
		env[string(name)] = string(value)
	}
	for _, name := range c.Step.ImpureEnv {
		env[string(name)] = c.Proxies[string(name)]
	}
	args := make([]string, 0, len(c.Step.Args))
	for _, arg := range c.Step.Args {
		args = append(args, string(arg))
	}
	return sandbox.Builder{
		Program: string(c.Step.Builder), Args: args, Env: env, System: c.Step.System,
		Timeout: c.Settings.Timeout, MaxSilent: c.Settings.MaxSilent,
	}
}

// fetch takes the file that BuildKit downloaded for the one output.
func fetch(c run.Context) error {
	if c.Step.Fixed == nil || len(c.Step.Outputs) != 1 {
		return errors.New("a fetch step has one output, and its hash is fixed")
	}
	in, err := store.Open("/")
	if err != nil {
		return err
	}
	for _, path := range c.Step.Outputs {
		name, err := step.BaseName(string(path))
		if err != nil {
			return err
		}
		from := filepath.Join(run.Dir, "fetched", "download")
		if err := tree.CopyFile(in.Fd(), name, unix.AT_FDCWD, from, c.Step.Executable); err != nil {
			return err
		}
	}
	return finish(c.Step, in, tree.NewTrustingRegistrar())
}

// finish makes the outputs valid and says what they are.
func finish(s *step.Step, in *store.Store, registrar *tree.Registrar) error {
	registered, err := outputs.Register(s, in, registrar)
	if err != nil {
		return err
	}
	if err := run.WriteResult("result.json", step.Result(registered)); err != nil {
		return err
	}
	if err := unix.Chmod(run.Dir, 0o755); err != nil {
		return os.NewSyscallError("chmod", err)
	}
	return store.ResetTimes("/")
}
