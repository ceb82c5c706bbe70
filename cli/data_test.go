package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/data"
	"tune/internal/testkit"
	"tune/internal/tokenizer"
)

// tinyBase is a folder of a model without weights: configuration, byte tokenizer, chat template.
func tinyBase(t *testing.T) string {
	t.Helper()
	tok, err := tokenizer.Train(slices.Values([]string{"the cat and the dog"}), tokenizer.TrainOptions{Vocab: 264, Special: []string{"<|end|>", "<|im_start|>", "<|im_end|>"},
		EOS: "<|end|>", ChatTemplate: "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}" +
			"{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(testkit.Golden(t, "models/llama"), "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, b := range map[string][]byte{"config.json": config, "tokenizer.json": tok.JSON(), "tokenizer_config.json": tok.ConfigJSON()} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// run runs the program and returns exit code and output.
func run(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = Main(append([]string{"tune"}, args...), strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func TestDataCommands(t *testing.T) {
	base := tinyBase(t)
	rows := filepath.Join(t.TempDir(), "rows.jsonl")
	text := `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yo"}]}
{"messages":[{"role":"user","content":"the cat"},{"role":"assistant","content":"é\u001b"}]}
{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yo"}]}
`
	if err := os.WriteFile(rows, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	first := "--- " + rows + ":1: 25 tokens, 3 supervised\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n[[yo<|im_end|>]]\n\n"
	code, out, errs := run("data", "show", "--data", rows, "--base", base, "--limit", "2")
	if code != 0 || !strings.HasPrefix(out, first) || !strings.HasSuffix(out, "[[é\ufffd<|im_end|>]]\n\n") {
		t.Errorf("show: %d %s\ngot  %q\nwant %q", code, errs, out, first)
	}
	code, out, errs = run("data", "show", "--data", rows, "--base", base, "--packs", "data.order=file", "data.seq=64")
	if code != 0 || !strings.Contains(out, "=== pack of 2 documents, 5") || strings.Count(out, "---") != 3 {
		t.Errorf("show --packs: %d %s\n%s", code, errs, out)
	}
	code, out, errs = run("data", "stats", "--data", rows, "--base", base, "data.seq=64")
	if code != 0 || !strings.Contains(out, "duplicates        1 rows\n") || !strings.Contains(out, "17 to 32 tokens  3 rows  ####") {
		t.Errorf("stats: %d %s\n%s", code, errs, out)
	}
	code, out, errs = run("data", "stats", "--data", rows, "--base", base, "--json", "data.seq=16")
	var r dataReport
	if err := json.Unmarshal([]byte(out), &r); code != 0 || err != nil {
		t.Fatalf("stats --json: %d %s %v", code, errs, err)
	}
	if r.Rows != 3 || r.Supervised != 3+4+3 || r.Overlength != 3 || r.Packs != nil || !strings.Contains(r.Error, "rows.jsonl:1: expected at most 16 tokens") {
		t.Errorf("stats --json: %+v", r)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"data", "show"}, exitUsage, "expected one of --recipe and --data"},
		{[]string{"data", "show", "--data", rows, "--split", "dev"}, exitUsage, `--split: expected train, valid or test, found "dev"`},
		{[]string{"data", "show", "--data", "nowhere.jsonl", "--base", base}, exitFailed, "nowhere.jsonl: no such file"},
		{[]string{"data", "stats", "--data", rows, "--base", base, "data.sq=3"}, exitFailed, "sq"},
	} {
		code, _, errs := run(c.args...)
		if code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%v: code %d, %s", c.args, code, errs)
		}
	}
}

// TestPrintedColours prints to what counts as a terminal.
func TestPrintedColours(t *testing.T) {
	tok, err := tokenizer.Train(slices.Values([]string{"abc"}), tokenizer.TrainOptions{Vocab: 257, Special: []string{"<|end|>"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	enc, err := tok.Encode("ab<|end|>", tokenizer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	p := tokenPrinter{w: &out, tok: tok, color: true}
	p.tokens(document{ids: enc.IDs, labels: func(int) int32 { return 0 }})
	if want := "a" + green + "b" + plain + green + dim + "<|end|>" + plain + "\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestDataCheck(t *testing.T) {
	base := tinyBase(t)
	dir := t.TempDir()
	good := `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yo"}]}` + "\n"
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	train := write("train.jsonl", good+strings.Replace(good, `"yo"`, `""`, 1)+strings.Replace(good, "hi", "ho", 1))
	held := write("test.jsonl", strings.Replace(good, "hi", "HO", 1))
	recipe := write("recipe.yaml", "base: "+base+"\ndata: {train: "+train+", test: "+held+", seq: 4096}\n")
	code, out, errs := run("data", "check", "--recipe", recipe, "train.batch=16")
	for _, want := range []string{"error    context     \n", "the model's context 128 tokens", "error    empty-turn  train: 1 of 3 rows\n",
		"first: " + train + ":2\n", "error    leak        test: 1 of 1 rows", "warning  few-rows", "4 rows checked: 3 errors, 1 warnings\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if code != 1 || !strings.Contains(errs, "tune: error: 3 things to mend before training") {
		t.Errorf("exit %d: %s", code, errs)
	}
	code, out, _ = run("data", "check", "--json", "--data", held, "--base", base, "data.seq=64")
	var list []data.Finding
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || len(list) != 1 || list[0].Name != "few-rows" {
		t.Errorf("json: %d %v %+v", code, err, list)
	}
	code, out, errs = run("data", "check", "--data", train, "--base", filepath.Join(dir, "none"))
	if code != 1 || !strings.Contains(out, "error  base") {
		t.Errorf("no base: %d %s %s", code, out, errs)
	}
	broken := write("broken.jsonl", good+`{"messages"`)
	if code, out, _ = run("data", "check", "--data", broken, "--base", base); code != 1 || !strings.Contains(out, "unreadable") || !strings.Contains(out, "broken.jsonl:2") {
		t.Errorf("a broken file: %d %s", code, out)
	}
}

func TestDataPage(t *testing.T) {
	rows := filepath.Join(t.TempDir(), "rows.jsonl")
	text := `{"messages":[{"role":"user","content":"<b>"},{"role":"assistant","content":"é"}]}` + "\n"
	if err := os.WriteFile(rows, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	code, out, errs := run("data", "show", "--html", "-", "--data", rows, "--base", tinyBase(t))
	for _, want := range []string{`<span class="loss" title="`, `>é</span>`, `<span class="loss special" title="2">&lt;|im_end|&gt;</span>`, `&lt;</span>`, "rows.jsonl:1 <small>"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in (%d %s)\n%s", want, code, errs, out)
		}
	}
}
