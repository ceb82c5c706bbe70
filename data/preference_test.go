package data

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"tune/internal/testkit"
)

func TestPreferenceFormats(t *testing.T) {
	chosen := "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n[[yo<|im_end|>]]\n"
	rejected := strings.Replace(chosen, "yo", "no", 1)
	both := chosen + rejected + "|"
	for _, c := range []struct{ name, row, want string }{
		{"explicit prompt, texts", `{"prompt":"the cat","chosen":" yo","rejected":" no"}`, "the cat[[ yo<|end|>]]the cat[[ no<|end|>]]|"},
		{"implicit prompt, texts", `{"chosen":"the cat yo","rejected":"the cat no"}`, "the cat [[yo<|end|>]]the cat [[no<|end|>]]|"},
		{"explicit prompt, messages", `{"prompt":[{"role":"user","content":"hi"}],"chosen":[{"role":"assistant","content":"yo"}],"rejected":[{"role":"assistant","content":"no"}]}`, both},
		{"implicit prompt, messages", `{"chosen":[{"role":"user","content":"hi"},{"role":"assistant","content":"yo"}],"rejected":[{"role":"user","content":"hi"},{"role":"assistant","content":"no"}]}`, both},
		{"prompt and conversations", `{"prompt":"hi","chosen":[{"role":"user","content":"hi"},{"role":"assistant","content":"yo"}],"rejected":[{"role":"user","content":"hi"},{"role":"assistant","content":"no"}]}`, both},
		{"prompt messages, texts", `{"prompt":[{"role":"user","content":"hi"}],"chosen":"yo","rejected":"no"}`, both},
		{"sharegpt", `{"conversations":[{"from":"human","value":"hi"}],"chosen":{"from":"gpt","value":"yo"},"rejected":{"from":"gpt","value":"no"}}`, both},
		{"alpaca", `{"instruction":"hi","input":"","output":"yo","chosen":"yo","rejected":"no"}`, both},
		{"transcript", `{"chosen":"\n\nHuman: hi\n\nAssistant: yo","rejected":"\n\nHuman: hi\n\nAssistant: no"}`, both},
		{"kto", `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"no"}],"label":false}`, rejected + "|"},
		{"kto prompt", `{"prompt":"the cat","completion":" yo","label":true}`, "the cat[[ yo<|end|>]]|"},
		{"label of another kind", `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yo"}],"label":"greeting"}`, chosen + "|"},
	} {
		cfg := Default()
		cfg.Train = Sources{{Path: write(t, "a.jsonl", c.row+"\n")}}
		o := chatOptions(t, "train")
		o.Pairs = true
		s, err := Open(cfg, o)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		packs := epoch(t, s)
		if got := marked(t, o, packs); got != c.want {
			t.Errorf("%s:\ngot  %q\nwant %q", c.name, got, c.want)
		}
		want := []Role{Chosen, Rejected}
		switch c.name {
		case "kto":
			want = []Role{Undesirable}
		case "kto prompt":
			want = []Role{Desirable}
		case "label of another kind":
			want = []Role{Plain}
		}
		if len(packs) == 1 && !reflect.DeepEqual(packs[0].Roles, want) {
			t.Errorf("%s: roles %v, want %v", c.name, packs[0].Roles, want)
		}
		s.Close()
		o.Pairs = false // an objective that learns answers gets the good one alone
		if s, err = Open(cfg, o); err != nil {
			t.Fatal(err)
		}
		if c.name == "kto" {
			if _, err := s.Next(t.Context()); err == nil || s.Stats().Unwanted != 1 {
				t.Errorf("a bad answer alone: %v, %+v", err, s.Stats())
			}
		} else if got := marked(t, o, epoch(t, s)); strings.Contains(got, "no<") {
			t.Errorf("%s without pairs: %q", c.name, got)
		}
		s.Close()
	}
}

// TestPairsStayTogether packs many pairs.
func TestPairsStayTogether(t *testing.T) {
	cfg := Default()
	var rows strings.Builder
	for i := range 300 {
		n := strings.Repeat(" cat", i%60)
		rows.WriteString(`{"prompt":"the","chosen":" dog` + n + `","rejected":" bird"}` + "\n")
	}
	cfg.Train, cfg.Seq, cfg.Overlength = Sources{{Path: write(t, "a.jsonl", rows.String())}}, 128, "drop"
	o := chatOptions(t, "train")
	o.Pairs = true
	s, err := Open(cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	packs := epoch(t, s)
	documentsOf(t, packs, cfg.Seq)
	n := 0
	for _, p := range packs {
		for d, role := range p.Roles {
			if (d%2 == 0) != (role == Chosen) || d%2 == 1 && p.Keys[d] != p.Keys[d-1] {
				t.Fatalf("pack of roles %v, rows %v", p.Roles, p.Keys)
			}
		}
		n += p.Docs
	}
	st := s.Stats()
	t.Log(st.Line())
	if st.Dropped == 0 || n != 2*(300-st.Dropped) || st.Fill() < 0.97 {
		t.Errorf("%d documents, %s", n, st.Line())
	}
}

// TestEveryInstructFile loads all files of the folder with auto.
func TestEveryInstructFile(t *testing.T) {
	dir := testkit.Shared(t, "data/instruct")
	for name, want := range map[string]struct {
		rows   int
		format string
	}{
		"alpaca_en_demo.json":                         {999, "alpaca, because it has columns instruction and output"},
		"dpo_en_demo.json":                            {300, "preference, because it has columns chosen and rejected"},
		"glaive_toolcall_en_demo.json":                {300, "sharegpt, because it has a column conversations"},
		"hh-rlhf-harmless-base-test.jsonl.gz":         {2312, "preference, because it has columns chosen and rejected"},
		"kto_en_demo.json":                            {300, "kto, because it has columns messages and label"},
		"mlx-wikisql":                                 {1200, "text, because it has a column text"},
		"rasbt-instruction-data-with-preference.json": {1100, "preference, because it has columns chosen and rejected"},
		"rasbt-instruction-data.json":                 {1100, "alpaca, because it has columns instruction and output"},
	} {
		cfg := Default()
		cfg.Test, cfg.Seq = Sources{{Path: filepath.Join(dir, name)}}, 32768
		o := chatOptions(t, "test")
		o.Pairs = true
		s, err := Open(cfg, o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		documentsOf(t, epoch(t, s), cfg.Seq)
		st, info := s.Stats(), s.Sources()
		t.Logf("%s: %s", name, st.Line())
		if st.Rows != want.rows || len(info[0].Format) != 1 || info[0].Format[0] != want.format {
			t.Errorf("%s: %d rows, %q", name, st.Rows, info[0].Format)
		}
		s.Close()
	}
}
