package data

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/internal/chat"
	"tune/internal/testkit"
)

// chatML is the template of the ChatML format, with tools.
const chatML = `{% if tools %}<|im_start|>tools
{{ tools | tojson }}<|im_end|>
{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}({{ c.function.arguments | tojson }}){% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`

func chatOptions(t testing.TB, split string) Options {
	t.Helper()
	template, err := chat.Parse(chatML)
	if err != nil {
		t.Fatal(err)
	}
	return Options{Split: split, Tokenizer: testTokenizer(t), Template: template}
}

// marked decodes packs with what is supervised in brackets.
func marked(t testing.TB, o Options, packs []*Pack) string {
	t.Helper()
	var b strings.Builder
	for _, p := range packs {
		inside := false
		for i, id := range p.IDs {
			label := i > 0 && p.Labels[i-1] >= 0
			if label != inside {
				b.WriteString(map[bool]string{true: "[[", false: "]]"}[label])
			}
			inside = label
			b.WriteString(o.Tokenizer.Decode([]int32{id}, false))
		}
		if inside {
			b.WriteString("]]")
		}
		b.WriteString("|")
	}
	return b.String()
}

func TestFormats(t *testing.T) {
	one := "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n[[yo<|im_end|>]]\n|"
	for _, c := range []struct {
		name, row, want string
		set             func(*Config)
	}{
		{name: "messages", row: `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yo"}]}`, want: one},
		{name: "messages as text", row: `{"messages":"[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"yo\"}]"}`, want: one},
		{name: "two turns", row: `{"messages":[{"role":"system","content":"s"},{"role":"user","content":"hi"},{"role":"assistant","content":"yo"},{"role":"user","content":"yo"},{"role":"assistant","content":"hi"}]}`,
			want: "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n[[yo<|im_end|>]]\n<|im_start|>user\nyo<|im_end|>\n<|im_start|>assistant\n[[hi<|im_end|>]]\n|"},
		{name: "sharegpt", row: `{"conversations":[{"from":"human","value":"hi"},{"from":"gpt","value":"yo"}]}`, want: one},
		{name: "sharegpt tools", row: `{"conversations":[{"from":"human","value":"hi"},{"from":"function_call","value":"{\"name\": \"f\", \"arguments\": {\"b\": 1, \"a\": 2}}"},{"from":"observation","value":"3"},{"from":"gpt","value":"yo"}],"tools":"[{\"name\": \"f\"}]"}`,
			want: "<|im_start|>tools\n[{\"name\": \"f\"}]<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n[[f({\"b\": 1, \"a\": 2})<|im_end|>]]\n<|im_start|>tool\n3<|im_end|>\n<|im_start|>assistant\n[[yo<|im_end|>]]\n|"},
		{name: "alpaca", row: `{"instruction":"hi","input":"","output":"yo"}`, want: one},
		{name: "alpaca input", row: `{"instruction":"hi","input":"the cat","output":"yo"}`, want: strings.Replace(one, "hi", "hi\nthe cat", 1)},
		{name: "columns", row: `{"question":"hi","answer":"yo"}`, want: one, set: func(c *Config) {
			c.Format, c.Columns = "alpaca", map[string]string{"instruction": "question", "output": "answer"}
		}},
		{name: "prompt", row: `{"prompt":"the cat","completion":" and the dog"}`, want: "the cat[[ and the dog<|end|>]]|"},
		{name: "prompt messages", row: `{"prompt":[{"role":"user","content":"hi"},{"role":"assistant","content":"no"},{"role":"user","content":"hi"}],"completion":[{"role":"assistant","content":"yo"}]}`,
			want: "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nno<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n[[yo<|im_end|>]]\n|"},
		{name: "text", row: `{"text":"the cat"}`, want: "the[[ cat<|end|>]]|"},
		{name: "all", row: `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yo"}]}`,
			want: "<|im_start|>[[user\nhi<|im_end|>\n<|im_start|>assistant\nyo<|im_end|>\n]]|", set: func(c *Config) { c.Loss = "all" }},
	} {
		cfg := Default()
		cfg.Train = Sources{{Path: write(t, "a.jsonl", c.row+"\n")}}
		if c.set != nil {
			c.set(&cfg)
		}
		o := chatOptions(t, "train")
		s, err := Open(cfg, o)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var packs []*Pack
		for {
			p, err := s.Next(context.Background())
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				break
			}
			packs = append(packs, p)
		}
		s.Close()
		if got := marked(t, o, packs); got != c.want {
			t.Errorf("%s:\ngot  %q\nwant %q", c.name, got, c.want)
		}
	}
}

func TestConversationErrors(t *testing.T) {
	for row, want := range map[string]string{
		`{"messages":[{"role":"user","content":"hi"}]}`:                                    "a.jsonl:1: expected supervised tokens, found none: no assistant turn",
		`{"messages":null}`:                                                                "a.jsonl:1: expected a list of messages",
		`{"messages":[{"role":"user"`:                                                      "a.jsonl:1: ",
		`{"messages":[{"content":"hi"}]}`:                                                  "a.jsonl:1: ",
		`{"conversations":[{"from":"dog","value":"hi"}]}`:                                  `a.jsonl:1: conversations: turn 1: unknown speaker "dog"`,
		`{"messages":[{"role":"user","content":"hi"}], "tools": 5}`:                        "a.jsonl:1: column tools: expected a list of tools",
		`{"prompt":[{"role":"user","content":"hi"}],"completion":[]}`:                      "a.jsonl:1: expected supervised tokens, found none: no assistant turn",
		`{"conversations":[{"from":"function_call","value":"call me"}]}`:                   "a.jsonl:1: conversations: turn 1: function_call",
		`{"messages":[{"role":"assistant","content":"` + strings.Repeat("x ", 90) + `"}]}`: "expected at most 64 tokens (seq)",
	} {
		cfg := Default()
		cfg.Train, cfg.Seq = Sources{{Path: write(t, "a.jsonl", row+"\n")}}, 64
		s, err := Open(cfg, chatOptions(t, "train"))
		if err == nil {
			_, err = s.Next(context.Background())
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\ngot  %v\nwant %s", row, err, want)
		}
	}
}

// TestRealFiles reads real files of several formats from end to end.
func TestRealFiles(t *testing.T) {
	dir := testkit.Shared(t, "data")
	for _, c := range []struct {
		path string
		rows int
		text string // what the first row supervises ends in
	}{
		{"legal/cuad/train.parquet", 10265, "<|im_end|>"},
		{"legal/cuad/qa/test.parquet", 548, "<|im_end|>"},
		{"instruct/alpaca_en_demo.json", 999, "<|im_end|>"},
		{"instruct/kto_en_demo.json", 300, "<|im_end|>"},
		{"instruct/glaive_toolcall_en_demo.json", 300, "<|im_end|>"},
		{"instruct/mlx-wikisql/*.jsonl", 1200, "<|end|>"},
		{"instruct/rasbt-instruction-data.json", 1100, "<|im_end|>"},
		{"text/wikitext-2-raw/test-00000-of-00001.parquet", 4358, "<|end|>"},
	} {
		cfg := Default()
		cfg.Test, cfg.Seq = Sources{{Path: filepath.Join(dir, filepath.FromSlash(c.path))}}, 32768
		o := chatOptions(t, "test")
		s, err := Open(cfg, o)
		if err != nil {
			t.Errorf("%s: %v", c.path, err)
			continue
		}
		packs := epoch(t, s)
		documentsOf(t, packs, cfg.Seq)
		st := s.Stats()
		t.Logf("%s: %+v, %.1f %% full", c.path, st, 100*st.Fill())
		if st.Rows != c.rows || st.Examples+st.Empty+st.Unwanted != c.rows {
			t.Errorf("%s: %d rows, %d documents, want %d", c.path, st.Rows, st.Examples, c.rows)
		}
		p := packs[0]
		last := slices.IndexFunc(p.Pos[1:], func(x int32) bool { return x == 0 })
		if last < 0 {
			last = len(p.IDs) - 1
		}
		for last > 0 && p.Labels[last] < 0 {
			last--
		}
		if got := o.Tokenizer.Decode(p.Labels[last:last+1], false); got != c.text {
			t.Errorf("%s: the last supervised token is %q, want %q", c.path, got, c.text)
		}
		s.Close()
	}
}

// TestBuiltin reads the built-in data set through the ordinary pipeline.
func TestBuiltin(t *testing.T) {
	cfg := Default()
	cfg.Cache = t.TempDir()
	builtin := Sources{{Path: "builtin:licenses"}}
	cfg.Train, cfg.Valid, cfg.Test, cfg.Seq = builtin, builtin, builtin, 2048
	var rows []string
	for _, split := range splits {
		s, err := Open(cfg, chatOptions(t, split))
		if err != nil {
			t.Fatal(err)
		}
		packs := epoch(t, s)
		rows = append(rows, fmt.Sprint(s.Stats().Rows))
		if got := marked(t, chatOptions(t, split), packs[:1]); !strings.Contains(got, "Which license is this text from?") {
			t.Errorf("%s: %s", split, got)
		}
		s.Close()
	}
	if got := strings.Join(rows, " "); got != "1683 68 221" {
		t.Errorf("rows of train, valid, test: %s", got)
	}
	cfg.Train = Sources{{Path: "builtin:licenses", Format: "text"}}
	s, err := Open(cfg, chatOptions(t, "train"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	epoch(t, s)
	if st := s.Stats(); st.Rows != 392 || st.Lost != 0 {
		t.Errorf("text: %+v", st)
	}
	cfg.Test = Sources{{Path: "builtin:licenses-text"}}
	if _, err := Open(cfg, chatOptions(t, "test")); err == nil || !strings.Contains(err.Error(), "expected split train") {
		t.Errorf("test split of the text: %v", err)
	}
}
