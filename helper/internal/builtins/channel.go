package builtins

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
	"golang.org/x/sys/unix"
)

// unpackChannel unpacks an archive of one folder (builtinUnpackChannel, Nix
// src/libstore/builtins/unpack-channel.cc, and what it asks of libarchive).
func unpackChannel(t *task) error {
	channel, err := t.attribute("channelName")
	if err != nil {
		return err
	}
	source, err := t.attribute("src")
	if err != nil {
		return err
	}
	out, err := t.out()
	if err != nil {
		return err
	}
	if strings.Contains(channel, "/") {
		return fmt.Errorf("channelName is not allowed to contain filesystem separators, got \"%s\"", channel)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(out)
	if err != nil {
		return err
	}
	defer root.Close()
	x := &extraction{root: root, folders: map[string]bool{}}
	if err := x.archive(source); err != nil {
		return err
	}
	entries, err := os.ReadDir(out)
	if err != nil {
		return err
	}
	switch len(entries) {
	case 0:
		return fmt.Errorf("channel tarball '%s' is empty", source)
	case 1:
	default:
		return fmt.Errorf("channel tarball '%s' contains more than one file", source)
	}
	from := filepath.Join(out, entries[0].Name())
	to := filepath.Join(out, channel)
	if err := root.Rename(entries[0].Name(), channel); err != nil {
		return fmt.Errorf("failed to rename \"%s\" to \"%s\": %s", from, to, reason(err))
	}
	return nil
}

var errUnknownFormat = errors.New("failed to open archive: Unrecognized archive format")

// filters are compressions by the bytes they begin with.
var filters = []struct {
	magic string
	open  func(io.Reader) (io.Reader, error)
}{
	{"\x1f\x8b", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
	{"BZh", func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }},
	{"\xfd7zXZ\x00", func(r io.Reader) (io.Reader, error) { return xz.NewReader(r) }},
	{"\x28\xb5\x2f\xfd", func(r io.Reader) (io.Reader, error) {
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(1<<31))
	}},
	{"\x5d\x00\x00", func(r io.Reader) (io.Reader, error) { return lzma.NewReader(r) }},
}

// decompressed undoes compressions, one within the other, and returns the
// first bytes of what is below.
func decompressed(r io.Reader) (*bufio.Reader, error) {
	const most = 25 // as libarchive
	in := bufio.NewReaderSize(r, 256<<10)
next:
	for range most {
		start, err := in.Peek(8)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		for _, filter := range filters {
			if strings.HasPrefix(string(start), filter.magic) {
				inner, err := filter.open(in)
				if err != nil {
					return nil, errUnknownFormat
				}
				in = bufio.NewReaderSize(inner, 256<<10)
				continue next
			}
		}
		return in, nil
	}
	return in, nil
}

// tarBlock is what the size of an archive is a multiple of.
const tarBlock = 512

type counter struct {
	io.Reader
	size int64
}

func (c *counter) Read(buf []byte) (int, error) {
	n, err := c.Reader.Read(buf)
	c.size += int64(n)
	return n, err
}

// extraction makes files below one folder and never leaves it.
type extraction struct {
	root *os.Root
	// folders are known to be there, and to be no links.
	folders map[string]bool
}

func (x *extraction) archive(source string) error {
	file, err := os.Open(source)
	if err != nil {
		return fmt.Errorf("failed to open archive: Failed to open '%s'", source)
	}
	defer file.Close()
	in, err := decompressed(file)
	if err != nil {
		return err
	}
	start, err := in.Peek(4)
	if errors.Is(err, io.EOF) && len(start) == 0 {
		return nil // no archive at all is an empty one
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("failed to open archive: %w", err)
	}
	if string(start) == "PK\x03\x04" {
		return x.zip(file)
	}
	counted := &counter{Reader: in}
	archive := tar.NewReader(counted)
	for first := true; ; first = false {
		header, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF) && counted.size%tarBlock == 0:
			return nil
		case errors.Is(err, io.EOF):
			return unextracted("Truncated input file")
		case err == nil || errors.Is(err, tar.ErrInsecurePath):
		case errors.Is(err, tar.ErrHeader) && first:
			return errUnknownFormat
		case errors.Is(err, tar.ErrHeader):
			return errors.New("cannot get archive member name: Damaged tar archive (bad header checksum)")
		case first:
			return fmt.Errorf("failed to open archive: %w", err)
		default:
			return unextracted("%s", err)
		}
		if err := x.member(header, archive); err != nil {
			return err
		}
	}
}

func (x *extraction) zip(file *os.File) error {
	state, err := file.Stat()
	if err != nil {
		return err
	}
	archive, err := zip.NewReader(file, state.Size())
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return errUnknownFormat
	}
	for _, member := range archive.File {
		if err := x.zipMember(member); err != nil {
			return err
		}
	}
	return nil
}

func (x *extraction) zipMember(member *zip.File) error {
	header := &tar.Header{Name: member.Name, Mode: int64(member.Mode().Perm()), Typeflag: tar.TypeReg}
	contents, err := member.Open()
	if err != nil {
		return err
	}
	defer contents.Close()
	switch {
	case member.Mode().IsDir():
		header.Typeflag = tar.TypeDir
	case member.Mode().Type() == fs.ModeSymlink:
		const longest = 4095
		target, err := io.ReadAll(io.LimitReader(contents, longest))
		if err != nil {
			return err
		}
		header.Typeflag, header.Linkname = tar.TypeSymlink, string(target)
	}
	return x.member(header, contents)
}

// unextracted is what libarchive says of a member.
func unextracted(format string, args ...any) error {
	return fmt.Errorf("failed to extract archive (%s)", fmt.Sprintf(format, args...))
}

// full is a member's path for messages.
func (x *extraction) full(name string) string { return filepath.Join(x.root.Name(), name) }

// relative is the path of a member below the folder, empty for the folder.
func relative(name string) (string, error) {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", unextracted("Path contains '..'")
		}
	}
	return strings.TrimPrefix(path.Clean("/"+name), "/"), nil
}

func (x *extraction) member(header *tar.Header, contents io.Reader) error {
	if header.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := relative(header.Name)
	if err != nil || name == "" {
		return err
	}
	if err := x.parents(name); err != nil {
		return err
	}
	mode := fs.FileMode(header.Mode) & fs.ModePerm //nolint:gosec // only the permissions are taken
	if header.Typeflag == tar.TypeDir {
		return x.folder(name)
	}
	if err := x.clear(name); err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeSymlink:
		return x.root.Symlink(header.Linkname, name)
	case tar.TypeLink:
		return x.hardLink(header.Linkname, name)
	case tar.TypeFifo:
		return unix.Mkfifo(x.full(name), uint32(mode))
	case tar.TypeChar, tar.TypeBlock:
		return unextracted("Can't create '%s'", x.full(name))
	}
	// Types that nobody knows are files.
	return x.regular(name, mode, contents)
}

func (x *extraction) hardLink(target, name string) error {
	first, err := relative(target)
	if err != nil {
		return err
	}
	if err := x.parents(first); err != nil {
		return err
	}
	err = x.root.Link(first, name)
	if errors.Is(err, fs.ErrNotExist) {
		return unextracted("Hard-link target '%s' does not exist", x.full(first))
	}
	return err
}

// parents makes the folders above, and refuses to go through a link.
func (x *extraction) parents(name string) error { return x.above(path.Dir(name), x.full(name)) }

func (x *extraction) above(parent, member string) error {
	if parent == "." || x.folders[parent] {
		return nil
	}
	if err := x.above(path.Dir(parent), member); err != nil {
		return err
	}
	state, err := x.root.Lstat(parent)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = x.root.Mkdir(parent, 0o755)
	case err == nil && state.Mode().Type() == fs.ModeSymlink:
		return unextracted("Cannot extract through symlink %s", member)
	case err == nil && !state.IsDir():
		return unextracted("Could not stat %s", member)
	}
	if err == nil {
		x.folders[parent] = true
	}
	return err
}

func (x *extraction) folder(name string) error {
	if state, err := x.root.Lstat(name); err == nil && state.IsDir() {
		return nil
	}
	if err := x.clear(name); err != nil {
		return err
	}
	x.folders[name] = true
	return x.root.Mkdir(name, 0o755)
}

// clear makes room for a member that comes again.
func (x *extraction) clear(name string) error {
	_, err := x.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	clear(x.folders)
	err = x.root.Remove(name)
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return unextracted("Can't replace existing directory with non-directory")
	}
	return err
}

func (x *extraction) regular(name string, mode fs.FileMode, contents io.Reader) error {
	file, err := x.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode|0o200)
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, contents); err != nil {
		_ = file.Close()
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return unextracted("Truncated input file")
		}
		return unextracted("%s", err)
	}
	return file.Close()
}
