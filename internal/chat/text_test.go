package chat

import (
	"strings"
	"testing"
)

// The wants are what jinja2 3.1 gives with StrictUndefined and keep_trailing_newline.
func TestText(t *testing.T) {
	row, err := FromJSON([]byte(`{"q": "Why? ", "choices": {"text": ["a", "it's"], "label": ["A", "B"]}, "key": "B", "n": 7, "none": null}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ template, want string }{
		{"Question: {{q}}\nAnswer:\n", "Question: Why? \nAnswer:\n"},
		{"{{choices.text}}", `['a', "it's"]`},
		{"{{choices.label.index(key)}}", "1"},
		{"  {% set x = n + 1 %}\n{{x}}\n", "  \n8\n"},
		{"{{ q | regex_replace('[?]\\s*', '!') }}", "Why!"},
		{"{% if missing is defined %}a{% else %}b{% endif %}", "b"},
		{"{{ missing | default('x') }}", "x"},
		{"{% if none is not none %}a{% else %}{{n|string}}{% endif %}", "7"},
		{"{# c #}\nx", "\nx"},
		{"{{ q.split(' ')[:-1]|join(' ') }}|{{ ' ' + q.strip() }}", "Why?| Why?"},
	} {
		tm, err := ParseText(c.template)
		if err != nil {
			t.Fatal(err)
		}
		got, err := tm.Render(row.(*Dict))
		if err != nil || got != c.want {
			t.Errorf("%q = %q, %v, want %q", c.template, got, err, c.want)
		}
	}
	for _, template := range []string{"{{missing}}", "{{choices.nothing}}", "{% if missing %}{% endif %}", "{{missing ~ 'a'}}", "{{missing|join(',')}}", "{{ not missing }}", "{% for x in missing %}{% endfor %}", "{{ missing == 1 }}"} {
		tm, err := ParseText(template)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := tm.Render(row.(*Dict)); err == nil || !strings.Contains(err.Error(), "undefined") {
			t.Errorf("%q = %q, %v, want an error that says what is undefined", template, got, err)
		}
	}
}

// TestLongContent renders a message longer than what a template may make of short ones: the bound grows with the conversation.
func TestLongContent(t *testing.T) {
	tm, err := Parse(`{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' + '\n' }}{% endfor %}`)
	if err != nil {
		t.Fatal(err)
	}
	c := Conversation{Messages: []Message{{Role: "user", Content: strings.Repeat("x", 40<<20)}, {Role: "assistant", Content: "y"}}}
	if r, err := tm.Render(c, Options{Spans: true}); err != nil || len(r.Spans) != 1 {
		t.Errorf("40 MB: %v", err)
	}
	if tm, err = Parse(`{{ messages[0]['content'] * 1000 }}`); err != nil {
		t.Fatal(err)
	}
	if _, err := tm.Render(c, Options{}); err == nil || !strings.Contains(err.Error(), "the template makes more than") {
		t.Errorf("40 GB: %v", err)
	}
}
