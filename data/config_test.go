package data

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"
	"go.yaml.in/yaml/v4"
)

func TestSourcesYAML(t *testing.T) {
	want := Sources{{Path: "a.jsonl"}, {Path: "b/*.parquet", Where: "split=train", Weight: 2, Columns: map[string]string{"text": "body"}}}
	for text, want := range map[string]Sources{
		"train: a.jsonl": want[:1],
		"train: [a.jsonl, {path: b/*.parquet, where: split=train, weight: 2, columns: {text: body}}]":          want,
		"train:\n- path: a.jsonl\n- {path: b/*.parquet, where: split=train, weight: 2, columns: {text: body}}": want,
	} {
		var c Config
		if err := yaml.Unmarshal([]byte(text), &c); err != nil || !reflect.DeepEqual(c.Train, want) {
			t.Errorf("%s: %+v, %v", text, c.Train, err)
		}
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var again Config
		if err := json.Unmarshal(b, &again); err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("%s: as JSON %s, %v", text, b, err)
		}
	}
	for text, want := range map[string]string{
		"train:\n- {path: a, sped: 3}": `line 2, column 13: unknown key "sped", expected path, format, columns, where, filter, weight, limit`,
		"train: {path: [1, 2]}":        "cannot",
		"train: [[a]]":                 "expected a path or a source",
	} {
		var c Config
		if err := yaml.Unmarshal([]byte(text), &c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestValidate(t *testing.T) {
	c := Default()
	c.Train = Sources{{Path: "x.jsonl"}}
	if ps := c.Validate(); len(ps) > 0 {
		t.Errorf("the default has problems: %v", ps)
	}
	c.Train = append(c.Train, Source{Format: "csv", Where: "a", Weight: -1, Limit: -2, Columns: map[string]string{"txt": "a"}})
	c.Valid = Sources{{Path: "builtin:none"}}
	c.Seq, c.Order, c.Overlength, c.Loss, c.Documents, c.ValidShare, c.Format = 1, "random", "", "user", "x", 0.1, "y"
	var got []string
	for _, p := range c.Validate() {
		got = append(got, p.Path)
	}
	want := []string{"train[1].path", "train[1].format", "train[1].where", "train[1].weight", "train[1].limit", "train[1].columns.txt",
		"valid[0].path", "format", "order", "overlength", "loss", "documents", "seq", "valid_share"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("problems at %v, want %v", got, want)
	}
	if ps := (Config{}).Validate(); len(ps) == 0 || ps[0].Path != "train" {
		t.Errorf("no sources: %v", ps)
	}
}

func TestSchema(t *testing.T) {
	b, err := json.Marshal((&jsonschema.Reflector{}).Reflect(Config{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"valid_share"`, `"oneOf"`, `"where"`, `"overlength"`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s is not in %s", want, b)
		}
	}
}
