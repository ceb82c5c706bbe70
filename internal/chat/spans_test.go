package chat

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"tune/internal/hint"
)

// Templates in the manner of published ones, written for these tests.
const (
	chatML = `{%- if messages[0].role != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\n' + message.content | trim + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`

	headers = `{{ bos_token }}{% for m in messages %}{% set c = '<|head|>' ~ m['role'] ~ '<|end|>\n\n' ~ m['content']|trim ~ '<|eot|>' %}{{ c }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|head|>assistant<|end|>\n\n' }}{% endif %}`

	// the system text goes into the last user turn, so no prefix of a conversation is a prefix of its text
	inst = `{%- set loop_messages = messages %}
{%- if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set loop_messages = messages[1:] %}{% endif %}
{{- bos_token }}
{%- for m in loop_messages %}
    {%- if m.role == 'user' %}
        {{- '[INST]' ~ (system ~ '\n\n' if loop.index >= loop_messages|length - 1 and system is defined) ~ m.content ~ '[/INST]' }}
    {%- else %}
        {{- ' ' + m.content + eos_token }}
    {%- endif %}
{%- endfor %}`

	// thoughts are shown in the last turn only, and asked for without thoughts when enable_thinking is false
	thinking = `{%- for m in messages %}
    {%- set text = m.content.split('</think>')[-1].lstrip('\n') %}
    {{- '<|im_start|>' + m.role + '\n' }}
    {%- if m.role == 'assistant' and loop.last %}{{ '<think>\n' ~ (m.reasoning_content or '') ~ '\n</think>\n\n' }}{% endif %}
    {{- text ~ '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% if enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}`

	// no loop over messages: only prefixes tell the turns apart
	counted = `{% for i in range(messages|length) %}{{ messages[i].role }}: {{ messages[i].content }}<e>
{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}`

	marked = `{% for m in messages %}{% if m.role == 'assistant' %}A:{% generation %}{{ m.content }}<e>
{% endgeneration %}{% else %}U:{{ m.content }}
{% endif %}{% endfor %}`

	// the loop collects, and the text is written later in a way that cannot be followed
	shuffled = `{% set ns = namespace(t='') %}{% for m in messages %}{% set ns.t = m.content ~ ns.t %}{% endfor %}{{ ns.t }}`
)

var talk = []Message{{Role: "user", Content: "a <b>?"}, {Role: "assistant", Content: "one\n"}, {Role: "user", Content: "c"}, {Role: "assistant", Content: "two"}}

func TestSpans(t *testing.T) {
	system := append([]Message{{Role: "system", Content: "S"}}, talk...)
	thought := append([]Message(nil), talk...)
	thought[1].Content, thought[3].Reasoning = "<think>x</think>\n\none", "because"
	calls := []Message{{Role: "user", Content: "q"}, {Role: "assistant", ToolCalls: []any{NewDict(Field{"name", "f"})}},
		{Role: "tool", Content: "r"}, {Role: "assistant", Content: "two"}}
	const tools = `{% for m in messages %}<{{ m.role }}>{% if m.tool_calls %}{% for c in m.tool_calls %}{{ c|tojson }}{% endfor %}{% else %}{{ m.content }}{% endif %}</s>
{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}`
	for _, c := range []struct {
		name, template string
		messages       []Message
		extra          []Field
		want           []string
	}{
		{"ChatML", chatML, talk, nil, []string{"one<|im_end|>", "two<|im_end|>"}},
		{"ChatML with system", chatML, system, nil, []string{"one<|im_end|>", "two<|im_end|>"}},
		{"headers", headers, talk, nil, []string{"one<|eot|>", "two<|eot|>"}},
		{"inst", inst, talk, nil, []string{" one\n</s>", " two</s>"}},
		{"inst with system", inst, system, nil, []string{" one\n</s>", " two</s>"}},
		{"thinking", thinking, thought, nil, []string{"one<|im_end|>", "<think>\nbecause\n</think>\n\ntwo<|im_end|>"}},
		{"no thinking", thinking, talk, []Field{{"enable_thinking", false}}, []string{"one\n<|im_end|>", "two<|im_end|>"}},
		{"counted", counted, talk, nil, []string{"one\n<e>", "two<e>"}},
		{"generation", marked, talk, nil, []string{"one\n<e>\n", "two<e>\n"}},
		{"tool calls", tools, calls, nil, []string{`{"name": "f"}</s>`, "two</s>"}},
		{"no assistant", chatML, talk[:1], nil, nil},
	} {
		tmpl, err := Parse(c.template)
		if err != nil {
			t.Fatal(err)
		}
		for _, prompt := range []bool{false, true} {
			r, err := tmpl.Render(Conversation{Messages: c.messages, Extra: c.extra}, Options{BOS: "<s>", EOS: "</s>", Spans: true, AddGenerationPrompt: prompt})
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			var got []string
			for i, s := range r.Spans {
				got = append(got, r.Text[s.Start:s.End])
				if c.messages[s.Message].Role != assistant || i > 0 && s.Start < r.Spans[i-1].End {
					t.Errorf("%s: span %+v", c.name, s)
				}
			}
			if strings.Join(got, "|") != strings.Join(c.want, "|") {
				t.Errorf("%s: got %q, want %q in %q", c.name, got, c.want, r.Text)
			}
		}
	}
}

func TestSpansUnknown(t *testing.T) {
	tmpl, err := Parse(shuffled)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tmpl.Render(Conversation{Messages: talk}, Options{Spans: true})
	if err == nil || !strings.Contains(err.Error(), "message 1: cannot tell which part") || hint.Of(err) == "" {
		t.Errorf("expected an error with a hint, found %v", err)
	}
	if tmpl, err = Parse(strings.Replace(marked, "m.role == 'assistant'", "m.content == 'two'", 1)); err != nil {
		t.Fatal(err)
	}
	if _, err = tmpl.Render(Conversation{Messages: talk}, Options{Spans: true}); err == nil || !strings.Contains(err.Error(), "message 1: the template has generation blocks") {
		t.Errorf("a message outside of the generation blocks: found %v", err)
	}
}

func TestContinue(t *testing.T) {
	tmpl, err := Parse(chatML)
	if err != nil {
		t.Fatal(err)
	}
	r, err := tmpl.Render(Conversation{Messages: talk[:2]}, Options{ContinueFinal: true})
	if err != nil || !strings.HasSuffix(r.Text, "assistant\none") {
		t.Errorf("%q %v", r.Text, err)
	}
	if _, err := tmpl.Render(Conversation{Messages: talk[:1]}, Options{ContinueFinal: true}); err == nil {
		t.Error("a user's message continued: no error")
	}
}

// TestBounds: templates that would run for ever, recurse or fill the memory end with an error.
func TestBounds(t *testing.T) {
	loops := strings.Repeat("{% for a in range(100000) %}", 3) + "x" + strings.Repeat("{% endfor %}", 3)
	for _, src := range []string{
		loops,
		"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
		"{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
		"{{ 'x' * 999999999999 }}", "{{ [1] * 999999999999 }}", "{{ ('x' * 100000).replace('x', 'y' * 100000) }}", "{{ 'x'.center(999999999999) }}",
		"{{ range(99999999999) }}", "{{ 9 ** 9 ** 9 ** 9 }}", "{{ '%999999999s' % 'x' }}",
		"{% set ns = namespace(l=[]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l + [i] %}{% endfor %}",
		strings.Repeat("(", 100000), "{{ " + strings.Repeat("(", 100000), "{{ " + strings.Repeat("-", 100000) + "1 }}", "{{ " + strings.Repeat("not ", 100000) + "1 }}",
		"{{ " + strings.Repeat("[", 500) + strings.Repeat("]", 500) + " }}", strings.Repeat("{% if 1 %}", 100000),
		"{% set ns = namespace(l=[]) %}{% for i in range(1000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l|tojson }}",
	} {
		_, err := evaluate(src, nil)
		if err == nil && !strings.HasPrefix(src, "(") {
			t.Errorf("%.80q: no error", src)
		}
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	_, err := evaluate("a\nb{% set x = 1 %}\n{{ x + 'y' }}", nil)
	if err == nil || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("expected line 3, found %v", err)
	}
	if _, err = Parse("a\n{% nope %}"); err == nil || !strings.Contains(err.Error(), `line 2: unknown tag "nope"`) {
		t.Errorf("found %v", err)
	}
	var raised *RaisedError
	if _, err = evaluate("{{ raise_exception('stop') }}", nil); !errors.As(err, &raised) || raised.Message != "stop" {
		t.Errorf("found %v", err)
	}
	tmpl, err := Parse("{{ strftime_now('%Y') }}")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tmpl.Render(Conversation{Messages: talk}, Options{}); err == nil || !strings.Contains(err.Error(), "no clock") {
		t.Errorf("found %v", err)
	}
	if _, err := tmpl.Render(Conversation{}, Options{Now: testClock}); err == nil || !strings.Contains(err.Error(), "at least one message") {
		t.Errorf("found %v", err)
	}
}

func TestMessagesFromJSON(t *testing.T) {
	list, err := MessagesFromJSON([]byte(`[{"role":"assistant","content":null,"reasoning":"r","tool_calls":[{"b":1,"a":2.5}],"name":"n"},{"content":[{"type":"text"}],"role":"user"}]`))
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := Parse("{% for m in messages %}{{ m }}\n{% endfor %}")
	if err != nil {
		t.Fatal(err)
	}
	r, err := tmpl.Render(Conversation{Messages: list}, Options{})
	want := "{'role': 'assistant', 'reasoning_content': 'r', 'thinking': 'r', 'tool_calls': [{'b': 1, 'a': 2.5}], 'name': 'n'}\n{'role': 'user', 'content': [{'type': 'text'}]}\n"
	if err != nil || r.Text != want {
		t.Errorf("got %q %v, want %q", r.Text, err, want)
	}
	for _, bad := range []string{`{}`, `[1]`, `[{}]`, `[{"role":1}]`, `[`, `[] []`, strings.Repeat("[", 1000)} {
		if _, err := MessagesFromJSON([]byte(bad)); err == nil {
			t.Errorf("%.20q: no error", bad)
		}
	}
}

// FuzzRender: a foreign template ends, with a text or an error, and its spans lie in the text.
func FuzzRender(f *testing.F) {
	for _, s := range []string{chatML, headers, inst, thinking, counted, marked, shuffled, "{{ messages|tojson(indent=2) }}", "{{ ''.join(['a'])[::-1] }}",
		"{% macro m(a, b=1) %}{{ a }}{% endmacro %}{% call m(1) %}{% endcall %}", "{% raw %}{{{% endraw %}", "{{ messages|groupby('role')|map('last')|list }}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		tmpl, err := Parse(src)
		if err != nil {
			return
		}
		r, err := tmpl.Render(Conversation{Messages: talk, Tools: []any{"t"}}, Options{BOS: "<s>", EOS: "</s>", Spans: true, Now: testClock})
		if err != nil {
			return
		}
		for _, s := range r.Spans {
			if s.Start < 0 || s.Start > s.End || s.End > len(r.Text) {
				t.Fatalf("span %+v of %d bytes", s, len(r.Text))
			}
		}
		thought := append([]Message(nil), talk...)
		thought[1].Reasoning, thought[3].ToolCalls = "because", []any{NewDict(Field{"name", "f"})}
		c, o := Conversation{Messages: thought}, Options{Spans: true, Now: testClock}
		if r, err = tmpl.Render(c, o); err != nil {
			return
		}
		parts, err := tmpl.Parts(c, o, r)
		for _, p := range parts {
			if p.Start < 0 || p.Start >= p.End || p.End > len(r.Text) || err != nil {
				t.Fatalf("part %+v of %d bytes, %v", p, len(r.Text), err)
			}
		}
	})
}

// TestParts: reasoning and tool calls are what disappears with them, marks included.
func TestParts(t *testing.T) {
	call := []any{NewDict(Field{"name", "f"})}
	const tools = `{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls or [] %}<call>{{ c|tojson }}</call>{% endfor %}<end>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}`
	for _, c := range []struct {
		template string
		last     Message
		want     string
	}{
		{thinking, Message{Role: assistant, Content: "two", Reasoning: "because"}, "0:because"},
		{tools, Message{Role: assistant, Content: "two", ToolCalls: call}, `1:<call>{"name": "f"}</call>`},
		{tools, Message{Role: assistant, Content: "a > b", ToolCalls: call}, `1:<call>{"name": "f"}</call>`},
		{tools, Message{Role: assistant, Content: "<call>", ToolCalls: call}, `1:<call>{"name": "f"}</call>`},
		{tools, Message{Role: assistant, Content: "two"}, ""},
		{tools, Message{Role: assistant, Content: "two", Reasoning: "not shown"}, ""},
	} {
		tmpl, err := Parse(c.template)
		if err != nil {
			t.Fatal(err)
		}
		conversation := Conversation{Messages: append(append([]Message(nil), talk[:3]...), c.last)}
		r, err := tmpl.Render(conversation, Options{Spans: true})
		if err != nil {
			t.Fatal(err)
		}
		parts, err := tmpl.Parts(conversation, Options{Spans: true}, r)
		if err != nil {
			t.Errorf("%+v: %v", c.last, err)
		}
		var got []string
		for _, p := range parts {
			got = append(got, strconv.Itoa(int(p.Kind))+":"+r.Text[p.Start:p.End])
		}
		if strings.Join(got, "|") != c.want {
			t.Errorf("%+v: got %q, want %q in %q", c.last, got, c.want, r.Text)
		}
	}
}

func BenchmarkRender(b *testing.B) {
	for name, src := range map[string]string{"ChatML": chatML, "thinking": thinking} {
		tmpl, err := Parse(src)
		if err != nil {
			b.Fatal(err)
		}
		long := append([]Message(nil), talk...)
		for i := range long {
			long[i].Content = strings.Repeat("word ", 200)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tmpl.Render(Conversation{Messages: long}, Options{Spans: true}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
