package overlap

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestNormalize(t *testing.T) {
	for text, want := range map[string][]string{
		"  The Licensee, shall NOT\n sub-license… ": {"the", "licensee", "shall", "not", "sub", "license"},
		"":           {},
		"3.14 §2(a)": {"3", "14", "2", "a"},
		"許可する ok":    {"許", "可", "す", "る", "ok"},
		"naïve café": {"naïve", "café"},
	} {
		if got := Normalize(text); !reflect.DeepEqual(got, want) && len(got)+len(want) > 0 {
			t.Errorf("%q: expected %q, found %q", text, want, got)
		}
	}
}

// numbered is a text of n different words, starting with word k.
func numbered(k, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "w%d ", k+i)
	}
	return b.String()
}

func TestRuns(t *testing.T) {
	x := New([]Document{
		{"whole", numbered(0, 40)},      // copied with other case and punctuation
		{"thirteen", numbered(100, 40)}, // 13 words of it are there
		{"twelve", numbered(200, 40)},   // 12 words of it are there
		{"ten", numbered(300, 10)},      // all of its ten words are there
		{"nine of ten", numbered(400, 10)},
		{"seven", numbered(500, 7)}, // too short to look for
		{"boilerplate", numbered(600, 40)},
		{"clean", numbered(700, 40)},
	}, 0)
	x.Add("row 1", "Here: "+strings.ToUpper(strings.ReplaceAll(numbered(0, 40), " ", ", "))+"end")
	x.Add("row 2", numbered(110, 13)+" and "+numbered(210, 12)+" and "+numbered(300, 10)+" and "+numbered(400, 9)+" and "+numbered(500, 7))
	x.Add("row 3", numbered(110, 13))
	for i := range Common + 1 {
		x.Add(fmt.Sprint("form ", i), numbered(600, 20))
	}
	r := x.Result()
	if r.Rows != 3+Common+1 || r.Documents != 8 || r.Dirty != 3 || r.Near != 3 || r.Either != 4 || r.Boilerplate != 1 || r.Short != 1 {
		t.Errorf("found %+v", r)
	}
	byName := map[string]Match{}
	for _, m := range r.Matches {
		byName[m.Document] = m
	}
	if m := byName["whole"]; m.Row != "row 1" || m.Share != 1 || m.Run != strings.TrimSpace(numbered(0, 13)) {
		t.Errorf("whole: %+v", m)
	}
	if m := byName["thirteen"]; m.Row != "row 2" || m.Run != strings.TrimSpace(numbered(110, 13)) || m.Share != 11.0/38 {
		t.Errorf("thirteen: %+v", m)
	}
	if m := byName["ten"]; m.Row != "row 2" || m.Share != 1 {
		t.Errorf("ten: %+v", m)
	}
	if m, ok := byName["nine of ten"]; !ok || m.Run != "" || m.Share != 7.0/8 {
		t.Errorf("nine of ten words are pieces, not a run: %+v", m)
	}
}

// A copy with words changed here and there has no long run, and is near.
func TestNear(t *testing.T) {
	words := strings.Fields(numbered(0, 60))
	for i := 12; i < 60; i += 13 {
		words[i] = "changed"
	}
	x := New([]Document{{"a", numbered(0, 60)}, {"b", numbered(30, 60)}}, 0)
	x.Add("copy", "before "+strings.Join(words, " ")+" after")
	r := x.Result()
	if r.Dirty != 0 || r.Near != 1 || r.Matches[0].Document != "a" || r.Matches[0].Row != "copy" || r.Matches[0].Share != 46.0/58 || r.Matches[0].Run != "" {
		t.Errorf("four words of 60 were changed: %+v", r)
	}
}

// An instruction that all documents and training rows have in common is no sign.
func TestForm(t *testing.T) {
	const form = "Which licence is this text from? Answer with its identifier, and say nothing else:"
	var docs []Document
	for i := range manyDocuments {
		docs = append(docs, Document{fmt.Sprint(i), form + numbered(100*i, 20) + "Answer:"})
	}
	x := New(docs, 0)
	x.Add("row", form+numbered(300, 12)+"Answer:")
	if r := x.Result(); r.Either != 0 {
		t.Errorf("found %+v", r)
	}
	x.Add("row", form+numbered(300, 13)+"Answer:")
	if r := x.Result(); r.Dirty != 1 || r.Matches[0].Document != "3" {
		t.Errorf("found %+v", r)
	}
	if got := withoutForm(docs)[0]; len(got) != 20 {
		t.Errorf("left of the first document: %q", got)
	}
}

// Fewer words make shorter runs.
func TestLength(t *testing.T) {
	x := New([]Document{{"a", numbered(0, 40)}}, 5)
	x.Add("row", numbered(7, 5))
	if r := x.Result(); r.Dirty != 1 || r.Matches[0].Run != strings.TrimSpace(numbered(7, 5)) {
		t.Errorf("found %+v", r)
	}
}
