package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/internal/testkit"
	"tune/internal/tokenizer"
)

// talker is a golden model with a tokenizer of its 320 tokens and a chat template.
func talker(t *testing.T) string {
	t.Helper()
	dir, from := t.TempDir(), testkit.Golden(t, "models/llama3")
	for _, name := range []string{"config.json", "model.safetensors"} {
		data, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	text := strings.Repeat("the licensee shall not sublicense the software without the written consent of the licensor. ", 3)
	tok, err := tokenizer.Train(slices.Values([]string{text, text}), tokenizer.TrainOptions{Vocab: 320, Special: []string{"<pad>", "<s>", "</s>"}, BOS: "<s>", EOS: "</s>",
		ChatTemplate: "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"tokenizer.json": tok.JSON(), "tokenizer_config.json": tok.ConfigJSON()} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// tune runs a command and returns its exit code and what it printed.
func tune(stdin string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = Main(append([]string{"tune"}, args...), strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

func TestGenerate(t *testing.T) {
	dir := talker(t)
	run := func(stdin string, args ...string) string {
		t.Helper()
		code, out, errs := tune(stdin, append([]string{"generate", "--base", dir, "--max-tokens", "12", "--precision", "f32"}, args...)...)
		if code != 0 || errs != "" {
			t.Fatalf("%v: exit code %d, %s", args, code, errs)
		}
		return out
	}
	first := run("", "--prompt", "the licensee")
	if first == "\n" || first != run("the licensee", "--prompt", "-") {
		t.Errorf("greedy answers differ: %q", first)
	}
	warm := []string{"--prompt", "the licensee", "--temperature", "1.5", "--top-k", "50", "--seed"}
	if a := run("", append(warm, "4")...); a != run("", append(warm, "4")...) || a == run("", append(warm, "5")...) {
		t.Errorf("answers do not follow the seed: %q", a)
	}
	if a := run("", "--prompt", "the licensee", "--json"); !strings.Contains(a, `"reason": "length"`) || !strings.Contains(a, `"tokens": 12`) {
		t.Errorf("json: %s", a)
	}
	adapted := run("", "--prompt", "the licensee", "--adapter", filepath.Join(testkit.Golden(t, "lora/llama3"), "adapter_final"))
	if adapted == first {
		t.Error("the adapter changes nothing")
	}
	// A conversation: one turn by --prompt is the first of several by standard input.
	one, two := run("", "--chat", "--prompt", "may I copy it?"), run("may I copy it?\n\nand sell it?\n", "--chat")
	if !strings.HasPrefix(two, one) || len(two) <= len(one) {
		t.Errorf("one turn %q, two %q", one, two)
	}
	if s := run("", "--chat", "--system", "answer no", "--prompt", "may I copy it?"); s == one {
		t.Error("the system turn changes nothing")
	}
}

func TestGenerateErrors(t *testing.T) {
	dir, bare := talker(t), testkit.Golden(t, "models/llama")
	for want, args := range map[string][]string{
		"expected --prompt or --chat":           {"--base", dir},
		"--system needs --chat":                 {"--base", dir, "--system", "x", "--prompt", "y"},
		"expected tokenizer.json, found none":   {"--base", bare, "--prompt", "x"},
		"temperature: expected a number not":    {"--base", dir, "--prompt", "x", "--temperature", "-1"},
		"expected no argument, found \"hello\"": {"--base", dir, "hello", "--prompt", "x"},
		"at most 512 tokens":                    {"--base", dir, "--prompt", strings.Repeat("x ", 600)},
	} {
		code, out, errs := tune("", append([]string{"generate"}, args...)...)
		if code == 0 || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%v: exit code %d, %q, %q; want %q", args, code, out, errs, want)
		}
	}
}
