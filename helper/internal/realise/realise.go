// Package realise is the work of the steps that realise one derivation:
// prepare what Nix's sandbox would be, run the builder, make its outputs
// valid store objects; or the last part alone, for a file BuildKit fetched.
package realise

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"nixbk/helper/internal/keep"
	"nixbk/helper/internal/outputs"
	"nixbk/helper/internal/run"
	"nixbk/helper/internal/sandbox"
	"nixbk/helper/internal/step"
	"nixbk/helper/internal/store"
	"nixbk/helper/internal/tree"

	"golang.org/x/sys/unix"
)

// Builtin marks the name of a builder that is part of Nix.
const Builtin = "builtin:"

// Builtins gives what the process of a step's builtin builder is to read, nil
// for a builder it does not know.
type Builtins func(*step.Step) ([]byte, error)

// Kinds are the kinds of step that realise.
func Kinds(builtins Builtins) map[string]func(run.Context) error {
	return map[string]func(run.Context) error{
		"build": func(c run.Context) error { return build(c, builtins) },
		"fetch": fetch,
	}
}

func build(c run.Context, builtins Builtins) error {
	in, err := store.Open("/")
	if err != nil {
		return err
	}
	result, err := realise(c, in, builtins)
	failure := new(step.Failure)
	if c.Step.KeepFailed && errors.As(err, &failure) && failure.Kind != step.Internal {
		// What failed is a success: its build folder is wanted.
		result = step.Failed(failure)
		err = errors.Join(keepFolder(), in.Clean(nil))
	}
	if err != nil {
		return err
	}
	if err := sandbox.Leave(); err != nil {
		return err
	}
	return end(c, result)
}

// keepFolder adds the build folder to the result.
func keepFolder() error {
	if err := os.MkdirAll(run.Results, 0o755); err != nil {
		return err
	}
	target := filepath.Join(run.Results, "build.tar")
	if err := keep.Folder(sandbox.BuildDir, target); err != nil {
		return err
	}
	return tree.ResetTime(target)
}

// realise runs the builder and registers what it made.
func realise(c run.Context, in *store.Store, builtins Builtins) ([]byte, error) {
	b, err := builder(c, builtins)
	if err != nil {
		return nil, err
	}
	if err := in.Link(c.Step.Links); err != nil {
		return nil, err
	}
	if err := sandbox.PrepareDirs(c.Step.Files); err != nil {
		return nil, err
	}
	if c.Step.Network {
		if err := sandbox.PrepareNetwork(); err != nil {
			return nil, err
		}
	}
	if err := in.Lend(sandbox.GID); err != nil {
		return nil, err
	}
	// The builder has no business among our own mounts.
	if err := unix.Chmod(run.Dir, 0o700); err != nil {
		return nil, os.NewSyscallError("chmod", err)
	}
	sandbox.LimitCores()
	apart, err := sandbox.Run(b)
	if err := errors.Join(err, sandbox.Restore()); err != nil {
		return nil, err
	}
	registrar := tree.NewRegistrar(sandbox.UID)
	if c.Step.Network && !apart {
		if err := outputs.Detach(c.Step, in, registrar); err != nil {
			return nil, err
		}
		registrar = tree.NewTrustingRegistrar()
	}
	registered, err := outputs.Register(c.Step, in, registrar)
	return step.Result(registered), err
}

// builder is the program with its environment: the step's, the number of
// cores, and for builds that may be impure the proxy variables they ask for.
func builder(c run.Context, builtins Builtins) (sandbox.Builder, error) {
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
	b := sandbox.Builder{
		Program: string(c.Step.Builder), Name: filepath.Base(string(c.Step.Builder)),
		Args: args, Env: env, System: c.Step.System,
		Timeout: c.Settings.Timeout, MaxSilent: c.Settings.MaxSilent,
	}
	name, found := strings.CutPrefix(b.Program, Builtin)
	if !found {
		return b, nil
	}
	input, err := builtins(c.Step)
	if err != nil {
		return b, err
	}
	if input == nil {
		_, _ = os.Stderr.WriteString("error: unsupported builtin builder '" + name + "'\n")
		return b, step.Fail(step.BuilderFailed, "builder failed with exit code 1")
	}
	// The same program, as somebody else.
	b.Program, b.Name, b.Args, b.Env, b.Input = "/proc/self/exe", b.Program, nil, c.Proxies, input
	return b, nil
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
	registered, err := outputs.Register(c.Step, in, tree.NewTrustingRegistrar())
	if err != nil {
		return err
	}
	return end(c, step.Result(registered))
}

// end writes the result and leaves the root as the base has it. At last it
// tells the result, which comes long before the file can be read: the file is
// there when BuildKit has ended the container and kept what changed.
func end(c run.Context, result []byte) error {
	if err := run.WriteResult("result.json", result); err != nil {
		return err
	}
	if err := unix.Chmod(run.Dir, 0o755); err != nil {
		return os.NewSyscallError("chmod", err)
	}
	if err := store.ResetTimes("/"); err != nil {
		return err
	}
	if c.Settings.Tell {
		_, _ = os.Stdout.Write(result) // who asked can read the file
	}
	return nil
}
