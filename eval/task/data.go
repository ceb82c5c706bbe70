package task

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"tune/data"
	"tune/internal/chat"
	"tune/internal/hint"
)

// Doc is a row of a data set.
type Doc = *chat.Dict

// Fetch brings a split of a data set of the Hugging Face hub into the cache, or finds it there, and returns its files.
// Name may be empty.
type Fetch func(dataset, name, split string) ([]string, error)

// Sources says where data sets come from.
type Sources struct {
	Folders []string // looked through in order
	Fetch   Fetch    // nil: nothing but the folders
	// Files keeps what was read, for tasks that share a file; nil: nothing is kept.
	Files map[string][]Doc
}

// rows reads a file, or finds it among those that were read.
func (s Sources) rows(file string) (out []Doc, err error) {
	if rows, ok := s.Files[file]; ok {
		return rows, nil
	}
	err = data.Records(file, func(row *chat.Dict, _ string) error {
		out = append(out, row)
		return nil
	})
	if err == nil && s.Files != nil {
		s.Files[file] = out
	}
	return out, err
}

// known is a data set that is laid out in a data folder in a way of its own: an entry of sources.yaml.
type known struct {
	dataset, name string              // name "" fits any
	files         map[string][]string // split -> paths below a data folder
	where         string              // the column that holds the task's dataset_name, "" when the file is of one name
	set           *chat.Dict          // keys of the task that these files need otherwise
	licence       string
}

// sourceTable reads sources.yaml.
var sourceTable = sync.OnceValues(func() ([]known, error) {
	text, err := builtin.ReadFile("sources.yaml")
	if err != nil {
		return nil, err
	}
	d, err := readYAML(builtinRoot+"sources.yaml", text)
	if err != nil {
		return nil, err
	}
	f := &fields{d: d, at: builtinRoot + "sources.yaml"}
	var table []known
	for _, s := range f.dicts("sources") {
		g := &fields{d: s}
		k := known{dataset: g.text("dataset", ""), name: g.text("name", ""), where: g.text("where", ""), set: g.dict("set"),
			licence: g.text("licence", ""), files: map[string][]string{}}
		files := &fields{d: g.dict("files")}
		for _, split := range files.d.Keys() {
			k.files[split] = files.texts(split)
		}
		f.wrong = append(append(f.wrong, g.wrong...), files.wrong...)
		table = append(table, k)
	}
	return table, f.err()
})

// Licence of a task's data as far as it is known, else "".
func (c *Config) Licence() string {
	if k := c.known(); k != nil {
		return k.licence
	}
	return ""
}

func (c *Config) known() *known {
	table, err := sourceTable()
	if err != nil {
		panic(err) // a built-in file, read by a test
	}
	for i, k := range table {
		if k.dataset == c.DatasetPath && (k.name == "" || k.name == c.DatasetName) {
			return &table[i]
		}
	}
	return nil
}

// located are the files of a task's splits.
type located struct {
	from  Sources
	c     *Config // with the keys that the files need
	files map[string][]string
	where string
	notes []string
}

// locate finds the files of a data set: those that the task names, those of a folder, or those of the hub.
func (s Sources) locate(c *Config) (*located, error) {
	if len(c.DataFiles) > 0 {
		return s.named(c)
	}
	if k := c.known(); k != nil {
		if l, err := s.layout(c, k); l != nil || err != nil {
			return l, err
		}
	}
	roots := append([]string{filepath.Dir(c.File)}, s.Folders...)
	for _, root := range roots {
		for _, dir := range []string{c.DatasetPath + "/" + c.DatasetName, c.DatasetPath, c.Name} {
			files := map[string][]string{}
			for _, split := range c.splits() {
				if found := splitFiles(filepath.Join(root, dir), split); found != nil {
					files[split] = found
				}
			}
			if len(files) > 0 {
				return s.reduced(c, &located{from: s, c: c, files: files})
			}
		}
	}
	return s.fetched(c)
}

// named takes data_files of the task: paths from the folder of the task file, from here, or below a data folder.
func (s Sources) named(c *Config) (*located, error) {
	l := &located{from: s, c: c, files: map[string][]string{}}
	for split, names := range c.DataFiles {
		for _, name := range names {
			found := ""
			for _, root := range append([]string{filepath.Dir(c.File), "."}, s.Folders...) {
				p := filepath.Join(root, name)
				if filepath.IsAbs(name) {
					p = name
				}
				if _, err := os.Stat(p); err == nil {
					found = p
					break
				}
			}
			if found == "" {
				return nil, fmt.Errorf("task %s: %w: data file %s of split %s", c.Name, ErrNoData, name, split)
			}
			l.files[split] = append(l.files[split], found)
		}
	}
	return l, nil
}

// below finds a file of a data folder, or of the folder that the first part of its name stands for.
func below(root, name string) (path string, ok bool) {
	_, inner, _ := strings.Cut(name, "/")
	for _, p := range []string{filepath.Join(root, name), filepath.Join(root, inner)} {
		if _, err := os.Stat(p); err == nil {
			return p, true
		}
	}
	return "", false
}

// layout looks for the files of a known data set in the data folders; nil when none has any.
func (s Sources) layout(c *Config, k *known) (*located, error) {
	for _, root := range s.Folders {
		l := &located{from: s, c: c, files: map[string][]string{}, where: k.where}
		for split, names := range k.files {
			for _, name := range names {
				if p, ok := below(root, name); ok {
					l.files[split] = append(l.files[split], p)
				}
			}
		}
		if len(l.files) == 0 {
			continue
		}
		if k.set.Len() > 0 {
			var err error
			if l.c, err = c.with(k.set); err != nil {
				return nil, err
			}
			l.notes = append(l.notes, fmt.Sprintf("%s: the files of %s have a layout of their own; set for them: %s", c.Name, root, chat.JSON(k.set, 0, false)))
		}
		return s.reduced(l.c, l)
	}
	return nil, nil
}

// with returns the task with other keys.
func (c *Config) with(keys *chat.Dict) (*Config, error) {
	changed, err := parseConfig(c.File, merged(c.Raw, keys))
	if err != nil {
		return nil, err
	}
	if c.Shots != nil {
		changed.Shots = c.Shots
	}
	return changed, changed.check()
}

// reduced takes out of a task the splits that a folder does not have, as far as it can do without, and says so.
func (s Sources) reduced(c *Config, l *located) (*located, error) {
	l.c = c
	if c.Train != "" && l.files[c.Train] == nil {
		less := *c
		less.Train = ""
		l.c = &less
		instead := cmp.Or(c.Validation, c.Test)
		if c.Shots == nil || *c.Shots == 0 {
			return l, nil
		}
		l.notes = append(l.notes, fmt.Sprintf("%s: no split %s in the data folder: few-shot examples come from split %s, the asked document left out", c.Name, c.Train, instead))
	}
	return l, nil
}

// fetched takes the data set from the hub, or its cache.
func (s Sources) fetched(c *Config) (*located, error) {
	where := "no data folder was given"
	if len(s.Folders) > 0 {
		where = "not found in " + strings.Join(s.Folders, ", ")
	}
	missing := func(why string) error {
		advice := "--data FOLDER says where data sets are; --download takes them from the Hugging Face hub"
		if k := c.known(); k != nil {
			advice += "; looked for " + strings.Join(k.files[cmp.Or(c.Test, c.Validation)], ", ") + " below the folder"
		}
		return hint.Errorf(advice, "task %s: data set %s: %w: %s", c.Name, strings.TrimSpace(c.DatasetPath+" "+c.DatasetName), ErrNoData, why)
	}
	if s.Fetch == nil {
		return nil, missing(where)
	}
	l := &located{from: s, c: c, files: map[string][]string{}}
	for _, split := range c.splits() {
		files, err := s.Fetch(c.DatasetPath, c.DatasetName, split)
		if err != nil {
			return nil, missing(where + "; " + err.Error())
		}
		l.files[split] = files
	}
	return l, nil
}

// splits that the task may read, the evaluated one first.
func (c *Config) splits() []string {
	var out []string
	for _, s := range []string{cmp.Or(c.Test, c.Validation), c.Fewshot.Split, c.Train} {
		if s != "" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// splitFiles are the data files of a split in a folder: split.parquet, split-*.parquet, split.jsonl and so on.
func splitFiles(dir, split string) []string {
	for _, suffix := range []string{".parquet", "-*.parquet", ".jsonl", ".jsonl.gz", ".arrow", "-*.arrow", ".json", ".csv", ".tsv"} {
		if found, err := filepath.Glob(filepath.Join(dir, split+suffix)); err == nil && len(found) > 0 {
			slices.Sort(found)
			return found
		}
	}
	return nil
}

// read reads the documents of a split. The hash is of their content in order.
func (l *located) read(split string) (docs []Doc, digest string, err error) {
	files := l.files[split]
	if files == nil {
		return nil, "", fmt.Errorf("task %s: %w: the data set has no split %q, only %s", l.c.Name, ErrNoData, split, strings.Join(keysOf(l.files), ", "))
	}
	for _, file := range files {
		rows, err := l.from.rows(file)
		if err != nil {
			return nil, "", fmt.Errorf("task %s: %w", l.c.Name, err)
		}
		for _, row := range rows {
			if l.where != "" {
				v, ok := row.Get(l.where)
				if !ok {
					return nil, "", fmt.Errorf("task %s: %s: no column %s, only %s", l.c.Name, file, l.where, strings.Join(row.Keys(), ", "))
				}
				if chat.Str(v) != l.c.DatasetName {
					continue
				}
			}
			docs = append(docs, row)
		}
	}
	if len(docs) == 0 {
		what := ""
		if l.where != "" {
			what = " with " + l.where + " " + l.c.DatasetName
		}
		return nil, "", fmt.Errorf("task %s: %w: no rows%s in %s", l.c.Name, ErrNoData, what, strings.Join(files, ", "))
	}
	return docs, digestOf(docs), nil
}

// ErrNoData is in errors that say that a task's data is not there.
var ErrNoData = errors.New("its data is not there")

var errNoDocs = errors.New("no documents")
