package task

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"tune/internal/chat"
	"tune/internal/hint"
)

// builtin are the task files that come with the program.
//
//go:embed tasks sources.yaml
var builtin embed.FS

// builtinRoot begins the names of built-in files in messages.
const builtinRoot = "builtin:"

// Library knows all tasks, groups and tags by name: the built-in ones and those of the user's folders, which hide
// built-in ones of the same name.
type Library struct {
	entries map[string]*entry
	tags    map[string][]string // tag -> tasks, sorted
}

// entry is a task or a group as its file says it.
type entry struct {
	name string
	file string
	keys *chat.Dict // includes resolved
	err  error      // what is wrong with the file
}

func (e *entry) isGroup() bool { _, ok := e.keys.Get("group"); return ok }

// Group is a named set of tasks and groups with a score of its own.
type Group struct {
	Name, Alias string
	Version     string
	Members     []string // tasks and groups, tags resolved
	Metrics     []GroupMetric
}

// GroupMetric is an entry of aggregate_metric_list: the mean of a metric over the tasks below the group.
type GroupMetric struct {
	Metric  string
	Filters []string // nil: all that the tasks have
	BySize  bool     // weighted by documents
}

// NewLibrary reads the built-in tasks and the task files (*.yaml, *.yml) below the folders.
func NewLibrary(folders ...string) (*Library, error) {
	l := &Library{entries: map[string]*entry{}, tags: map[string][]string{}}
	if err := l.addFolder(builtin, "tasks", builtinRoot); err != nil {
		return nil, err
	}
	for _, f := range folders {
		if info, err := os.Stat(f); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("task folder %s: expected a folder", f)
		}
		if err := l.addFolder(os.DirFS(f), ".", f+"/"); err != nil {
			return nil, err
		}
	}
	l.index()
	return l, nil
}

func (l *Library) addFolder(fsys fs.FS, root, prefix string) error {
	return fs.WalkDir(fsys, root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if ext := path.Ext(p); ext != ".yaml" && ext != ".yml" {
			return nil
		}
		for _, e := range readEntries(fsys, p, prefix) {
			l.entries[e.name] = e
		}
		return nil
	})
}

// AddFile adds the tasks of one file and returns their names.
func (l *Library) AddFile(file string) ([]string, error) {
	dir, base := filepath.Split(file)
	if dir == "" {
		dir = "."
	}
	if _, err := os.Stat(file); err != nil {
		return nil, fmt.Errorf("task file: %w", err)
	}
	var names []string
	for _, e := range readEntries(os.DirFS(dir), base, filepath.Clean(dir)+"/") {
		if e.err != nil {
			return nil, e.err
		}
		l.entries[e.name] = e
		names = append(names, e.name)
	}
	l.index()
	return names, nil
}

// index lists the tasks of every tag.
func (l *Library) index() {
	clear(l.tags)
	for name, e := range l.entries {
		if e.err != nil || e.isGroup() {
			continue
		}
		f := &fields{d: e.keys}
		for _, tag := range f.texts("tag") {
			l.tags[tag] = append(l.tags[tag], name)
		}
	}
	for _, tasks := range l.tags {
		slices.Sort(tasks)
	}
}

// readEntries reads the tasks of a file: one, or with the key "each" one for every mapping in that list. What is wrong
// with a file becomes the entry's error, so that one bad file does not hide the others.
func readEntries(fsys fs.FS, p, prefix string) []*entry {
	file := prefix + p
	broken := func(err error) []*entry {
		return []*entry{{name: strings.TrimSuffix(path.Base(p), path.Ext(p)), file: file, keys: chat.NewDict(), err: err}}
	}
	keys, err := resolve(fsys, p, prefix, 0)
	if err != nil {
		return broken(err)
	}
	f := &fields{d: keys, at: file}
	rows := f.dicts("each")
	if rows == nil {
		rows = []*chat.Dict{chat.NewDict()}
	}
	if err := f.err(); err != nil {
		return broken(err)
	}
	var out []*entry
	for _, row := range rows {
		d := merged(keys, row)
		d.Delete("each")
		e := &entry{file: file, keys: d}
		name, _ := d.Get("task")
		if g, ok := d.Get("group"); ok {
			name = g
		}
		if e.name, _ = name.(string); e.name == "" {
			if len(rows) == 1 && name == nil {
				continue // a template that other files include
			}
			e.err = fmt.Errorf("%s: expected a name in the key task, found %s", file, kindOf(name))
		}
		out = append(out, e)
	}
	return out
}

const maxIncludes = 10

// resolve reads a file and what it includes: its own keys win.
func resolve(fsys fs.FS, p, prefix string, depth int) (*chat.Dict, error) {
	if depth > maxIncludes {
		return nil, fmt.Errorf("%s: files include each other more than %d deep", prefix+p, maxIncludes)
	}
	text, err := readBounded(fsys, p)
	if err != nil {
		return nil, fmt.Errorf("task file %s: %w", prefix+p, err)
	}
	own, err := readYAML(fileName(prefix, p), text)
	if err != nil {
		return nil, err
	}
	include, ok := own.Get("include")
	if !ok {
		return own, nil
	}
	name, ok := include.(string)
	if !ok {
		return nil, fmt.Errorf("%s: include: expected a file name, found %s", prefix+p, kindOf(include))
	}
	var base *chat.Dict
	switch {
	case strings.HasPrefix(name, builtinRoot):
		base, err = resolve(builtin, strings.TrimPrefix(name, builtinRoot), builtinRoot, depth+1)
	case filepath.IsAbs(name) || strings.HasPrefix(path.Clean(path.Join(path.Dir(p), name)), ".."):
		full := name
		if !filepath.IsAbs(name) {
			full = filepath.Join(prefix, path.Dir(p), name)
		}
		base, err = resolve(os.DirFS(filepath.Dir(full)), filepath.Base(full), filepath.Dir(full)+"/", depth+1)
	default:
		base, err = resolve(fsys, path.Join(path.Dir(p), name), prefix, depth+1)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: include: %w", prefix+p, err)
	}
	d := merged(base, own)
	d.Delete("include")
	return d, nil
}

// fileName is the name of a file with the folder that functions are named after.
func fileName(prefix, p string) string {
	if dir := path.Dir(p); dir != "." || prefix == builtinRoot {
		return prefix + p
	}
	abs, err := filepath.Abs(prefix)
	if err != nil {
		return prefix + p
	}
	return filepath.Join(abs, p)
}

func readBounded(fsys fs.FS, p string) ([]byte, error) {
	info, err := fs.Stat(fsys, p)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxYAML {
		return nil, fmt.Errorf("expected at most %d bytes, found %d", maxYAML, info.Size())
	}
	return fs.ReadFile(fsys, p)
}

// Names lists all tasks, groups and tags, sorted.
func (l *Library) Names() (tasks, groups, tags []string) {
	for name, e := range l.entries {
		if e.err == nil && e.isGroup() {
			groups = append(groups, name)
		} else {
			tasks = append(tasks, name)
		}
	}
	slices.Sort(tasks)
	slices.Sort(groups)
	return tasks, groups, slices.Sorted(maps.Keys(l.tags))
}

// Tagged are the tasks with a tag, sorted.
func (l *Library) Tagged(tag string) []string { return l.tags[tag] }

// Task returns the configuration of a task.
func (l *Library) Task(name string) (*Config, error) {
	e := l.entries[name]
	switch {
	case e == nil:
		return nil, l.unknown(name)
	case e.err != nil:
		return nil, e.err
	case e.isGroup():
		return nil, fmt.Errorf("%s: expected a task, found a group", name)
	}
	c, err := parseConfig(e.file, e.keys)
	if err != nil {
		return nil, err
	}
	return c, c.check()
}

// Group returns a group, nil when the name is a tag or task.
func (l *Library) Group(name string) (*Group, error) {
	e := l.entries[name]
	if e == nil || e.err != nil || !e.isGroup() {
		return nil, nil
	}
	f := &fields{d: e.keys, at: e.file + ": group " + name}
	f.known([]string{"group", "group_alias", "task", "aggregate_metric_list", "metadata", "tag", "description"}, "a group file")
	g := &Group{Name: name, Alias: f.text("group_alias", name), Version: "N/A"}
	if v, ok := f.dict("metadata").Get("version"); ok {
		g.Version = chat.Str(v)
	}
	members, _ := f.any("task").([]any)
	for _, m := range members {
		s, ok := m.(string)
		if d, isDict := m.(*chat.Dict); isDict {
			v, _ := d.Get("task")
			if s, ok = v.(string); ok && d.Len() > 1 {
				f.bad("task: %s: changes of a task inside a group are not supported; write a task file that includes it", s)
			}
		}
		switch {
		case !ok:
			f.bad("task: expected names, found %s", kindOf(m))
		case l.entries[s] != nil:
			g.Members = append(g.Members, s)
		case l.tags[s] != nil:
			g.Members = append(g.Members, l.tags[s]...)
		default:
			f.bad("task: no task, group or tag %s%s", s, closest(s, l.all()))
		}
	}
	if len(members) == 0 {
		f.bad("task: expected a list of tasks")
	}
	for _, d := range f.dicts("aggregate_metric_list") {
		m := &fields{d: d}
		gm := GroupMetric{Metric: m.text("metric", ""), Filters: m.texts("filter_list"), BySize: true}
		if _, ok := d.Get("weight_by_size"); ok {
			gm.BySize = m.bool("weight_by_size")
		}
		if a := m.text("aggregation", "mean"); a != "mean" {
			m.bad("aggregation: expected mean, found %s", a)
		}
		f.wrong = append(f.wrong, m.wrong...)
		g.Metrics = append(g.Metrics, gm)
	}
	return g, f.err()
}

// Selection is what a list of names stands for.
type Selection struct {
	Tasks  []*Config // each once, in the order of the names
	Groups []*Group  // those named and those inside them, members first
}

// Select resolves names of tasks, groups and tags, patterns such as mmlu_* and task files.
func (l *Library) Select(names []string) (*Selection, error) {
	s := &Selection{}
	have := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		if have[name] {
			return nil
		}
		have[name] = true
		g, err := l.Group(name)
		if err != nil {
			return err
		}
		if g == nil {
			c, err := l.Task(name)
			s.Tasks = append(s.Tasks, c)
			return err
		}
		for _, m := range g.Members {
			if err := add(m); err != nil {
				return err
			}
		}
		s.Groups = append(s.Groups, g)
		return nil
	}
	for _, name := range names {
		resolved, err := l.expand(name)
		if err != nil {
			return nil, err
		}
		for _, n := range resolved {
			if err := add(n); err != nil {
				return nil, err
			}
		}
	}
	if len(s.Tasks) == 0 {
		return nil, errors.New("expected the name of a task")
	}
	return s, nil
}

func (l *Library) expand(name string) ([]string, error) {
	switch {
	case l.entries[name] != nil:
		return []string{name}, nil
	case l.tags[name] != nil:
		return l.tags[name], nil
	case strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml"):
		return l.AddFile(name)
	case strings.ContainsAny(name, "*?["):
		var found []string
		for n := range l.entries {
			if ok, err := path.Match(name, n); err != nil {
				return nil, fmt.Errorf("tasks %s: %w", name, err)
			} else if ok {
				found = append(found, n)
			}
		}
		if slices.Sort(found); found != nil {
			return found, nil
		}
	}
	return nil, l.unknown(name)
}

func (l *Library) all() []string {
	return slices.Concat(slices.Sorted(maps.Keys(l.entries)), slices.Sorted(maps.Keys(l.tags)))
}

func (l *Library) unknown(name string) error {
	advice := "`tune eval ls` lists all tasks, groups and tags"
	if near := hint.Closest(name, l.all()); near != "" {
		advice = "did you mean " + near + "? " + advice
	}
	return hint.Errorf(advice, "no task, group, tag or task file %q", name)
}

// closest ends a message about an unknown name.
func closest[S ~string](word string, names []S) string {
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = string(n)
	}
	if near := hint.Closest(word, list); near != "" {
		return ", did you mean " + near + "?"
	}
	return ""
}

// keysOf are the keys of a table, sorted.
func keysOf[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// MetricKeys are the numbers that a run of the task or group reports, such as "acc,none": each metric under each filter.
func (s *Selection) MetricKeys(name string) (keys []string) {
	for _, t := range s.Tasks {
		if t.Name != name {
			continue
		}
		for _, f := range t.Filters {
			for _, m := range t.Metrics {
				keys = append(keys, m.Name+","+f.Name)
			}
		}
	}
	for _, g := range s.Groups {
		if g.Name != name {
			continue
		}
		var below []string
		for _, m := range g.Members {
			below = append(below, s.MetricKeys(m)...)
		}
		for _, m := range g.Metrics {
			for _, k := range below {
				metric, filter, _ := strings.Cut(k, ",")
				if metric == m.Metric && (m.Filters == nil || slices.Contains(m.Filters, filter)) && !slices.Contains(keys, k) {
					keys = append(keys, k)
				}
			}
		}
	}
	return keys
}
