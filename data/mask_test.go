package data

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"tune/internal/chat"
)

// thinkML shows reasoning and tool calls, each in marks of its own.
const thinkML = `{% for m in messages %}<|im_start|>{{ m.role }}
{% if m.reasoning_content %}<think>
{{ m.reasoning_content }}
</think>

{% endif %}{{ m.content or '' }}{% if m.tool_calls %}{% for c in m.tool_calls %}
<tool_call>
{{ c.function | tojson }}
</tool_call>{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`

func TestMasks(t *testing.T) {
	const (
		talk = `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yo"},{"role":"user","content":"hi"},{"role":"assistant","content":"no"}]}`
		part = `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yo","reasoning_content":"the cat","tool_calls":[{"function":{"name":"f","arguments":{}}}]}]}`
		user = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
	)
	think := "<think>\nthe cat\n</think>\n\n"
	call := "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>"
	for _, c := range []struct {
		name, row, want string
		set             func(*Config)
	}{
		{"assistant", talk, user + "[[yo<|im_end|>]]\n" + user + "[[no<|im_end|>]]\n|", func(*Config) {}},
		{"last", talk, user + "yo<|im_end|>\n" + user + "[[no<|im_end|>]]\n|", func(c *Config) { c.Loss = "last" }},
		{"train false", strings.Replace(talk, `"yo"`, `"yo","train":false`, 1), user + "yo<|im_end|>\n" + user + "[[no<|im_end|>]]\n|", func(*Config) {}},
		{"weight", strings.Replace(talk, `"no"`, `"no","weight":0`, 1), user + "[[yo<|im_end|>]]\n" + user + "no<|im_end|>\n|", func(*Config) {}},
		{"last and train", strings.Replace(talk, `"yo"`, `"yo","train":true`, 1), user + "[[yo<|im_end|>]]\n" + user + "[[no<|im_end|>]]\n|", func(c *Config) { c.Loss = "last" }},
		{"a user's turn", strings.Replace(talk, `"hi"`, `"hi","train":true`, 1),
			"<|im_start|>[[user\nhi<|im_end|>\n]]<|im_start|>assistant\n[[yo<|im_end|>]]\n" + user + "[[no<|im_end|>]]\n|", func(*Config) {}},
		{"all but one", strings.Replace(talk, `"no"`, `"no","train":false`, 1),
			"<|im_start|>[[user\nhi<|im_end|>\n<|im_start|>assistant\nyo<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n]]no<|im_end|>[[\n]]|", func(c *Config) { c.Loss = "all" }},
		{"whole turn", part, user + "[[" + think + "yo" + call + "<|im_end|>]]\n|", func(*Config) {}},
		{"no reasoning", part, user + think + "[[yo" + call + "<|im_end|>]]\n|", func(c *Config) { c.LossParts = []string{"content", "tool_calls"} }},
		{"no calls", part, user + "[[" + think + "yo]]" + call + "[[<|im_end|>]]\n|", func(c *Config) { c.LossParts = []string{"content", "reasoning"} }},
		{"calls alone", part, user + think + "yo[[" + call + "<|im_end|>]]\n|", func(c *Config) { c.LossParts = []string{"tool_calls"} }},
		{"drop", talk[:len(talk)-len(`,{"role":"user","content":"hi"},{"role":"assistant","content":"no"}]}`)-len(`,{"role":"assistant","content":"yo"}`)] + "]}\n" + talk,
			user + "[[yo<|im_end|>]]\n" + user + "[[no<|im_end|>]]\n|", func(c *Config) { c.Unsupervised = "drop" }},
		{"drop from the cache", talk[:len(talk)-len(`,{"role":"user","content":"hi"},{"role":"assistant","content":"no"}]}`)-len(`,{"role":"assistant","content":"yo"}`)] + "]}\n" + talk,
			user + "[[yo<|im_end|>]]\n" + user + "[[no<|im_end|>]]\n|", func(c *Config) { c.Unsupervised, c.TokenCache = "drop", true }},
	} {
		cfg := Default()
		cfg.Train, cfg.Order = Sources{{Path: write(t, "a.jsonl", c.row+"\n")}}, "file"
		c.set(&cfg)
		cfg.Cache = t.TempDir()
		template, err := chat.Parse(thinkML)
		if err != nil {
			t.Fatal(err)
		}
		o := Options{Split: "train", Tokenizer: testTokenizer(t), Template: template}
		s, err := Open(cfg, o)
		if err != nil {
			t.Fatal(err)
		}
		var packs []*Pack
		for {
			p, err := s.Next(context.Background())
			if err != nil {
				if err != io.EOF {
					t.Errorf("%s: %v", c.name, err)
				}
				break
			}
			packs = append(packs, p)
		}
		st := s.Stats()
		s.Close()
		if got := marked(t, o, packs); got != c.want {
			t.Errorf("%s:\ngot  %q\nwant %q", c.name, got, c.want)
		}
		if drop := strings.HasPrefix(c.name, "drop"); drop != (st.Untaught == 1) {
			t.Errorf("%s: %d rows dropped", c.name, st.Untaught)
		}
	}
}

func TestMaskErrors(t *testing.T) {
	for row, want := range map[string]string{
		`{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yo","train":"yes"}]}`: "message 1: train: expected true or false (1 or 0), found yes",
		`{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yo","train":false}]}`: "train is false in all turns",
	} {
		cfg := Default()
		cfg.Train = Sources{{Path: write(t, "a.jsonl", row+"\n")}}
		s := open(t, cfg, "train")
		template, err := chat.Parse(chatML)
		if err != nil {
			t.Fatal(err)
		}
		s.encoder.template = template
		if _, err := s.Next(context.Background()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\ngot  %v\nwant %s", row, err, want)
		}
	}
}

// TestUnsupervisedTokens drops and counts rows of tokens that teach nothing, as it does conversations.
func TestUnsupervisedTokens(t *testing.T) {
	c := Default()
	c.Train = Sources{{Path: write(t, "a.jsonl", "{\"input_ids\":[5,6],\"labels\":[-100,-100]}\n{\"input_ids\":[5,6],\"labels\":[-100,6]}\n")}}
	if _, err := open(t, c, "train").Next(t.Context()); !errors.Is(err, errUnsupervised) {
		t.Errorf("got %v, want %v", err, errUnsupervised)
	}
	c.Unsupervised = "drop"
	s := open(t, c, "train")
	if packs := epoch(t, s); len(packs) != 1 || packs[0].Docs != 1 || s.Stats().Untaught != 1 {
		t.Errorf("%d packs, %+v", len(packs), s.Stats())
	}
}
