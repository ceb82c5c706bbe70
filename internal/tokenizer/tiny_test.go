package tokenizer

import (
	"encoding/json"
	"maps"
	"os"
	"testing"
)

// pipeline is a line of testdata/cases.jsonl: a tokenizer.json as a change to a small vocabulary, and what the reference library
// answers (testdata/make_cases.py).
type pipeline struct {
	Name   string
	Base   string
	Patch  map[string]json.RawMessage
	Cases  []json.RawMessage
	Decode []goldenCase
}

func readPipelines(t testing.TB) (list []pipeline, files [][]byte) {
	t.Helper()
	var bases map[string]map[string]json.RawMessage
	data, err := os.ReadFile("testdata/tiny.json")
	if err == nil {
		err = json.Unmarshal(data, &bases)
	}
	if err != nil {
		t.Fatal(err)
	}
	lines, err := os.ReadFile("testdata/cases.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	eachLine(t, lines, func(line []byte) {
		var p pipeline
		if err := json.Unmarshal(line, &p); err != nil {
			t.Fatal(err)
		}
		model := map[string]json.RawMessage{"type": json.RawMessage(`"BPE"`)}
		maps.Copy(model, bases[p.Base])
		file := map[string]json.RawMessage{"added_tokens": json.RawMessage(defaultAdded)}
		maps.Copy(file, p.Patch)
		if m := p.Patch["model"]; m != nil {
			var set map[string]json.RawMessage
			if err := json.Unmarshal(m, &set); err != nil {
				t.Fatal(err)
			}
			maps.Copy(model, set)
		}
		if file["model"], err = json.Marshal(model); err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(file)
		if err != nil {
			t.Fatal(err)
		}
		list, files = append(list, p), append(files, data)
	})
	return list, files
}

const defaultAdded = `[{"id":0,"content":"<s>","special":true},{"id":1,"content":"</s>","special":true},{"id":2,"content":"<unk>","special":true},
{"id":3,"content":"<|x|>","special":true},{"id":4,"content":"<n>"}]`

func TestPipelines(t *testing.T) {
	list, files := readPipelines(t)
	for i, p := range list {
		t.Run(p.Name, func(t *testing.T) {
			tk, err := FromJSON(files[i], nil)
			if err != nil {
				t.Fatal(err)
			}
			var lines []byte
			for _, c := range p.Cases {
				lines = append(append(lines, c...), '\n')
			}
			if n := checkCases(t, tk, lines); n < 40 {
				t.Errorf("only %d cases", n)
			}
			for _, c := range p.Decode {
				checkDecoded(tk, c.IDs, c.Decoded, c.DecodedSkip, func(what, text string, got, want any) {
					t.Errorf("%s of %s: got %s, want %s", what, text, short(got), short(want))
				})
			}
		})
	}
}
