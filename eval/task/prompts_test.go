package task

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"tune/eval/ask"
	"tune/internal/chat"
	"tune/internal/testkit"
)

// promptDocuments is how many documents make_prompts.py takes of each task.
const promptDocuments = 25

// TestPrompts compares the requests of built-in tasks with those that lm-eval 0.4.13 makes of its own files.
func TestPrompts(t *testing.T) {
	sources := Sources{Folders: []string{testkit.Shared(t, "data")}, Files: map[string][]Doc{}}
	f, err := os.Open("testdata/prompts.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := NewLibrary()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); n++ {
		var want struct {
			Task             string
			Shots            int
			Chat             bool
			MultiTurn        bool `json:"multi_turn"`
			System           string
			Requests         int
			Prompts, Targets string
			Last             string
		}
		if err := json.Unmarshal(lines.Bytes(), &want); err != nil {
			t.Fatal(err)
		}
		c, err := l.Task(want.Task)
		if err != nil {
			t.Fatal(err)
		}
		c.Shots = &want.Shots
		loaded, err := Load(c, sources)
		if err != nil {
			t.Fatal(err)
		}
		o := Options{Seed: 1234, First: promptDocuments, System: want.System, MultiTurn: want.MultiTurn}
		if want.Chat {
			o.Render = plainTemplate
		}
		set, err := loaded.Requests(o)
		if err != nil {
			t.Fatal(err)
		}
		var pairs, targets []any
		last := ""
		for _, item := range set.Items {
			for k := 0; k < len(item.Requests); k += set.Repeats {
				r := item.Requests[k]
				var continuation any
				if r.Kind == ask.LogLikelihood {
					continuation = r.Continuation
				}
				pairs = append(pairs, []any{r.Context, continuation})
				target, err := set.target(item.Doc, set.Config.Target)
				if err != nil {
					t.Fatal(err)
				}
				targets = append(targets, chat.Str(target))
				last = r.Context
			}
		}
		if len(pairs) != want.Requests || hexSHA256(chat.JSON(pairs, 0, false)) != want.Prompts {
			t.Errorf("%s, %d examples, chat %v, turns %v, system %q: other requests; the last one ends in\n%q\nwant\n%q", want.Task, want.Shots, want.Chat, want.MultiTurn,
				want.System, last[max(0, len(last)-160):], want.Last)
		}
		if hexSHA256(chat.JSON(targets, 0, false)) != want.Targets {
			t.Errorf("%s: other targets", want.Task)
		}
	}
	if n != 135 {
		t.Errorf("%d runs, want 135", n)
	}
}

// plainTemplate stands for a model's chat template: that of make_prompts.py.
func plainTemplate(chat []ask.Message, prefill bool) (string, error) {
	var lines []string
	for _, m := range chat {
		lines = append(lines, "<"+m.Role+">"+m.Content)
	}
	if !prefill {
		lines = append(lines, "<assistant>")
	}
	return strings.Join(lines, "\n"), nil
}
