package data

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"tune/internal/hint"
	"tune/internal/hub"
	"tune/internal/remote"
)

// places finds and opens files, wherever they lie. It makes its clients when an address asks for them.
type places struct {
	cache   string // of built-in data sets
	split   string
	report  func(string)
	columns bool // Options.Columns
	net     *remote.Client
	hub     *hub.Client
}

func (p *places) close() {
	if p.net != nil {
		p.net.Close()
	}
}

func (p *places) remote() *remote.Client {
	if p.net == nil {
		p.net = remote.New()
	}
	return p.net
}

// list lists the files of a source.
func (p *places) list(s Source) ([]string, error) {
	if name, ok := strings.CutPrefix(s.Path, "builtin:"); ok {
		return builtinPaths(name, s.Format, p.cache, p.split)
	}
	if strings.HasPrefix(s.Path, hub.Scheme) {
		a, err := hub.Parse(s.Path)
		if err != nil {
			return nil, err
		}
		if a.Kind != "datasets" {
			return nil, hint.Errorf("hf://datasets/"+a.Name+" is a data set", "%s: expected the address of a data set, found that of a model", s.Path)
		}
		if p.hub == nil {
			if p.hub, err = hub.FromEnv(); err != nil {
				return nil, err
			}
			p.hub.Report = p.report
		}
		return p.hub.Dataset(context.Background(), a, p.split, isData)
	}
	if !remote.Is(s.Path) {
		return expand(s.Path)
	}
	names, err := p.remote().List(context.Background(), s.Path)
	if len(names) > 1 || err == nil && len(names) == 1 && names[0] != s.Path { // a folder or glob
		names = slices.DeleteFunc(names, func(n string) bool { return !isData(n) })
	}
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("%s: expected files whose names end in %s, found none", s.Path, suffixes())
	}
	return names, err
}

// open opens a file. version tells versions of a remote file apart; it is empty for a local one.
func (p *places) open(path string) (name string, b blob, version string, err error) {
	if !remote.Is(path) {
		b, err = openLocal(path)
		return path, b, "", err
	}
	f, err := p.remote().Open(context.Background(), path)
	if err != nil {
		return "", nil, "", err
	}
	name, _, _ = strings.Cut(path, "?") // what follows may be a secret
	return name, f, f.Version(), nil
}

// expand lists the files of a path, glob (with ** for any folders) or folder, sorted by name.
func expand(path string) ([]string, error) {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return folder(path)
	case err == nil:
		return []string{path}, nil
	case !strings.ContainsAny(path, "*?["):
		return nil, hint.Errorf("give a file, a folder, a glob, builtin:licenses, or an address hf://, https:// or s3://", "data: %w", err)
	}
	names, err := doublestar.FilepathGlob(path, doublestar.WithFilesOnly())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: expected files, found none that match", path)
	}
	slices.Sort(names)
	return names, nil
}

// folder lists the data files directly in a folder and below it.
func folder(path string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if isData(p) && !strings.HasSuffix(strings.ToLower(p), ".md") { // the README
			names = append(names, p)
		}
		return nil
	})
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("%s: expected files whose names end in %s, found none", path, suffixes())
	}
	slices.Sort(names)
	return names, err
}
