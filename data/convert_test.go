package data

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tune/internal/chat"
)

// converted writes a split in a form to a file of that name and reads it back as lines of JSON.
func converted(t *testing.T, s *Stream, form, name string) (string, *Columns) {
	t.Helper()
	var c Columns
	if err := s.Convert(context.Background(), form, func(row *chat.Dict) error { c.See(row); return nil }); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	var out bytes.Buffer
	w, err := NewRowWriter(name, &out, &c)
	if err == nil {
		err = s.Convert(context.Background(), form, w.Write)
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = os.WriteFile(path, out.Bytes(), 0o644)
	}
	var lines []byte
	if err == nil {
		err = Records(path, func(row *chat.Dict, _ string) error {
			lines, err = appendValue(lines, row)
			lines = append(lines, '\n')
			return err
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(lines), &c
}

func TestConvert(t *testing.T) {
	const plain = `{"id":7,"score":1.5,"ok":true,"messages":[{"role":"user","content":"<a> é"},{"role":"assistant","content":"yo"}],"tags":["x","y"],"note":null}
{"id":8,"score":2.5,"ok":false,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yo"}],"tags":[],"note":"n"}
`
	const tools = `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{"b":1,"a":[2]}}}]}]}
`
	cfg := Default()
	for _, c := range []struct {
		name, form, rows, want string
		text                   int
	}{
		{"columns", "columns", plain, plain, 0},
		{"tools", "columns", tools, `{"messages":"` + strings.ReplaceAll(strings.TrimSuffix(tools[len(`{"messages":`):], "}\n"), `"`, `\"`) + "\"}\n", 1},
		{"alpaca to messages", "messages", `{"instruction":"a","input":"b","output":"c"}` + "\n",
			`{"messages":[{"role":"user","content":"a\nb"},{"role":"assistant","content":"c"}]}` + "\n", 0},
		{"tokens", "tokens", `{"messages":[{"role":"user","content":"h"},{"role":"assistant","content":"y"}]}` + "\n",
			`{"input_ids":[1,87,85,71,84,204,74,2,204,1,67,85,85,75,85,86,262,86,204,91,2,204],"labels":[-100,-100,-100,-100,-100,-100,-100,-100,-100,-100,-100,-100,-100,-100,-100,-100,-100,-100,-100,91,2,-100]}` + "\n", 0},
	} {
		for _, ext := range []string{".jsonl", ".jsonl.zst", ".parquet", ".arrow"} {
			cfg.Train = Sources{{Path: write(t, "in.jsonl", c.rows)}}
			s, err := Open(cfg, chatOptions(t, "train"))
			if err != nil {
				t.Fatal(err)
			}
			got, columns := converted(t, s, c.form, "out"+ext)
			s.Close()
			want := c.want
			if c.name == "tools" && !Typed(ext) {
				want = c.rows
			}
			if got != want && c.form != "tokens" || len(got) != len(want) && c.form == "tokens" && ext != ".jsonl" {
				t.Errorf("%s as %s:\ngot  %s\nwant %s", c.name, ext, got, want)
			}
			if len(columns.AsText()) != c.text {
				t.Errorf("%s: as text %v", c.name, columns.AsText())
			}
		}
	}
	if _, err := NewRowWriter("out.csv", nil, nil); err == nil {
		t.Error("an unknown ending: no error")
	}
}

// TestConvertedTrainsTheSame: rows give the same tokens whatever file they stand in.
func TestConvertedTrainsTheSame(t *testing.T) {
	rows := `{"conversations":[{"from":"human","value":"hi"},{"from":"function_call","value":"{\"name\": \"f\", \"arguments\": {\"b\": 1, \"a\": 2}}"},{"from":"observation","value":"3"},{"from":"gpt","value":"yo"}],"tools":"[{\"name\": \"f\"}]"}
{"conversations":[{"from":"human","value":"the cat"},{"from":"gpt","value":"and the dog"}]}
`
	cfg := Default()
	cfg.Order = "file"
	tokens := func(path string) string {
		cfg.Train = Sources{{Path: path}}
		o := chatOptions(t, "train")
		s, err := Open(cfg, o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		p, err := s.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return marked(t, o, []*Pack{p})
	}
	in := write(t, "in.jsonl", rows)
	want := tokens(in)
	for _, form := range []string{"columns", "messages"} {
		for _, name := range []string{"out.jsonl", "out.parquet", "out.arrow"} {
			cfg.Train = Sources{{Path: in}}
			s, err := Open(cfg, chatOptions(t, "train"))
			if err != nil {
				t.Fatal(err)
			}
			var c Columns
			var out bytes.Buffer
			if err := s.Convert(context.Background(), form, func(row *chat.Dict) error { c.See(row); return nil }); err != nil {
				t.Fatal(err)
			}
			w, err := NewRowWriter(name, &out, &c)
			if err == nil {
				err = s.Convert(context.Background(), form, w.Write)
			}
			if err == nil {
				err = w.Close()
			}
			s.Close()
			if err != nil {
				t.Fatal(err)
			}
			if got := tokens(write(t, name, out.String())); got != want {
				t.Errorf("%s as %s:\ngot  %s\nwant %s", form, name, got, want)
			}
		}
	}
}
