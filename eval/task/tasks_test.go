package task

import (
	"slices"
	"testing"

	"tune/internal/testkit"
)

// TestBuiltinTasks reads every built-in task and group: a file with a mistake in it fails here.
func TestBuiltinTasks(t *testing.T) {
	l, err := NewLibrary()
	if err != nil {
		t.Fatal(err)
	}
	tasks, groups, _ := l.Names()
	for _, name := range tasks {
		if _, err := l.Task(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range groups {
		if _, err := l.Select([]string{name}); err != nil {
			t.Error(err)
		}
	}
	if _, err := sourceTable(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"general", "code", "multilingual", "long_context", "legal", "mmlu"} {
		if !slices.Contains(groups, name) {
			t.Errorf("no group %s", name)
		}
	}
	t.Logf("%d tasks, %d groups", len(tasks), len(groups))
}

// withoutData are the tasks whose rows the shared folder does not hold: those of licenses come from the program, through Fetch.
var withoutData = []string{"ifeval", "licenses", "mmlu_professional_law", "mmlu_jurisprudence", "mmlu_international_law"}

// TestSharedData makes the requests of all tasks from the shared data.
func TestSharedData(t *testing.T) {
	sources := Sources{Folders: []string{testkit.Shared(t, "data")}, Files: map[string][]Doc{}}
	l, err := NewLibrary()
	if err != nil {
		t.Fatal(err)
	}
	tasks, _, _ := l.Names()
	for _, name := range tasks {
		c, err := l.Task(name)
		if err != nil {
			t.Error(err)
			continue
		}
		loaded, err := Load(c, sources)
		if slices.Contains(withoutData, name) {
			if err == nil {
				t.Errorf("%s: found data that the folder does not have", name)
			}
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		o := Options{Seed: 1234, First: 40}
		if c.Turns != nil {
			o.Render = plainTemplate
		}
		set, err := loaded.Requests(o)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, item := range set.Items {
			if c.Output == MultipleChoice {
				choices, err := set.choices(item.Doc, set.Choice)
				if err == nil {
					_, err = set.golds(item.Doc, choices)
				}
				if err != nil {
					t.Errorf("document %d: %v", item.ID, err)
					break
				}
			}
		}
	}
}
