package chat

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
	"time"
)

var testClock = time.Date(2025, 7, 9, 8, 7, 6, 0, time.UTC)

// evaluate renders a template with the given variables.
func evaluate(template string, vars *scope) (string, error) {
	tmpl, err := Parse(template)
	if err != nil {
		return "", err
	}
	e := &evaluator{scope: &scope{parent: vars}, out: &rope{}, now: testClock}
	err = e.run(tmpl.body)
	return string(e.out.b), err
}

// TestJinja runs small templates against what Jinja makes of them (testdata/make_cases.py).
func TestJinja(t *testing.T) {
	data, err := os.ReadFile("testdata/cases.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	vars := &scope{}
	n := 0
	for line := range bytes.Lines(data) {
		var c struct {
			Vars     json.RawMessage
			Template string
			Expected *string
			Error    string
		}
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		if c.Vars != nil {
			v, err := FromJSON(c.Vars)
			if err != nil {
				t.Fatal(err)
			}
			d := v.(*Dict)
			for _, k := range d.Keys() {
				x, _ := d.Get(k)
				y, err := fromGo(x, -1, 0)
				if err != nil {
					t.Fatal(err)
				}
				vars.set(k, y)
			}
			continue
		}
		n++
		got, err := evaluate(c.Template, vars)
		switch {
		case c.Expected == nil && err == nil:
			t.Errorf("%q: expected an error (%s), found %q", c.Template, c.Error, got)
		case c.Expected != nil && err != nil:
			t.Errorf("%q: expected %q, found the error %v", c.Template, *c.Expected, err)
		case c.Expected != nil && got != *c.Expected:
			t.Errorf("%q:\n got %q\nwant %q", c.Template, got, *c.Expected)
		}
	}
	if n < 200 {
		t.Errorf("only %d cases", n)
	}
}
