package cli

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"tune/eval/task"
	"tune/internal/hint"
)

// listed is a line of `tune eval ls`.
type listed struct {
	Name      string   `json:"name"`
	Kind      string   `json:"kind"` // task, group or tag
	About     string   `json:"about"`
	Licence   string   `json:"licence,omitempty"` // of the data
	Documents int      `json:"documents,omitempty"`
	Members   []string `json:"members,omitempty"`
}

func (e *env) evalList(c *cli.Context) error {
	l, err := task.NewLibrary(c.StringSlice("include-path")...)
	if err != nil {
		return err
	}
	if c.NArg() > 1 {
		return usagef(c, "expected one pattern, found %d arguments", c.NArg())
	}
	if err := checkFolders(c.StringSlice("data")); err != nil {
		return err
	}
	list, err := e.list(l, cmp.Or(c.Args().First(), "*"), task.Sources{Folders: c.StringSlice("data"), Files: map[string][]task.Doc{}})
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return hint.Errorf("patterns are such as mmlu_*; without one all are listed", "no task, group or tag %q", c.Args().First())
	}
	if c.Bool("json") {
		return writeJSON(e.stdout, list)
	}
	rows := [][]string{{"name", "kind", "", "licence of the data", "documents"}}
	for _, x := range list {
		documents := ""
		if x.Documents > 0 {
			documents = strconv.Itoa(x.Documents)
		}
		rows = append(rows, []string{x.Name, x.Kind, x.About, x.Licence, documents})
	}
	return printTable(e.stdout, rows)
}

// list is what of a library fits a pattern: groups, tags, then tasks, with their documents where the sources have folders.
func (e *env) list(l *task.Library, pattern string, sources task.Sources) (list []listed, err error) {
	fits := func(name string) bool {
		ok, err := filepath.Match(pattern, name)
		return ok && err == nil
	}
	tasks, groups, tags := l.Names()
	for _, name := range groups {
		g, err := l.Group(name)
		if err != nil {
			return nil, err
		}
		if fits(name) {
			list = append(list, listed{Name: name, Kind: "group", About: fmt.Sprintf("%d members", len(g.Members)), Members: g.Members})
		}
	}
	for _, name := range tags {
		if fits(name) {
			list = append(list, listed{Name: name, Kind: "tag", About: fmt.Sprintf("%d tasks", len(l.Tagged(name))), Members: l.Tagged(name)})
		}
	}
	for _, name := range tasks {
		if !fits(name) {
			continue
		}
		t, err := l.Task(name)
		if err != nil {
			fmt.Fprintln(e.stderr, "note:", err)
			continue
		}
		x := listed{Name: name, Kind: "task", About: strings.TrimSpace(string(t.Output) + " " + t.DatasetPath + " " + t.DatasetName), Licence: t.Licence()}
		if len(sources.Folders) > 0 {
			x.Documents = e.documents(t, sources)
		}
		list = append(list, x)
	}
	return list, nil
}

// documents is the number of documents of a task, 0 when its data is not there.
func (e *env) documents(t *task.Config, sources task.Sources) int {
	loaded, err := task.Load(t, sources)
	if err != nil {
		if !errors.Is(err, task.ErrNoData) {
			fmt.Fprintln(e.stderr, "note:", err)
		}
		return 0
	}
	return len(loaded.Docs)
}
