package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tune/internal/testkit"
)

// A chatCase is a conversation and the text, or the error, that transformers gives.
type chatCase struct {
	Template string            `json:"template"`
	Name     string            `json:"case"`
	Special  map[string]string `json:"special_tokens"`
	Now      string            `json:"now"`
	Messages json.RawMessage   `json:"messages"`
	Tools    json.RawMessage   `json:"tools"`
	Kwargs   json.RawMessage   `json:"kwargs"`
	Expected *string           `json:"expected"`
	Error    *struct{ Type, Message string }
}

func (c *chatCase) input(t testing.TB) (Conversation, Options) {
	t.Helper()
	now, err := time.Parse("2006-01-02T15:04:05", c.Now)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{BOS: c.Special["bos_token"], EOS: c.Special["eos_token"], Pad: c.Special["pad_token"], Unk: c.Special["unk_token"], Now: now}
	var conv Conversation
	if conv.Messages, err = MessagesFromJSON(c.Messages); err != nil {
		t.Fatal(err)
	}
	tools, err := FromJSON(c.Tools)
	if err != nil {
		t.Fatal(err)
	}
	conv.Tools, _ = tools.([]any)
	kwargs, err := FromJSON(c.Kwargs)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kwargs.(*Dict).Keys() {
		v, _ := kwargs.(*Dict).Get(k)
		switch k {
		case "add_generation_prompt":
			o.AddGenerationPrompt = v.(bool)
		case "continue_final_message":
			o.ContinueFinal = v.(bool)
		case "documents":
			conv.Documents, _ = v.([]any)
		default:
			conv.Extra = append(conv.Extra, Field{k, v})
		}
	}
	return conv, o
}

func readCases(t testing.TB, dir string) []chatCase {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "cases.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []chatCase
	for line := range bytes.Lines(data) {
		var c chatCase
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	}
	return cases
}

func readTemplate(t testing.TB, path string) *Template {
	t.Helper()
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := Parse(string(src))
	if err != nil {
		t.Fatal(err)
	}
	return tmpl
}

func TestSharedCases(t *testing.T) {
	dir := testkit.Shared(t, "goldens/chat")
	checkCases(t, dir, readCases(t, dir))
}

// TestSharedParts: of every conversation that a published template renders, what the assistant says is found, and within it what is
// reasoning and what are tool calls.
func TestSharedParts(t *testing.T) {
	dir := testkit.Shared(t, "goldens/chat")
	spans, parts := 0, 0
	for _, c := range readCases(t, dir) {
		tmpl := readTemplate(t, filepath.Join(dir, filepath.FromSlash(c.Template)))
		conv, o := c.input(t)
		o.ContinueFinal, o.AddGenerationPrompt = false, false
		if _, err := tmpl.Render(conv, o); err != nil {
			continue // an error of the template's own
		}
		o.Spans = true
		r, err := tmpl.Render(conv, o)
		if err != nil {
			t.Errorf("%s, %s: %v", c.Template, c.Name, err)
			continue
		}
		found, err := tmpl.Parts(conv, o, r)
		if err != nil {
			t.Errorf("%s, %s: %v", c.Template, c.Name, err)
		}
		spans, parts = spans+len(r.Spans), parts+len(found)
		for _, p := range found {
			if !slices.ContainsFunc(r.Spans, func(s Span) bool { return s.Message == p.Message && s.Start <= p.Start && p.End <= s.End }) {
				t.Errorf("%s, %s: part %+v lies in no turn of %+v", c.Template, c.Name, p, r.Spans)
			}
		}
	}
	if spans < 100 || parts < 30 {
		t.Errorf("only %d turns and %d parts", spans, parts)
	}
}

func checkCases(t *testing.T, dir string, cases []chatCase) {
	templates := map[string]*Template{}
	rendered, failed := 0, 0
	for _, c := range cases {
		tmpl := templates[c.Template]
		if tmpl == nil {
			tmpl = readTemplate(t, filepath.Join(dir, filepath.FromSlash(c.Template)))
			templates[c.Template] = tmpl
		}
		conv, o := c.input(t)
		got, err := tmpl.Render(conv, o)
		switch {
		case c.Error != nil:
			failed++
			if err == nil {
				t.Errorf("%s %s: expected the error %s, found text", c.Template, c.Name, c.Error.Message)
				break
			}
			var raised *RaisedError
			if c.Error.Type == "TemplateError" && (!errors.As(err, &raised) || raised.Message != c.Error.Message) {
				t.Errorf("%s %s: expected the error %q, found %v", c.Template, c.Name, c.Error.Message, err)
			}
		case err != nil:
			t.Errorf("%s %s: %v", c.Template, c.Name, err)
		case got.Text != *c.Expected:
			t.Errorf("%s %s:\n got %q\nwant %q", c.Template, c.Name, got.Text, *c.Expected)
		default:
			rendered++
		}
	}
	t.Logf("%d templates, %d texts, %d errors", len(templates), rendered, failed)
}

// TestSharedSpans compares the two independent ways to find the spans wherever both work. They may differ in the end only: some
// templates close the whole conversation with a token that is not part of the last turn.
func TestSharedSpans(t *testing.T) {
	dir := testkit.Shared(t, "goldens/chat")
	turnsOnly, both := 0, 0
	for _, c := range readCases(t, dir) {
		conv, o := c.input(t)
		o.Spans, o.AddGenerationPrompt, o.ContinueFinal = true, false, false
		tmpl := readTemplate(t, filepath.Join(dir, filepath.FromSlash(c.Template)))
		r, err := newRendering(tmpl, conv, o)
		if err != nil {
			continue
		}
		var want []int
		for i, m := range conv.Messages {
			if m.Role == assistant {
				want = append(want, i)
			}
		}
		full, err := r.run(len(conv.Messages), false)
		if err != nil || len(want) == 0 {
			continue
		}
		turns := r.turnSpans(full, want)
		if turns == nil {
			t.Errorf("%s %s: no turns in %q", c.Template, c.Name, full.s)
			continue
		}
		for _, s := range turns {
			content := conv.Messages[s.Message].Content
			tail := strings.TrimSpace(content[strings.LastIndex(content, ">")+1:]) // without thoughts, which templates may drop
			if got := full.s[s.Start:s.End]; !strings.Contains(got, tail) || strings.Contains(got, "assistant") && !strings.Contains(c.Template, "gpt-oss") {
				t.Errorf("%s %s: message %d is %q", c.Template, c.Name, s.Message, got)
			}
		}
		prefix, err := r.prefixSpans(full.s, want)
		if err != nil {
			turnsOnly++
			continue
		}
		both++
		for i := range turns {
			if turns[i].Start != prefix[i].Start || turns[i].End > prefix[i].End {
				t.Errorf("%s %s: turns give %q, prefixes %q", c.Template, c.Name, full.s[turns[i].Start:turns[i].End], full.s[prefix[i].Start:prefix[i].End])
			}
		}
	}
	t.Logf("%d conversations by turns alone, %d by turns and by prefixes", turnsOnly, both)
	if both < 80 || turnsOnly < 10 {
		t.Error("too few conversations compared")
	}
}
