package builtins

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// buildenv merges folders into one of links (builtinBuildenv, Nix
// src/libstore/builtins/buildenv.cc).
func buildenv(t *task) error {
	derivations, err := t.attribute("derivations")
	if err != nil {
		return err
	}
	out, err := t.out()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	packages, err := parsePackages(fields(derivations))
	if err != nil {
		return err
	}
	p := profile{out: out, priorities: map[string]int{}, done: map[string]bool{}, postponed: map[string]bool{}}
	if err := p.build(packages); err != nil {
		return err
	}
	manifest, err := t.attribute("manifest")
	if err != nil {
		return err
	}
	return symlink(manifest, filepath.Join(out, "manifest.nix"))
}

// fields splits as tokenizeString does.
func fields(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\n\r", r) })
}

type envPackage struct {
	path     string
	active   bool
	priority int
}

// parsePackages reads groups of: active, priority, number of paths, paths.
func parsePackages(words []string) ([]envPackage, error) {
	var packages []envPackage
	for len(words) > 0 {
		if len(words) < 3 {
			return nil, errors.New("attribute 'derivations' ends too early")
		}
		priority, err := leadingInt(words[1])
		if err != nil {
			return nil, &bareError{"stoi"}
		}
		count, err := leadingInt(words[2])
		if err != nil || count < 0 {
			return nil, &bareError{"stoul"}
		}
		active := words[0] != "false"
		words = words[3:]
		if count > len(words) {
			return nil, errors.New("attribute 'derivations' ends too early")
		}
		for _, path := range words[:count] {
			packages = append(packages, envPackage{path, active, priority})
		}
		words = words[count:]
	}
	return packages, nil
}

// leadingInt reads the number a text starts with, as std::stoi.
func leadingInt(text string) (int, error) {
	end := 0
	for end < len(text) && (text[end] >= '0' && text[end] <= '9' || end == 0 && strings.ContainsRune("+-", rune(text[0]))) {
		end++
	}
	number, err := strconv.ParseInt(text[:end], 10, 32)
	return int(number), err
}

type profile struct {
	out             string
	priorities      map[string]int
	done, postponed map[string]bool
}

func (p *profile) build(packages []envPackage) error {
	slices.SortFunc(packages, func(a, b envPackage) int {
		if a.priority != b.priority {
			return a.priority - b.priority
		}
		return strings.Compare(a.path, b.path)
	})
	for _, each := range packages {
		if each.active {
			if err := p.add(each.path, each.priority); err != nil {
				return err
			}
		}
	}
	// What the packages bring with them gives way to all of them.
	const firstPropagated = 1000
	for priority := firstPropagated; len(p.postponed) > 0; {
		next := make([]string, 0, len(p.postponed))
		for path := range p.postponed {
			next = append(next, path)
		}
		p.postponed = map[string]bool{}
		slices.Sort(next)
		for _, path := range next {
			if err := p.add(path, priority); err != nil {
				return err
			}
			priority++
		}
	}
	return nil
}

func (p *profile) add(path string, priority int) error {
	if p.done[path] {
		return nil
	}
	p.done[path] = true
	if err := p.link(path, p.out, priority); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(path, "nix-support", "propagated-user-env-packages"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
		return err
	}
	for _, other := range strings.FieldsFunc(string(text), func(r rune) bool { return r == ' ' || r == '\n' }) {
		if !p.done[other] {
			p.postponed[other] = true
		}
	}
	return nil
}

// left out of every profile: of no use there, or in everybody's way.
var leftOut = []string{
	"/propagated-build-inputs", "/nix-support", "/perllocal.pod", "/info/dir", "/log",
	"/manifest.nix", "/manifest.json",
}

// link makes links in the folder to for all that is in from.
func (p *profile) link(from, to string, priority int) error {
	entries, err := os.ReadDir(from)
	if errors.Is(err, unix.ENOTDIR) {
		warn("not including \"%s\" in the user environment because it's not a directory", from)
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read directory \"%s\": %s", from, reason(err))
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		source, target := filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name())
		if err := p.one(source, target, priority); err != nil {
			return err
		}
	}
	return nil
}

func (p *profile) one(source, target string, priority int) error {
	state, err := os.Stat(source)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		warn("skipping dangling symlink '%s'", target)
		return nil
	}
	if err != nil {
		return fmt.Errorf("getting status of \"%s\": %s", source, reason(err))
	}
	if slices.ContainsFunc(leftOut, func(end string) bool { return strings.HasSuffix(source, end) }) {
		return nil
	}
	there, err := os.Lstat(target)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	isLink := there != nil && there.Mode().Type() == fs.ModeSymlink
	switch {
	case there == nil:
	case state.IsDir() && there.IsDir():
		return p.link(source, target, priority)
	case state.IsDir() && isLink:
		return p.merge(source, target, priority)
	case isLink:
		previous := p.priorities[target]
		if previous == priority {
			first, err := os.Readlink(target)
			if err != nil {
				return err
			}
			return fmt.Errorf("Unable to build profile. There is a conflict for the following files:\n"+
				"\n         \"%s\"\n         \"%s\"", first, source)
		}
		if previous < priority {
			return nil
		}
		if err := os.Remove(target); err != nil {
			return err
		}
	case there.IsDir():
		return fmt.Errorf("collision between non-directory '%s' and directory '%s'", source, target)
	}
	if err := symlink(source, target); err != nil {
		return err
	}
	p.priorities[target] = priority
	return nil
}

// merge makes a folder of links of what was one link to a folder.
func (p *profile) merge(source, target string, priority int) error {
	first, err := filepath.EvalSymlinks(target)
	if err != nil {
		return err
	}
	state, err := os.Lstat(first)
	if err != nil {
		return err
	}
	if !state.IsDir() {
		return fmt.Errorf("collision between \"%s\" and non-directory \"%s\"", source, first)
	}
	if err := os.Remove(target); err != nil {
		return err
	}
	if err := os.Mkdir(target, 0o755); err != nil {
		return err
	}
	if err := p.link(first, target, p.priorities[target]); err != nil {
		return err
	}
	return p.link(source, target, priority)
}

func symlink(source, target string) error {
	if err := os.Symlink(source, target); err != nil {
		return fmt.Errorf("creating symlink '%s' -> '%s': %s", target, source, reason(err))
	}
	return nil
}
