package data

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"tune/internal/chat"
	"tune/internal/tokenizer"
)

const (
	turn = `{"role":"user","content":"the cat"},{"role":"assistant","content":"and the dog"}`
	good = `{"messages":[` + turn + `]}`
)

// planted are the mistakes that ruin most fine-tunes, each in the second row of a file whose first row is good.
var planted = []struct{ find, row string }{
	{"unreadable", `{"messages":[{"role":"user"`},
	{"invalid-utf8", "{\"messages\":[{\"role\":\"user\",\"content\":\"caf\xe9\"},{\"role\":\"assistant\",\"content\":\"yo\"}]}"},
	{"unknown-role", `{"messages":[{"role":"user","content":"hi"},{"role":"bot","content":"yo"},` + turn + `]}`},
	{"null-content", `{"messages":[{"role":"user","content":null},{"role":"assistant","content":"yo"}]}`},
	{"template-error", `{"messages":[{"role":"user","content":"forbidden"},{"role":"assistant","content":"yo"}]}`},
	{"role-order", `{"messages":[` + turn + `,{"role":"user","content":"hi"}]}`},
	{"role-order", `{"messages":[{"role":"user","content":"hi"},` + turn + `]}`},
	{"tool-call", `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{}}}]},{"role":"user","content":"hm"},{"role":"assistant","content":"yo"}]}`},
	{"tool-call", `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"<tool_call>{\"name\": \"f\"}"}]}`},
	{"tool-call", `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":"{a: 1"}}]}]}`},
	{"tool-call", `{"messages":[{"role":"user","content":"hi"},{"role":"tool","content":"3"},{"role":"assistant","content":"yo"}]}`},
	{"empty-turn", `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"  "}]}`},
	{"markup", `{"messages":[{"role":"user","content":"[INST] hi [/INST]"},{"role":"assistant","content":"yo"}]}`},
	{"markup", `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yo<|end|>"}]}`},
	{"unsupervised", `{"messages":[{"role":"system","content":"hi"}]}`},
	{"too-long", `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"` + strings.Repeat("x ", 99) + `"}]}`},
	{"same-pair", `{"prompt":"hi","chosen":"yo","rejected":"yo"}`},
	{"duplicate", `{"messages":[{"role":"user","content":"The  cat"},{"role":"assistant","content":"and the dog"}]}`},
	{"mojibake", `{"messages":[{"role":"user","content":"cafÃ©"},{"role":"assistant","content":"yo"}]}`},
}

// strict is ChatML that refuses a word.
const strict = `{% for m in messages %}{% if m.content == 'forbidden' %}{{ raise_exception('not this word') }}{% endif %}{% endfor %}` + chatML

func checkRows(t *testing.T, cfg Config, template, split string, held *HeldOut) []Finding {
	t.Helper()
	parsed, err := chat.Parse(template)
	if err != nil {
		t.Fatal(err)
	}
	tok := testTokenizer(t)
	s, err := Open(cfg, Options{Split: split, Tokenizer: tok, Template: parsed})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	stop, _ := tok.ID("<|im_end|>")
	c, err := s.Check(context.Background(), CheckOptions{Stops: []int32{stop}, HeldOut: held})
	if err != nil {
		t.Fatal(err)
	}
	return c.Findings
}

func plantedConfig(t *testing.T, rows ...string) Config {
	cfg := Default()
	cfg.Train, cfg.Seq = Sources{{Path: write(t, "a.jsonl", strings.Join(rows, "\n")+"\n")}}, 128
	return cfg
}

func TestCheckFindsPlantedMistakes(t *testing.T) {
	for _, p := range planted {
		good := good
		if p.find == "same-pair" {
			good = strings.Replace(p.row, "yo", "no", 1)
		}
		if _, err := Open(plantedConfig(t, good, p.row), Options{Split: "train", Tokenizer: testTokenizer(t)}); err != nil {
			// the first rows of a file are read when it is opened
			if f := FindingOf("train", err); f.Name != p.find || !f.Error || !strings.Contains(f.Message, "a.jsonl:2") {
				t.Errorf("%s: %v is %+v", p.find, err, f)
			}
			continue
		}
		list := checkRows(t, plantedConfig(t, good, p.row), strict, "train", nil)
		i := slices.IndexFunc(list, func(f Finding) bool { return f.Name == p.find })
		if i < 0 {
			t.Errorf("%s in %.90s: found only %+v", p.find, p.row, list)
			continue
		}
		if f := list[i]; f.Rows != 1 || !strings.HasSuffix(f.Key, "a.jsonl:2") && p.find != "invalid-utf8" || f.Hint == "" || f.Message == "" {
			t.Errorf("%s: %+v", p.find, f)
		}
	}
	if list := checkRows(t, plantedConfig(t, good), strict, "train", nil); len(list) > 0 {
		t.Errorf("a good row: %+v", list)
	}
}

func TestCheckTemplateAndStops(t *testing.T) {
	cfg := plantedConfig(t, good)
	call := `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yo","tool_calls":[{"function":{"name":"f","arguments":{}}}]}]}`
	if list := checkRows(t, plantedConfig(t, call), strings.ReplaceAll(chatML, "m.tool_calls", "m.calls"), "train", nil); len(list) != 1 || list[0].Name != "left-out" {
		t.Errorf("a template without tools: %+v", list)
	}
	if list := checkRows(t, plantedConfig(t, call), chatML, "train", nil); len(list) != 0 {
		t.Errorf("a template with tools: %+v", list)
	}
	for template, want := range map[string]string{
		strings.ReplaceAll(chatML, "<|im_end|>", "<|end|>"): "no-stop",
		`{{ bos_token }}{{ bos_token }}` + chatML:           "doubled-bos",
		strings.Replace(chatML, "{% if add_generation_prompt %}<|im_start|>assistant", "{% if add_generation_prompt %}Answer:", 1): "unlike-generation",
		`{% for m in messages if m.role != 'assistant' %}{{ m.content }}{% endfor %}`:                                              "template-error",
	} {
		parsed, err := chat.Parse(template)
		if err != nil {
			t.Fatal(err)
		}
		tok := testTokenizer(t)
		if want == "doubled-bos" {
			if tok, err = tokenizer.FromJSON(tok.JSON(), []byte(`{"bos_token":"<|end|>","eos_token":"<|im_end|>"}`)); err != nil {
				t.Fatal(err)
			}
		}
		s, err := Open(cfg, Options{Split: "train", Tokenizer: tok, Template: parsed})
		if err != nil {
			t.Fatal(err)
		}
		stop, _ := tok.ID("<|im_end|>")
		c, err := s.Check(context.Background(), CheckOptions{Stops: []int32{stop}})
		s.Close()
		if err != nil {
			t.Fatal(err)
		}
		if list := c.Findings; !slices.ContainsFunc(list, func(f Finding) bool { return f.Name == want && f.Rows == 1 }) {
			t.Errorf("%s: found %+v", want, list)
		}
	}
}

// TestCheckLeak plants one row of train in the test split as it is, but for case and white space, and one with few words changed.
func TestCheckLeak(t *testing.T) {
	row := func(question string) string {
		return `{"messages":[{"role":"system","content":"` + strings.Repeat("all rows share this ", 20) + `"},{"role":"user","content":"` + question + `"},` +
			`{"role":"assistant","content":"and the dog"}]}`
	}
	long := func(words string) string { // 60 words of its own
		var b strings.Builder
		for i := range 60 {
			fmt.Fprintf(&b, "%s%d ", words, i)
		}
		return b.String()
	}
	cfg := plantedConfig(t, row("the bird"), row(long("a")), row(long("b")))
	cfg.Seq = 4096
	cfg.Test = Sources{{Path: write(t, "test.jsonl", strings.Join([]string{row("the  fish"), row("THE bird "), row(strings.Replace(long("a"), "a7 ", "other ", 1)), row(long("c"))}, "\n"))}}
	held := NewHeldOut(0.8)
	for _, split := range []string{"test", "train"} {
		if list := checkRows(t, cfg, chatML, split, held); len(list) > 0 {
			t.Errorf("%s: %+v", split, list)
		}
	}
	list := held.Findings("test")
	for i, want := range []Finding{{Name: "leak", Error: true, Key: "test.jsonl:2", Message: "a.jsonl:1"}, {Name: "near-leak", Key: "test.jsonl:3", Message: "a.jsonl:2"}} {
		if len(list) != 2 {
			t.Fatalf("found %+v", list)
		}
		f := list[i]
		if f.Name != want.Name || f.Rows != 1 || f.Of != 4 || f.Error != want.Error || !strings.HasSuffix(f.Key, want.Key) || !strings.HasSuffix(f.Message, want.Message) {
			t.Errorf("got %+v, want %+v", f, want)
		}
	}
	if list := held.Findings("valid"); len(list) > 0 {
		t.Errorf("valid: %+v", list)
	}
}

// TestCheckFirstRows stops after so many rows of each source.
func TestCheckFirstRows(t *testing.T) {
	cfg := plantedConfig(t, good, strings.Replace(good, "cat", "bird", 1), good)
	cfg.Train = append(cfg.Train, cfg.Train...)
	parsed, err := chat.Parse(chatML)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(cfg, Options{Split: "train", Tokenizer: testTokenizer(t), Template: parsed})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for most, rows := range map[int]int{2: 4, 3: 6, 0: 6} {
		if c, err := s.Check(context.Background(), CheckOptions{Rows: most}); err != nil || c.Rows != rows {
			t.Errorf("first %d: %d rows, %v", most, c.Rows, err)
		}
	}
}

func TestCheckSameAnswer(t *testing.T) {
	var rows []string
	for i := range 120 {
		answer := "and the dog"
		if i%2 == 0 {
			answer = strings.Repeat("a", i+1)
		}
		rows = append(rows, `{"messages":[{"role":"user","content":"`+strings.Repeat("q", i+1)+`"},{"role":"assistant","content":"`+answer+`"}]}`)
	}
	cfg := plantedConfig(t, rows...)
	cfg.Seq = 1024
	list := checkRows(t, cfg, chatML, "train", nil)
	if len(list) != 1 || list[0].Name != "same-answer" || list[0].Rows != 60 || list[0].Error {
		t.Errorf("%+v", list)
	}
}
