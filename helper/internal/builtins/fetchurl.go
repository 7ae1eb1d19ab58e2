package builtins

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/ulikunitz/xz"
	"golang.org/x/sys/unix"

	"nixbk/helper/internal/nar"
	"nixbk/helper/internal/sandbox"
	"nixbk/helper/internal/step"
	"nixbk/helper/internal/tree"
)

// fetchurl downloads one file, or an archive and what is in it
// (builtinFetchurl, Nix src/libstore/builtins/fetchurl.cc).
func fetchurl(t *task) error {
	out, found := t.Outputs["out"]
	if !found {
		return errors.New("'builtin:fetchurl' requires an 'out' output")
	}
	if !t.Open {
		return errors.New("'builtin:fetchurl' must be a fixed-output or impure derivation")
	}
	address, found := t.Env["url"]
	if !found {
		return &bareError{"map::at"}
	}
	d, err := newDownload(string(address), string(t.Netrc), string(t.CA))
	if err != nil {
		return writing(string(out), err)
	}
	if t.Env["unpack"] == "1" {
		err = unpack(d, string(address), string(out))
	} else {
		err = writing(string(out), toFile(d, string(out)))
	}
	if err != nil {
		return err
	}
	if t.Env["executable"] == "1" {
		return os.Chmod(string(out), 0o755)
	}
	return nil
}

func writing(out string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("\n       … writing file \"%s\"\n\n       error: %w", out, err)
}

func toFile(d *download, path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o666)
	if err != nil {
		return err
	}
	return errors.Join(d.save(file), file.Close())
}

// unpack downloads to the build folder first, so that a try that failed can
// be made again.
func unpack(d *download, address, out string) error {
	file, err := os.OpenFile(filepath.Join(sandbox.BuildDir, "download"),
		os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := d.save(file); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	var archive io.Reader = bufio.NewReaderSize(file, 256<<10)
	if strings.HasSuffix(address, ".xz") {
		compressed, err := xz.NewReader(archive)
		if err != nil {
			return fmt.Errorf("failed to decompress: %w", err)
		}
		archive = bufio.NewReaderSize(compressed, 256<<10)
	}
	name, err := step.BaseName(out)
	if err != nil {
		return err
	}
	dir, err := tree.OpenDir(unix.AT_FDCWD, step.StoreDir)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	restorer := tree.NewRestorer(dir, name)
	defer restorer.Close()
	return nar.Read(archive, restorer)
}
