package recipes

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBuiltinRecipesAreRight(t *testing.T) {
	if len(Names()) < 3 {
		t.Errorf("found only %v", Names())
	}
	for _, name := range Names() {
		r, err := Load(name, nil)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		// What Marshal writes must be a recipe again, and the same one.
		text, err := r.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse("again", text, nil)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, text)
		}
		b1, _ := json.Marshal(r)
		b2, _ := json.Marshal(again)
		if string(b1) != string(b2) {
			t.Errorf("%s: written and read again:\n%s\n%s", name, b1, b2)
		}
		if text, _ := Text(name); Summary(text) == "" {
			t.Errorf("%s: no first comment line", name)
		}
	}
}

const broken = `# a recipe with one of each
base: 5
data:
  train: [a.jsonl, {path: b.jsonl, wher: x}]
  seq: long
lora:
  rank: 16
  rnak: 8
train:
  learning_rate: 1e-3
  lr: [1]
  batch: 1.5
  schedule: {name: cosinus}
  clip:
  clip: 2
  momentum: 0.5
rank: 4
memory: 12 parsecs
eval: yes
`

// All problems of a file at once, each with position, path, expected and found.
func TestEveryProblemIsReported(t *testing.T) {
	_, err := Parse("bad.yaml", []byte(broken), nil)
	if err == nil {
		t.Fatal("no error")
	}
	got := err.Error()
	for _, want := range []string{
		`bad.yaml:2:7: base: expected a text, found the number 5`,
		`bad.yaml:4:36: data.train: unknown key "wher"`,
		`bad.yaml:5:8: data.seq: expected a whole number, found the text "long"`,
		`bad.yaml:8:3: lora.rnak: unknown key, did you mean rank?`,
		`bad.yaml:10:3: train.learning_rate: unknown key, did you mean train.lr?`,
		`bad.yaml:11:7: train.lr: expected a number, found a list`,
		`bad.yaml:12:10: train.batch: expected a whole number, found the number 1.5`,
		`bad.yaml:13:20: train.schedule.name: expected one of constant, cosine, linear, wsd, found "cosinus"`,
		`bad.yaml:14:8: train.clip: expected a number, found nothing`,
		`bad.yaml:15:3: train.clip: expected each key once, found it first in line 14`,
		`bad.yaml:16:13: train.momentum: expected 0 with optimizer adamw, found 0.5`,
		`bad.yaml:17:1: rank: unknown key, did you mean lora.rank?`,
		`bad.yaml:18:9: memory: expected a size such as 2GiB or 95MB, found "12 parsecs"`,
		`bad.yaml:19:7: eval: expected a section with keys such as every`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %s", want)
		}
	}
	if want := "     7 |   rank: 16\n     8 |   rnak: 8\n       |   ^\n     9 | train:\n"; !strings.Contains(got, want) {
		t.Errorf("no excerpt of three lines in\n%s", got)
	}
	if n := strings.Count(got, "bad.yaml:"); n != 14 {
		t.Errorf("%d problems, expected 14:\n%s", n, got)
	}
}

func TestSyntaxErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"base: [a\ntrain: 3\n", "bad.yaml:"},
		{"just text", `bad.yaml:1:1: expected a recipe with keys such as base`},
		{"a: &a [*a, *a]\n", "bad.yaml:1:1: a: unknown key"},
		{"", "bad.yaml:1:1: data.train: expected a path"},
	} {
		if _, err := Parse("bad.yaml", []byte(c.text), nil); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q: found %v, expected %s", c.text, err, c.want)
		}
	}
}

func TestOverrides(t *testing.T) {
	parse := func(args ...string) (*Recipe, error) {
		var os []Override
		for _, a := range args {
			o, err := ParseOverride(a)
			if err != nil {
				return nil, err
			}
			os = append(os, o)
		}
		return Parse("r.yaml", []byte("data: {train: a.jsonl}\ntrain: {lr: 1}\n"), os)
	}
	r, err := parse("train.lr=2e-5", "train.schedule.warmup=3", "memory=2GiB", "data.train=[x.jsonl, y.jsonl]", "lora.target_modules=[q_proj]", "train.lr=3e-5")
	if err != nil || r.Train.LR != 3e-5 || r.Train.Schedule.Warmup != 3 || r.Memory != 2<<30 || len(r.Data.Train) != 2 || r.LoRA.Targets.List[0] != "q_proj" {
		t.Errorf("%+v, %v", r, err)
	}
	for arg, want := range map[string]string{
		"train.lrr=1":     "override train.lrr=1: train.lrr: unknown key, did you mean lr?",
		"train.lr=high":   `override train.lr=high: train.lr: expected a number, found the text "high"`,
		"train.batch=0":   "override train.batch=0: train.batch: expected 1 or more, found 0",
		"rank=4":          "override rank=4: rank: unknown key, did you mean lora.rank?",
		"train.lr":        "override train.lr: expected key=value",
		"data.valid=":     "override data.valid=: data.valid",
		"train.lr.x=3":    "override train.lr.x=3: train.lr: expected a number, found a section",
		"lora.bias=maybe": `override lora.bias=maybe: lora.bias: expected none, all or lora_only, found "maybe"`,
	} {
		if _, err := parse(arg); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: found %v, expected %s", arg, err, want)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{"2GiB": 2 << 30, "95MB": 95e6, "1.5 gib": 3 << 29, "7": 7, "0": 0, "10 B": 10} {
		var s, again Size
		if err := s.UnmarshalText([]byte(text)); err != nil || int64(s) != want {
			t.Errorf("%s: %d, %v", text, s, err)
		}
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s {
			t.Errorf("%s is written as %s", text, s)
		}
	}
	for _, text := range []string{"", "GiB", "-1", "1e30GiB", "2 potatoes", "NaN"} {
		if err := new(Size).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is no size", text)
		}
	}
}

// The schema knows every key that the decoder knows.
func TestSchema(t *testing.T) {
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Properties map[string]struct {
			Properties           map[string]any
			AdditionalProperties any
		}
		Required []string
	}
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	if s.Properties["train"].Properties["lr"] == nil || s.Properties["data"].Properties["seq"] == nil || len(s.Required) != 0 ||
		s.Properties["train"].AdditionalProperties != false {
		t.Errorf("schema:\n%s", text)
	}
}

func TestLoadNames(t *testing.T) {
	if _, err := Load("recipes/legal.yaml", nil); err != nil {
		t.Error(err)
	}
	if _, err := Load("nonsense", nil); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("found %v", err)
	}
	own := filepath.Join(t.TempDir(), "own.yaml")
	os.WriteFile(own, []byte("data: {train: a.jsonl}\n"), 0o644)
	if r, err := Load(own, nil); err != nil || r.Base != Builtin {
		t.Errorf("%+v, %v", r, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(broken, "train.lr=1")
	f.Add("a: &a {b: *a}\n<<: *a", "a.b.c=[1")
	f.Add("? [x]\n: y\n---\nz", "memory={}")
	f.Fuzz(func(t *testing.T, text, arg string) {
		o, err := ParseOverride(arg)
		if err != nil {
			return
		}
		if _, err := Parse("f", []byte(text), []Override{o}); err != nil {
			_ = err.Error()
		}
	})
}
