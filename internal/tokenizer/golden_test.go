package tokenizer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"

	"tune/internal/testkit"
)

// sharedTokenizers are the tokenizers whose cases must all pass.
var sharedTokenizers = []string{"smollm2", "gpt2", "llama2", "llama3", "mistral-v1", "mistral-v3", "qwen2", "qwen3",
	"pythia", "olmo-v1_5", "dolma2", "starcoder2", "phi-3", "gemma3", "deepseek-llm", "deepseek-coder", "deepseek-v3",
	"falcon", "unigram-c4", "bert-bge"}

type goldenCase struct {
	Text        string     `json:"text"`
	IDs         []int32    `json:"ids"`
	IDsSpecial  []int32    `json:"ids_special"`
	IDsPlain    *[]int32   `json:"ids_plain"`
	Decoded     string     `json:"decoded"`
	DecodedSkip *string    `json:"decoded_skip"`
	Offsets     [][2]int32 `json:"offsets"`
	PieceIDs    *[]int32   `json:"spm_ids"` // sentencepiece's answer where it is not IDsPlain
}

// readFile reads a file that may have a .zst beside it instead.
func readFile(t testing.TB, path string) []byte {
	t.Helper()
	if b, err := os.ReadFile(path); err == nil {
		return b
	}
	f, err := os.Open(path + ".zst")
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func loadShared(t testing.TB, name string) *Tokenizer {
	t.Helper()
	dir := testkit.Shared(t, "tokenizers/files")
	data := readFile(t, filepath.Join(dir, name, "tokenizer.json"))
	if name == "qwen2" { // the same model as qwen3, with its own added tokens
		data = readFile(t, filepath.Join(dir, "qwen3", "tokenizer.json"))
		var f map[string]json.RawMessage
		if err := json.Unmarshal(data, &f); err != nil {
			t.Fatal(err)
		}
		var list struct {
			Added json.RawMessage `json:"added_tokens"`
		}
		own := readFile(t, filepath.Join(dir, name, "added_tokens.json"))
		if json.Unmarshal(own, &list) != nil || list.Added == nil {
			list.Added = own
		}
		f["added_tokens"] = list.Added
		data, _ = json.Marshal(f)
	}
	tk, err := FromJSON(data, readFile(t, filepath.Join(dir, name, "tokenizer_config.json")))
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

func eachLine(t testing.TB, data []byte, f func(line []byte)) {
	t.Helper()
	s := bufio.NewScanner(bytes.NewReader(data))
	s.Buffer(nil, 1<<24)
	for s.Scan() {
		f(s.Bytes())
	}
	if s.Err() != nil {
		t.Fatal(s.Err())
	}
}

func checkCases(t *testing.T, tk *Tokenizer, data []byte) (n int) {
	failed := map[string]int{}
	fail := func(what, text string, got, want any) {
		if failed[what]++; failed[what] <= 4 {
			t.Errorf("%s of %.80q:\n got %s\nwant %s", what, text, short(got), short(want))
		}
	}
	eachLine(t, data, func(line []byte) {
		var c goldenCase
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		n++
		encode := func(o Options) Encoding {
			e, err := tk.Encode(c.Text, o)
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		e := encode(Options{})
		if !slices.Equal(e.IDs, c.IDs) {
			fail("ids", c.Text, e.IDs, c.IDs)
		} else if !slices.Equal(e.Offsets, c.Offsets) {
			fail("offsets", c.Text, e.Offsets, c.Offsets)
		}
		if got := encode(Options{AddSpecial: true}).IDs; !slices.Equal(got, c.IDsSpecial) {
			fail("ids_special", c.Text, got, c.IDsSpecial)
		}
		plain := c.IDs
		if c.IDsPlain != nil {
			plain = *c.IDsPlain
		}
		if got := encode(Options{Plain: true}).IDs; !slices.Equal(got, plain) {
			fail("ids_plain", c.Text, got, plain)
		}
		checkDecoded(tk, c.IDs, c.Decoded, c.DecodedSkip, fail)
	})
	for what, k := range failed {
		t.Errorf("%s: %d of %d differ", what, k, n)
	}
	return n
}

func checkDecoded(tk *Tokenizer, ids []int32, want string, skip *string, fail func(what, text string, got, want any)) {
	if got := tk.Decode(ids, false); got != want {
		fail("decoded", fmt.Sprint(ids), got, want)
	}
	if skip != nil {
		want = *skip
	}
	if got := tk.Decode(ids, true); got != want {
		fail("decoded_skip", fmt.Sprint(ids), got, want)
	}
}

func short(v any) string {
	s := fmt.Sprintf("%v", v)
	if str, ok := v.(string); ok {
		s = fmt.Sprintf("%q", str)
	}
	return s[:min(len(s), 300)]
}

func TestSharedCases(t *testing.T) {
	cases := testkit.Shared(t, "tokenizers/cases")
	for _, name := range sharedTokenizers {
		t.Run(name, func(t *testing.T) {
			tk := loadShared(t, name)
			if n := checkCases(t, tk, readFile(t, filepath.Join(cases, name+".jsonl"))); n != 828 {
				t.Errorf("expected 828 cases, found %d", n)
			}
			eachLine(t, readFile(t, filepath.Join(cases, name+".decode.jsonl")), func(line []byte) {
				var c goldenCase
				if err := json.Unmarshal(line, &c); err != nil {
					t.Fatal(err)
				}
				checkDecoded(tk, c.IDs, c.Decoded, c.DecodedSkip, func(what, text string, got, want any) {
					t.Errorf("%s of %.80s: got %s, want %s", what, text, short(got), short(want))
				})
				stream := tk.Stream(false)
				var b strings.Builder
				for _, id := range c.IDs {
					piece := stream.Add(id)
					if !utf8.ValidString(piece) {
						t.Errorf("stream of %v: token %d gives a part of a character, %q", c.IDs, id, piece)
					}
					b.WriteString(piece)
				}
				b.WriteString(stream.Flush())
				if b.String() != c.Decoded {
					t.Errorf("stream of %v: got %q, want %q", c.IDs, b.String(), c.Decoded)
				}
			})
		})
	}
}
