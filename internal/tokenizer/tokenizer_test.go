package tokenizer

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unicode/utf8"

	"tune/internal/testkit"
)

func pipelineNamed(t testing.TB, name string) (pipeline, []byte) {
	t.Helper()
	list, files := readPipelines(t)
	i := slices.IndexFunc(list, func(p pipeline) bool { return p.Name == name })
	if i < 0 {
		t.Fatalf("no pipeline %s", name)
	}
	return list[i], files[i]
}

func tiny(t testing.TB, name string) *Tokenizer {
	t.Helper()
	_, data := pipelineNamed(t, name)
	tk, err := FromJSON(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

// TestGGUFTwins builds GGUF metadata of the small vocabularies; it must answer as the tokenizer.json does.
func TestGGUFTwins(t *testing.T) {
	for _, c := range []struct{ name, model, pre string }{{"gpt2", "gpt2", "gpt-2"}, {"smollm", "gpt2", "smollm"}, {"legacy", "llama", ""}} {
		p, data := pipelineNamed(t, c.name)
		tk, err := FromJSON(data, nil)
		if err != nil {
			t.Fatal(err)
		}
		meta := map[string]any{"tokenizer.ggml.model": c.model, "tokenizer.ggml.bos_token_id": uint32(0), "tokenizer.ggml.eos_token_id": uint32(1),
			"tokenizer.ggml.unknown_token_id": uint32(2), "tokenizer.ggml.tokens": tk.model.tokens}
		types := make([]int32, len(tk.model.tokens))
		scores := make([]float32, len(types))
		for i := range types {
			types[i], scores[i] = pieceNormal, float32(-i)
			if a := tk.addedByID[int32(i)]; a != nil {
				types[i] = pieceControl
				if !a.Special {
					types[i] = pieceUserDefined
				}
			}
		}
		meta["tokenizer.ggml.token_type"], meta["tokenizer.ggml.scores"] = types, scores
		if c.pre != "" {
			meta["tokenizer.ggml.pre"] = c.pre
			var f struct{ Model struct{ Merges [][2]string } }
			if err := json.Unmarshal(data, &f); err != nil {
				t.Fatal(err)
			}
			var merges []string
			for _, m := range f.Model.Merges {
				merges = append(merges, m[0]+" "+m[1])
			}
			meta["tokenizer.ggml.merges"] = merges
		} else {
			meta["tokenizer.ggml.add_eos_token"] = true
		}
		twin, err := FromGGUF(func(key string) (any, bool) { v, ok := meta[key]; return v, ok })
		if err != nil {
			t.Fatal(err)
		}
		var lines []byte
		for _, x := range p.Cases {
			lines = append(append(lines, x...), '\n')
		}
		t.Run(c.name, func(t *testing.T) { checkCases(t, twin, lines) })
		if id, ok := twin.EOS(); !ok || id != 1 {
			t.Errorf("%s: end of text: found %d, %v", c.name, id, ok)
		}
		again, err := FromJSON(twin.JSON(), twin.ConfigJSON())
		if err != nil {
			t.Fatal(err)
		}
		t.Run(c.name+" written", func(t *testing.T) { checkCases(t, again, lines) })
	}
}

// TestUnknownSteps: what cannot be carried out is an error that names it, never skipped.
func TestUnknownSteps(t *testing.T) {
	_, data := pipelineNamed(t, "gpt2")
	for _, c := range []struct{ key, value, want string }{
		{"normalizer", `{"type":"Uppercase"}`, `normalizer: expected one of BertNormalizer, Lowercase, NFC, NFD, NFKC, NFKD, Precompiled`},
		{"normalizer", `{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Nmt"}]}`, `step 1: expected one of`},
		{"normalizer", `{"type":"Replace","pattern":{},"content":"b"}`, "expected a string or regular expression as pattern"},
		{"normalizer", `{"type":"Precompiled","precompiled_charsmap":"AAA="}`, "expected at least 4 bytes, found 2"},
		{"normalizer", `{"type":"Precompiled","precompiled_charsmap":"/wAAAAA="}`, "expected a table of at most 1 bytes, found 255"},
		{"pre_tokenizer", `{"type":"UnicodeScripts"}`, `found "UnicodeScripts"`},
		{"pre_tokenizer", `{"type":"CharDelimiterSplit"}`, "expected a delimiter"},
		{"pre_tokenizer", `{"type":"Split","pattern":{"Regex":"[a&&b]"},"behavior":"Isolated"}`, "class intersection"},
		{"pre_tokenizer", `{"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated"}`, "pattern"},
		{"pre_tokenizer", `{"type":"Split","pattern":{"Regex":"a"},"behavior":"Sideways"}`, `found "Sideways"`},
		{"pre_tokenizer", `{"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},{"type":"ByteLevel"}]}`, "ByteLevel once"},
		{"pre_tokenizer", `{"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},{"type":"Metaspace","replacement":"_"}]}`, "no Metaspace after ByteLevel"},
		{"pre_tokenizer", `{"type":"Metaspace","replacement":"_","prepend_scheme":"maybe"}`, `found "maybe"`},
		{"post_processor", `{"type":"PairProcessing"}`, `found "PairProcessing"`},
		{"post_processor", `{"type":"BertProcessing","cls":["[CLS]"],"sep":[1]}`, "cannot unmarshal"},
		{"post_processor", `{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<q>"}}]}`, `"<q>" is not among`},
		{"post_processor", `{"type":"TemplateProcessing","single":[]}`, "expected the sequence A"},
		{"decoder", `{"type":"CTC"}`, `found "CTC"`},
		{"model", `{"type":"WordLevel"}`, `expected BPE, Unigram or WordPiece, found "WordLevel"`},
		{"model", `{"type":"Unigram","vocab":[]}`, "expected pieces, found none"},
		{"model", `{"type":"Unigram","vocab":[["a",0.5]]}`, "unk_id: expected an id below 1"},
		{"model", `{"type":"Unigram","vocab":[["a",0.5]],"unk_id":1}`, "unk_id: expected an id below 1"},
		{"model", `{"type":"Unigram","vocab":[["a"]]}`, "expected ','"},
		{"model", `{"type":"WordPiece","vocab":{"a":0}}`, "unk_token: expected a token"},
		{"model", `{"type":"BPE","vocab":{"a":0},"merges":["a b"]}`, "not in the vocabulary"},
		{"model", `{"type":"BPE","vocab":{"a":0},"merges":["ab"]}`, "two tokens with a space"},
		{"model", `{"type":"BPE","vocab":{"a":0},"merges":[["a"]]}`, "expected two tokens, found 1"},
		{"model", `{"type":"BPE","vocab":{"a":-1},"merges":[]}`, "expected ids from 0"},
		{"model", `{"type":"BPE","vocab":{"a":2000000000},"merges":[]}`, "expected ids from 0"},
		{"model", `{"type":"BPE","vocab":{"a":0,"b":0},"merges":[]}`, "the same id 0"},
		{"model", `{"type":"BPE","vocab":{"a":0},"merges":[],"unk_token":"u"}`, `unk_token: "u"`},
		{"model", `{"type":"BPE","vocab":{"a":0},"merges":[],"end_of_word_suffix":"</w>"}`, "end_of_word_suffix"},
		{"model", `{"type":"BPE","vocab":{"a":0},"merges":[],"dropout":0.1}`, "dropout"},
		{"added_tokens", `[{"id":2000000000,"content":"x"}]`, "expected an id below"},
		{"added_tokens", `[{"id":1}]`, "tokens with content"},
	} {
		var f map[string]json.RawMessage
		if err := json.Unmarshal(data, &f); err != nil {
			t.Fatal(err)
		}
		f[c.key] = json.RawMessage(c.value)
		changed, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := FromJSON(changed, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s = %s: expected an error with %q, found %v", c.key, c.value, c.want, err)
		}
	}
}

func TestConfig(t *testing.T) {
	_, data := pipelineNamed(t, "gpt2")
	for _, config := range []string{
		`{"bos_token":"<s>","eos_token":{"content":"</s>","lstrip":false},"pad_token":null,"chat_template":"T"}`,
		`{"bos_token":"<s>","eos_token":"</s>","chat_template":[{"name":"tool_use","template":"U"},{"name":"default","template":"T"}]}`,
	} {
		tk, err := FromJSON(data, []byte(config))
		if err != nil {
			t.Fatal(err)
		}
		bos, okB := tk.BOS()
		eos, okE := tk.EOS()
		if _, ok := tk.Pad(); bos != 0 || eos != 1 || !okB || !okE || ok || tk.ChatTemplate() != "T" {
			t.Errorf("%s: %d %d %v %q", config, bos, eos, ok, tk.ChatTemplate())
		}
		if !tk.IsSpecial(0) || tk.IsSpecial(4) || tk.IsSpecial(40) || tk.Token(3) != "<|x|>" || tk.Token(-1) != "" || tk.VocabSize() != len(tk.model.tokens) {
			t.Error("wrong facts about tokens")
		}
	}
	if _, err := FromJSON(data, []byte(`{"bos_token":[]}`)); err == nil {
		t.Error("a list as token: no error")
	}
}

// TestMergesAgree: the short and the long way to merge give the same tokens, also for equal ranks and with dropped bytes.
func TestMergesAgree(t *testing.T) {
	m := &tiny(t, "gpt2").model
	r := rand.New(rand.NewPCG(1, 2))
	letters := []byte("thernadtste ae")
	for range 2000 {
		word := make([]byte, 2+r.IntN(smallWord-2))
		for i := range word {
			word[i] = letters[r.IntN(len(letters))]
		}
		long := new(worker).mergeLong(m, m.symbols(nil, string(word)))
		short := m.mergeSmall(m.symbols(nil, string(word)))
		if !slices.Equal(long, short) {
			t.Fatalf("%q: %v and %v", word, long, short)
		}
	}
}

// TestCutsAgree: a text cut where no merge joins gives the tokens of the whole.
func TestCutsAgree(t *testing.T) {
	m := &tiny(t, "legacy").model
	if m.joins == nil {
		t.Fatal("no cuts are known")
	}
	r := rand.New(rand.NewPCG(3, 4))
	letters := []rune("therentdsa▁▁é-€")
	cuts := 0
	for range 2000 {
		word := make([]rune, 2+r.IntN(60))
		for i := range word {
			word[i] = letters[r.IntN(len(letters))]
		}
		s := string(word)
		whole := slices.Clone(segmentBPE(new(worker), m, s))
		var parts []tok
		for rest := s; rest != ""; {
			k := m.safeCut(rest)
			parts = append(parts, segmentBPE(new(worker), m, rest[:k])...)
			rest = rest[k:]
			cuts++
		}
		if !slices.Equal(whole, parts) {
			t.Fatalf("%q: %v whole, %v in parts", s, whole, parts)
		}
	}
	if cuts < 4000 {
		t.Errorf("only %d parts", cuts)
	}
}

// TestCacheStartsAnew fills the word cache beyond its bound; the tokens stay the same.
func TestCacheStartsAnew(t *testing.T) {
	tk := tiny(t, "gpt2")
	w := new(worker)
	want := slices.Clone(w.word(&tk.model, " rent"))
	for i := range cacheWords + 10 {
		w.word(&tk.model, " x"+itoa(int32(i)))
	}
	if len(w.cache) > cacheWords || len(w.store) > cacheToks {
		t.Errorf("the cache holds %d words, %d tokens", len(w.cache), len(w.store))
	}
	if got := w.word(&tk.model, " rent"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestConcurrentUse(t *testing.T) {
	tk := tiny(t, "legacy")
	text := strings.Repeat("The tenant shall pay the rent. ", 20)
	want, err := tk.Encode(text, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if got, err := tk.Encode(text, Options{}); err != nil || !slices.Equal(got.IDs, want.IDs) {
					t.Errorf("%v %v", got.IDs, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestLossy(t *testing.T) {
	for in, want := range map[string]string{
		"a\xffb": "a\uFFFDb", "\xe2\x82": "\uFFFD", "\xe2\x82\xe2\x82\xac": "\uFFFD€", "\xf0\x9f\x98": "\uFFFD", "\xed\xa0\x80": "\uFFFD\uFFFD\uFFFD",
		"\xc0\x80": "\uFFFD\uFFFD", "\xf4\x90\x80": "\uFFFD\uFFFD\uFFFD", "\xe0\x80": "\uFFFD\uFFFD", "ok": "ok",
	} {
		if got := lossy([]byte(in)); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// FuzzEncode: no text panics, offsets lie in the text, and what has all its bytes comes back.
func FuzzEncode(f *testing.F) {
	for _, s := range []string{"", "the rent", "<|x|> a<n>", "\xff\xfe ▁", "e\u0301\u0344", strings.Repeat("ab ", 50)} {
		f.Add(s)
	}
	var all []*Tokenizer
	_, files := readPipelines(f)
	for _, data := range files {
		tk, err := FromJSON(data, nil)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, tk)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for i, tk := range all {
			for _, o := range []Options{{}, {AddSpecial: true, Plain: true}} {
				e, err := tk.Encode(text, o)
				if err != nil {
					t.Fatal(err)
				}
				for _, x := range e.Offsets {
					if x[0] < 0 || x[0] > x[1] || int(x[1]) > len(text) {
						t.Fatalf("tokenizer %d, %q: offsets %v", i, text, e.Offsets)
					}
				}
				if s := tk.Decode(e.IDs, false); !utf8.ValidString(s) && utf8.ValidString(text) {
					t.Fatalf("tokenizer %d: %q decodes to %q", i, text, s)
				}
			}
		}
	})
}

// TestStreamCharacters: a character of several tokens comes out whole, when its last token has come.
func TestStreamCharacters(t *testing.T) {
	for _, name := range []string{"gpt2", "legacy", "unigram-bytes", "wordpiece"} {
		tk := tiny(t, name)
		for _, text := range []string{"the rent é 👍🏽", "Это дом", "这是房子", "a\U0001fae9b"} {
			e, err := tk.Encode(text, Options{})
			if err != nil {
				t.Fatal(err)
			}
			want := tk.Decode(e.IDs, false)
			s := tk.Stream(false)
			got := ""
			for _, id := range e.IDs {
				got += s.Add(id)
				if !utf8.ValidString(got) || !strings.HasPrefix(want, got) {
					t.Errorf("%s: %q after token %d of %q", name, got, id, want)
				}
			}
			if got += s.Flush(); got != want {
				t.Errorf("%s: streamed %q, want %q", name, got, want)
			}
		}
	}
}

// FuzzFromJSON: a foreign file gives a tokenizer or an error.
func FuzzFromJSON(f *testing.F) {
	_, files := readPipelines(f)
	for _, data := range files {
		var short map[string]json.RawMessage
		if err := json.Unmarshal(data, &short); err != nil {
			f.Fatal(err)
		}
		for _, model := range []string{`{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"<0x0A>":3},"merges":["a b",["a","b"]]}`,
			`{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["a",-1],["ab",-1.5]],"byte_fallback":true}`,
			`{"type":"WordPiece","unk_token":"a","vocab":{"a":0,"##b":1}}`} {
			short["model"] = json.RawMessage(model)
			small, err := json.Marshal(short)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(small)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tk, err := FromJSON(data, nil)
		if err != nil {
			return
		}
		e, err := tk.Encode("ab ba\n<s>", Options{AddSpecial: true})
		if err == nil {
			tk.Decode(e.IDs, true)
		}
	})
}

// TestLongWords: a word of a megabyte takes no more than a few seconds in any model; a quadratic step would take hours.
func TestLongWords(t *testing.T) {
	const n = 1 << 20
	r := rand.New(rand.NewPCG(5, 6))
	random := make([]byte, n)
	for i := range random {
		random[i] = "thernadts"[r.IntN(9)]
	}
	for _, name := range []string{"gpt2", "llama3", "legacy", "o200k", "after-bytes", "unigram", "unigram-bytes", "wordpiece"} {
		tk := tiny(t, name)
		for _, text := range []string{strings.Repeat("t", n), string(random), strings.Repeat("é", n/2), strings.Repeat(" ", n), strings.Repeat("1", n)} {
			e, err := tk.Encode(text, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if k := len(e.IDs); k > 0 && e.Offsets[k-1][1] > n {
				t.Errorf("%s: %d tokens end at %d", name, k, e.Offsets[k-1][1])
			}
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, name := range []string{"gpt2", "llama3", "legacy", "unigram", "wordpiece"} {
		tk := tiny(b, name)
		text := strings.Repeat(trainText+" The tenant shall pay the rent on the first day of each month. ", 100)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := tk.Encode(text, Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkShared encodes a book in documents of about 4 kB, and whole; docs/tokenizers.md has the figures beside the reference's.
func BenchmarkShared(b *testing.B) {
	book, err := os.ReadFile(testkit.Shared(b, "data/text/war-and-peace.txt"))
	if err != nil {
		b.Fatal(err)
	}
	var docs []string
	for rest := string(book); rest != ""; {
		n := min(4096, len(rest))
		for n < len(rest) && rest[n-1] != '\n' {
			n++
		}
		docs, rest = append(docs, rest[:n]), rest[n:]
	}
	for _, name := range sharedTokenizers {
		tk := loadShared(b, name)
		for what, texts := range map[string][]string{"docs": docs, "whole": {string(book)}} {
			b.Run(name+"/"+what, func(b *testing.B) {
				b.SetBytes(int64(len(book)))
				start := cpuSeconds(b)
				for b.Loop() {
					for _, text := range texts {
						if _, err := tk.Encode(text, Options{}); err != nil {
							b.Fatal(err)
						}
					}
				}
				b.ReportMetric(float64(len(book))*float64(b.N)/1e6/(cpuSeconds(b)-start), "MB/cpu-s")
			})
		}
	}
}

// cpuSeconds is the user and system time of the process: what other programs of the machine take is not in it.
func cpuSeconds(b *testing.B) float64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9
}
