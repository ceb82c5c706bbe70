package task

import (
	"bufio"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"tune/internal/chat"
)

// eachLine reads a file of JSON lines; the values keep the order of their keys.
func eachLine(t *testing.T, file string, visit func(d *chat.Dict)) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		v, err := chat.FromJSON(lines.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		visit(v.(*chat.Dict))
	}
}

func floatOf(v any) float64 {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case float64:
		return v
	}
	return math.NaN()
}

// sumTolerance: numpy and scikit-learn add in other orders.
const sumTolerance = 1e-12

// TestAggregations compares with lm-eval's functions (make_metrics.py).
func TestAggregations(t *testing.T) {
	n := 0
	eachLine(t, "testdata/metrics.jsonl", func(d *chat.Dict) {
		n++
		f := &fields{d: d}
		name := f.text("aggregation", "")
		var values []any
		for _, v := range f.any("values").([]any) {
			list, _ := v.([]any)
			switch f.text("kind", "") {
			case "number":
				values = append(values, floatOf(v))
			case "pair":
				values = append(values, Pair{floatOf(list[0]), floatOf(list[1])})
			case "brier":
				b := Brier{Gold: int(list[0].(int64))}
				for _, p := range list[1].([]any) {
					b.Probs = append(b.Probs, floatOf(p))
				}
				values = append(values, b)
			}
		}
		a := aggregations[name]
		got, err := a.of(values)
		if want := floatOf(f.any("value")); err != nil || math.Abs(got-want) > sumTolerance*max(1, math.Abs(want)) {
			t.Errorf("%s of %d = %v, %v, want %v", name, len(values), got, err, want)
		}
		if want := f.any("stderr"); want != nil {
			got, err := a.stderr(name, values, *f.int("draws"))
			if w := floatOf(want); err != nil || math.Abs(got-w) > sumTolerance*max(1, w) {
				t.Errorf("standard error of %s of %d = %v, %v, want %v", name, len(values), got, err, w)
			}
		}
	})
	if n != 29 {
		t.Errorf("%d rows, want 29", n)
	}
}

// TestFilters compares with lm-eval's filters and its exact_match (make_metrics.py).
func TestFilters(t *testing.T) {
	eachLine(t, "testdata/filters.jsonl", func(d *chat.Dict) {
		f := &fields{d: d}
		if o, ok := f.any("exact_match").(*chat.Dict); ok {
			for i, p := range f.any("pairs").([]any) {
				pair := p.([]any)
				got, err := exactMatchMetric([]string{pair[1].(string)}, []string{pair[0].(string)}, o)
				if want := floatOf(f.any("scores").([]any)[i]); err != nil || got != want {
					t.Errorf("exact_match %s of %q = %v, %v, want %v", chat.JSON(o, 0, false), pair, got, err, want)
				}
			}
			return
		}
		spec := f.dict("filter")
		run, _, err := FilterConfig{Name: "f", Steps: []*chat.Dict{spec}}.pipeline()
		if err != nil {
			t.Fatal(err)
		}
		got, err := run(f.texts("answers"), f.dict("doc"))
		if want := f.texts("filtered"); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s gives\n%q, %v, want\n%q", chat.JSON(spec, 0, false), got, err, want)
		}
	})
}

// The wants are what PyYAML 6 reads.
func TestYAML(t *testing.T) {
	d, err := readYAML("folder/a.yaml", []byte("a: yes\nb: 'yes'\nc: 1e5\nd: 1.5e+3\ne: 012\nf: 1_000\ng: 0x1F\nh: ~\ni: 3.\nj: on\nk: !function utils.f\nl: [no, No, n]\nm: .5\no: 08\np: -3\n"))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{"a": true, "b": "yes", "c": "1e5", "d": 1500.0, "e": int64(10), "f": int64(1000), "g": int64(31), "h": nil, "i": 3.0,
		"j": true, "k": Function{"folder", "utils.f"}, "l": []any{false, false, "n"}, "m": 0.5, "o": "08", "p": int64(-3)} {
		if got, _ := d.Get(key); !reflect.DeepEqual(got, want) {
			t.Errorf("%s = %#v, want %#v", key, got, want)
		}
	}
	for _, text := range []string{"", "[1]", "a: !python/object x", "a: !function f", "a: [", "a: &x [*x]"} {
		if _, err := readYAML("a.yaml", []byte(text)); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

func TestLibraryProblems(t *testing.T) {
	l, err := NewLibrary()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Select([]string{"arc_esay"}); err == nil || !strings.Contains(err.Error(), `"arc_esay"`) {
		t.Errorf("unknown task: %v", err)
	}
	s, err := l.Select([]string{"mmlu_*_mathematics", "ai2_arc", "arc_easy"})
	if err != nil || len(s.Tasks) != 5 {
		t.Errorf("a pattern, a tag and a task of it give %d tasks, %v, want 5", len(s.Tasks), err)
	}
	for text, want := range map[string]string{
		"task: a\ntest_split: test\ndataset_path: x\ndoc_to_txet: a":                                                         "doc_to_txet: no key of a task file, did you mean doc_to_text?",
		"task: a\ntest_split: test\ndataset_path: x\ndoc_to_text: !function os.system":                                       "not one of the known functions",
		"task: a\ntest_split: test\ndataset_path: x\ndoc_to_text: a\nmetric_list: [{metric: akk}]":                           `no metric "akk"`,
		"task: a\ntest_split: test\ndataset_path: x\ndoc_to_text: a\noutput_type: multiple_choices":                          "did you mean multiple_choice?",
		"task: a\ntest_split: test\ndataset_path: x\ndoc_to_text: a\nfilter_list: [{name: f, filter: [{function: regexp}]}]": `no filter "regexp", did you mean regex?`,
		"task: a\ndataset_path: x\ndoc_to_text: a":                                                                           "expected test_split or validation_split",
		"task: a\ntest_split: test\ndataset_path: x\ndoc_to_text: a\nnum_fewshot: many":                                      "num_fewshot: expected a whole number",
		"group: g\ntask: [arc_easi]": "no task, group or tag arc_easi, did you mean arc_easy?",
	} {
		file := t.TempDir() + "/a.yaml"
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Select([]string{file}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one that says %q", text, err, want)
		}
	}
}

// TestInstructions compares with lm-eval's checkers (make_ifeval.py).
func TestInstructions(t *testing.T) {
	n := 0
	eachLine(t, "testdata/ifeval.jsonl", func(d *chat.Dict) {
		n++
		f := &fields{d: d}
		answer := f.text("answer", "")
		got, err := ifevalResults(f.dict("doc"), results{texts: []string{answer}})
		if err != nil {
			t.Fatal(err)
		}
		strict, loose := got[1].Value.([]bool)[0], got[3].Value.([]bool)[0]
		if strict != f.bool("strict") || loose != f.bool("loose") {
			t.Errorf("%s of %q: strictly %v, loosely %v, want %v, %v", chat.JSON(f.dict("doc"), 0, false), answer, strict, loose, f.bool("strict"), f.bool("loose"))
		}
	})
	if n != 26*31 {
		t.Errorf("%d cases, want %d", n, 26*31)
	}
}

func TestLanguages(t *testing.T) {
	for text, want := range map[string]string{
		"The cat is on the mat and it is happy.": "en", "Le chat est sur la table et il dort dans une boîte.": "fr", "Der Hund und die Katze sind nicht im Haus.": "de",
		"これは日本語の文です。": "ja", "这是中文句子。": "zh-cn", "Это предложение на русском языке.": "ru", "123": "",
	} {
		if got := languageOf(text); got != want {
			t.Errorf("language of %q: %q, want %q", text, got, want)
		}
	}
}

func TestCode(t *testing.T) {
	for _, c := range []struct {
		n, c, k int
		want    float64
	}{{1, 1, 1, 1}, {1, 0, 1, 0}, {10, 3, 1, 0.3}, {5, 2, 2, 0.7}, {64, 64, 8, 1}} {
		if got := passEstimate(c.n, c.c, c.k); math.Abs(got-c.want) > sumTolerance {
			t.Errorf("pass@%d of %d of %d = %v, want %v", c.k, c.c, c.n, got, c.want)
		}
	}
	for answer, want := range map[string]string{"\ndef f():\n  pass\n```\nmore": "def f():\n  pass", "no end": "", "def f(): 1\n```": " f(): 1"} {
		if got := mbppBlock(answer, nil); got != want {
			t.Errorf("block of %q: %q, want %q", answer, got, want)
		}
	}
}
