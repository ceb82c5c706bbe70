package data

import (
	"context"
	"reflect"
	"strings"
	"testing"
)

func TestSummarize(t *testing.T) {
	c := Default()
	c.Train, c.Seq = Sources{{Path: write(t, "a.jsonl", `{"input_ids": [1,2,3]}
{"input_ids": [1,2,3]}
{"input_ids": [1,2,3], "labels": [-100, -100, 3]}
{"input_ids": []}
{"input_ids": [1,2,3,4,5]}
{"input_ids": [999]}
{"input_ids": [1,2,3,4]}
`)}}, 4
	s := open(t, c, "train")
	m, err := s.Summarize(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Problems) != 1 || !strings.Contains(m.Problems[0], "a.jsonl:6: position 0") {
		t.Errorf("problems %q", m.Problems)
	}
	m.Problems = nil
	want := &Summary{Rows: 7, Tokens: 18, Supervised: 12, Empty: 1, Bad: 1, Duplicates: 1, Overlength: 1, Mean: 3.6, Median: 3, P90: 5, P99: 5, Longest: 5,
		Lengths: []Bucket{{3, 4, 4}, {5, 8, 1}}, Roles: []Share{{"tokens", 5, 18, 12}}}
	if len(m.LongRows) != 5 || m.LongRows[0].Tokens != 5 || !strings.HasSuffix(m.LongRows[0].Key, "a.jsonl:5") || m.LongRows[1].Tokens != 4 {
		t.Errorf("longest rows %v", m.LongRows)
	}
	if len(m.Sources) != 1 || m.Sources[0].Rows != 5 || m.Sources[0].Tokens != 18 {
		t.Errorf("sources %v", m.Sources)
	}
	m.LongRows, m.Sources = nil, nil
	if !reflect.DeepEqual(m, want) {
		t.Errorf("got  %+v\nwant %+v", m, want)
	}
}

// TestSummarizeJudged counts answers judged bad under their own name, and as rows like others where both are learned from.
func TestSummarizeJudged(t *testing.T) {
	c := Default()
	c.Train = Sources{{Path: write(t, "a.jsonl", `{"prompt": "the cat", "completion": " and", "label": true}
{"prompt": "the cat", "completion": " the", "label": false}
{"prompt": "the dog", "completion": " the", "label": false}
`)}}
	for _, pairs := range []bool{false, true} {
		s, err := Open(c, Options{Split: "train", Tokenizer: testTokenizer(t), Pairs: pairs})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		m, err := s.Summarize(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := map[bool]int{false: 2}[pairs]
		counted := 0
		for _, b := range m.Lengths {
			counted += b.Rows
		}
		if m.Rows != 3 || m.Unwanted != want || m.Empty != 0 || counted != 3-want {
			t.Errorf("pairs %v: %+v", pairs, m)
		}
	}
}
