package data

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"tune/internal/rng"
	"tune/internal/tokenizer"
)

// testTokenizer is byte-level with few merges, so that lengths are easy to foresee.
func testTokenizer(t testing.TB) *tokenizer.Tokenizer {
	t.Helper()
	tok, err := tokenizer.Train(slices.Values([]string{"the cat and the dog and the bird"}), tokenizer.TrainOptions{
		Vocab: 270, Special: []string{"<|end|>", "<|im_start|>", "<|im_end|>"}, EOS: "<|end|>"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func write(t testing.TB, name, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

// tokenRows is a file of n rows of tokens: row i holds 2 to 24 tokens; the first is its number in base 200.
func tokenRows(t testing.TB, n int) string {
	var b strings.Builder
	r := rng.New(5, "rows")
	for i := range n {
		ids := []int{i % 200, i / 200}
		for k := range r.Intn(uint64(i), 23) {
			ids = append(ids, (i+k)%250)
		}
		text, _ := json.Marshal(ids)
		fmt.Fprintf(&b, "{\"n\": %d, \"kind\": %q, \"input_ids\": %s}\n", i, []string{"a", "b"}[i%2], text)
	}
	return write(t, "rows.jsonl", b.String())
}

func open(t testing.TB, c Config, split string) *Stream {
	t.Helper()
	s, err := Open(c, Options{Split: split, Seed: 7, Tokenizer: testTokenizer(t), Cache: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// epoch takes all packs up to the end of the epoch.
func epoch(t testing.TB, s *Stream) (packs []*Pack) {
	t.Helper()
	for {
		p, err := s.Next(context.Background())
		if err == io.EOF {
			return packs
		}
		if err != nil {
			t.Fatal(err)
		}
		packs = append(packs, p)
	}
}

// documentsOf cuts packs into their documents and checks what must be true of every pack.
func documentsOf(t testing.TB, packs []*Pack, seq int) (docs []string) {
	t.Helper()
	for _, p := range packs {
		n := len(p.IDs)
		if n == 0 || n > seq || len(p.Pos) != n || len(p.Start) != n || len(p.Labels) != n || len(p.Doc) != n || len(p.Keys) != p.Docs {
			t.Fatalf("pack of %d tokens of at most %d: %+v", n, seq, p)
		}
		supervised := 0
		for i := range n {
			first := i == 0 || p.Doc[i] != p.Doc[i-1]
			if first && (p.Pos[i] != 0 || int(p.Start[i]) != i) || !first && (p.Pos[i] != p.Pos[i-1]+1 || p.Start[i] != p.Start[i-1]) {
				t.Fatalf("token %d: position %d, start %d", i, p.Pos[i], p.Start[i])
			}
			last := i == n-1 || p.Doc[i+1] != p.Doc[i]
			if p.Labels[i] >= 0 {
				supervised++
				if last || p.Labels[i] != p.IDs[i+1] {
					t.Fatalf("token %d: label %d crosses a document", i, p.Labels[i])
				}
			}
			if last {
				docs = append(docs, fmt.Sprint(p.IDs[p.Start[i]:i+1]))
			}
		}
		if supervised != p.Supervised || int(p.Doc[n-1])+1 != p.Docs {
			t.Fatalf("%d supervised, %d documents: %+v", supervised, p.Doc[n-1]+1, p)
		}
	}
	return docs
}

func rowsConfig(t testing.TB, n int) Config {
	c := Default()
	c.Train = Sources{{Path: tokenRows(t, n)}}
	c.Seq = 64
	return c
}

func TestEveryRowOncePerEpoch(t *testing.T) {
	const rows = 700
	for _, packing := range []bool{true, false} {
		for _, order := range orders {
			c := rowsConfig(t, rows)
			c.Packing, c.Order = packing, order
			s := open(t, c, "train")
			first := documentsOf(t, epoch(t, s), c.Seq)
			st := s.Stats()
			second := documentsOf(t, epoch(t, s), c.Seq)
			if same := reflect.DeepEqual(first, second); same != (order == "file") {
				t.Errorf("packing %v, order %s: two epochs alike: %v", packing, order, same)
			}
			if order == "file" && !packing && !strings.HasPrefix(first[3], "[3 0") {
				t.Errorf("row 4 is %s", first[3])
			}
			slices.Sort(first)
			slices.Sort(second)
			if len(slices.Compact(slices.Clone(first))) != rows || !reflect.DeepEqual(first, second) {
				t.Errorf("packing %v, order %s: %d documents, want every row once in both epochs", packing, order, len(first))
			}
			if st.Rows != rows || st.Examples != rows {
				t.Errorf("stats %+v", st)
			}
			if packing && st.Fill() < 0.97 {
				t.Errorf("packs are %.1f %% full", 100*st.Fill())
			}
		}
	}
}

// TestPaddingNone reads rows unpacked: a pack is a row and not a token longer. Saying so changes nothing, and there is no other padding.
func TestPaddingNone(t *testing.T) {
	c := rowsConfig(t, 100)
	c.Packing, c.Order = false, "file"
	silent := open(t, c, "train")
	c.Padding = "none"
	s := open(t, c, "train")
	want, got := epoch(t, silent), epoch(t, s)
	if !reflect.DeepEqual(got, want) {
		t.Error("padding: none changes the packs")
	}
	one, _ := silent.Fingerprint()
	if two, _ := s.Fingerprint(); one != two {
		t.Error("padding: none changes the fingerprint")
	}
	text, err := os.ReadFile(c.Train[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(got) != len(lines) {
		t.Fatalf("%d packs of %d rows", len(got), len(lines))
	}
	for i, p := range got {
		var row struct {
			IDs []int32 `json:"input_ids"`
		}
		if err := json.Unmarshal([]byte(lines[i]), &row); err != nil {
			t.Fatal(err)
		}
		if p.Docs != 1 || !slices.Equal(p.IDs, row.IDs) {
			t.Errorf("row %d: %d documents of tokens %v, want %v alone", i, p.Docs, p.IDs, row.IDs)
		}
	}
	c.Padding = "max_length"
	if ps := c.Validate(); len(ps) != 1 || ps[0].Path != "padding" || !strings.Contains(ps[0].Message, "expected none") {
		t.Errorf("padding: max_length: %v", ps)
	}
}

// TestResume compares a stream that is cut at every pack with one that is not, for windows that are larger and smaller
// than the data, one source and several.
func TestResume(t *testing.T) {
	one, two := rowsConfig(t, 900), rowsConfig(t, 600)
	two.Train = Sources{{Path: tokenRows(t, 300), Where: "kind=a"}, {Path: tokenRows(t, 500), Weight: 1.5, Limit: 400}, {Path: tokenRows(t, 40), Weight: 3}}
	three := two
	three.Mix, three.Dedup, three.Filter = "weights", "exact", "n % 7 != 3"
	csv := Default()
	csv.Seq, csv.Train = 64, Sources{{Path: write(t, "a.csv", "text\n"+strings.Repeat("\"the\ncat\"\nthe dog and the bird\n", 300))}}
	cached := two
	cached.TokenCache, cached.Cache = true, t.TempDir()
	windows := two
	windows.Order = "windows"
	arrow := Default()
	arrow.Seq, arrow.Train = 64, Sources{{Path: write(t, "a.arrow", string(arrowBytes(t, false))), Weight: 20.5, Where: "kind=odd", Columns: map[string]string{"messages": "none"}}}
	for name, c := range map[string]Config{"one": one, "mixed": two, "drawn": three, "windows": windows, "forward": csv, "cached": cached, "arrow": arrow} {
		if !c.TokenCache {
			c.Cache = t.TempDir()
		}
		for _, tokens := range []int{windowTokens, 1000} {
			small := func() *Stream {
				s := open(t, c, "train")
				s.loader.tokens = tokens
				for _, o := range s.sources {
					o.recut(1000)
				}
				if !c.TokenCache {
					s.loader.use(s.sources) // whose sizes have changed
				}
				return s
			}
			whole := small()
			var want []*Pack
			var states []State
			for range 2 {
				for {
					states = append(states, whole.State())
					p, err := whole.Next(context.Background())
					want = append(want, p)
					if err == io.EOF {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			cut := small()
			for i := 0; i < len(want); i += 17 {
				text, _ := json.Marshal(states[i])
				var st State
				if err := json.Unmarshal(text, &st); err != nil {
					t.Fatal(err)
				}
				if i%2 == 0 {
					cut = small() // another process
				}
				if err := cut.Seek(st); err != nil {
					t.Fatal(err)
				}
				for j := i; j < min(i+9, len(want)); j++ {
					p, err := cut.Next(context.Background())
					if err != nil && err != io.EOF {
						t.Fatal(err)
					}
					if !reflect.DeepEqual(p, want[j]) {
						t.Fatalf("%s, windows of %d tokens: pack %d after a cut at %d differs", name, tokens, j, i)
					}
				}
			}
			t.Logf("%s, windows of %d: %d packs in two epochs", name, tokens, len(want))
		}
	}
}

// recut makes small blocks of line files.
func (o *source) recut(step int64) {
	o.blocks = nil
	for i, f := range o.files {
		if l, ok := f.(*lineFile); ok {
			l.cut(step)
		}
		for b := range f.blocks() {
			o.blocks = append(o.blocks, blockRef{i, b})
		}
	}
	if o.cut >= 0 {
		o.cut = -1
		o.limit()
	}
}

func TestWhereLimitWeightAndShare(t *testing.T) {
	c := rowsConfig(t, 400)
	count := func(split string) (docs []string) { return documentsOf(t, epoch(t, open(t, c, split)), c.Seq) }
	c.Train[0].Where = "kind!=a"
	if n := len(count("train")); n != 200 {
		t.Errorf("where keeps %d of 400 rows, want 200", n)
	}
	c.Train[0].Limit = 30
	if n := len(count("train")); n != 30 {
		t.Errorf("limit keeps %d rows, want 30", n)
	}
	c.Train[0] = Source{Path: c.Train[0].Path, Weight: 2.25}
	if n := len(count("train")); n < 870 || n > 930 { // 900 and 3.4 standard deviations of 400 draws
		t.Errorf("weight 2.25 reads %d of 400 rows", n)
	}
	c.Train[0].Weight, c.ValidShare = 0, 0.25
	train, valid := count("train"), count("valid")
	if len(train)+len(valid) != 400 || len(valid) < 70 || len(valid) > 130 {
		t.Errorf("split by hash: %d train, %d valid", len(train), len(valid))
	}
	for _, d := range valid {
		if slices.Contains(train, d) {
			t.Errorf("%s is on both sides", d)
		}
	}
}

func TestOverlength(t *testing.T) {
	long := write(t, "long.jsonl", `{"input_ids": [1,2,3]}
{"input_ids": [1,2,3,4,5,6,7,8,9], "labels": [-100,-100,-100,-100,-100,6,7,8,9]}
`)
	c := Default()
	c.Train, c.Seq = Sources{{Path: long}}, 4
	s := open(t, c, "train")
	if _, err := s.Next(context.Background()); err == nil || !strings.Contains(err.Error(), "long.jsonl:2: expected at most 4 tokens (seq), found 9") {
		t.Errorf("got %v", err)
	}
	for policy, want := range map[string]Stats{
		"drop":     {Rows: 2, Examples: 1, Tokens: 3, Supervised: 2, Packs: 1, Dropped: 1, Lost: 9, Seq: 4},
		"truncate": {Rows: 2, Examples: 1, Tokens: 3, Supervised: 2, Packs: 1, Dropped: 1, Lost: 9, Seq: 4}, // nothing supervised is left
		"split":    {Rows: 2, Examples: 2, Tokens: 7, Supervised: 5, Packs: 2, Split: 1, Lost: 5, Seq: 4},
	} {
		c.Overlength = policy
		s := open(t, c, "train")
		epoch(t, s)
		if s.Stats() != want {
			t.Errorf("%s: %+v, want %+v", policy, s.Stats(), want)
		}
	}
}

func TestText(t *testing.T) {
	c := Default()
	c.Train, c.Seq, c.Order, c.Documents = Sources{{Path: write(t, "a.txt", "the cat\n\nthe dog\nand\n\n\nthe bird\n")}}, 8, "file", "blocks"
	s := open(t, c, "train")
	tok := testTokenizer(t)
	var texts []string
	for _, p := range epoch(t, s) {
		documentsOf(t, []*Pack{p}, 8)
		texts = append(texts, tok.Decode(p.IDs, false))
	}
	if got := strings.Join(texts, ""); got != "the cat\n<|end|>the dog\nand\n<|end|>the bird\n<|end|>" {
		t.Errorf("got %q", got)
	}
	st := s.Stats()
	if st.Rows != 3 || st.Lost != 0 || st.Split == 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestRowErrors(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"a.jsonl", "{\"text\": \"x\"}\n\n{\"text\": \n", "a.jsonl:3: key \"text\": EOF"},
		{"a.jsonl", "{\"text\": \"x\"}\n{\"text\": 5}\n", "a.jsonl:2: column text: expected a string, found 5"},
		{"a.jsonl", "{\"text\": \"x\"}\n[1]\n", "a.jsonl:2: expected a JSON object"},
		{"a.jsonl", "{\"text\": \"x\"}\n{\"text\": null}\n", "a.jsonl:2: expected a string in column text, found null"},
		{"a.jsonl", "{\"input_ids\": [1, 2]}\n{\"input_ids\": [1, 900]}\n", "a.jsonl:2: position 1: expected a token id below 265, found 900"},
		{"a.jsonl", "{\"input_ids\": [1, 2], \"labels\": [1, 265]}\n", "a.jsonl:1: position 1: expected label -100 or a token id below 265, found 265"},
		{"a.jsonl", "{\"input_ids\": [1, 2], \"labels\": [-100, -100]}\n", "a.jsonl:1: expected supervised tokens, found none: all labels are -100"},
		{"a.jsonl", "{\"input_ids\": [1, 2], \"labels\": [1]}\n", "a.jsonl:1: expected as many labels as tokens"},
		{"a.jsonl", "{\"question\": \"x\"}\n", "expected columns of one of the formats"},
		{"a.jsonl", "", "expected rows, found empty files"},
		{"a.jsonl", "{\"text\": \"\"}\n", "expected rows to train on, found none (1 read, 0 dropped, 1 empty)"},
		{"a.json", "[{\"text\": \"x\"}, {\"text\": \"y\"", "a.json: row 1, byte"},
		{"a.xls", "x", "expected a name that ends in .parquet"},
		{"a.parquet.gz", "x", "expected a name that ends in .parquet"},
		{"a.csv", "text,n\nthe cat,1\nthe dog\n", "a.csv:3: expected 2 values, found 1"},
		{"a.csv", "text,n\n\"the\n\ncat\",1\n\"the dog,2\n", "a.csv:5: extraneous or missing \" in quoted-field"},
		{"a.csv", "text,text\nx,y\n", `a.csv:1: expected different names of columns, found "text" twice`},
		{"a.csv", "x,y\n1,2\n", "expected columns of one of the formats"},
		{"a.csv", "text\nthe cat\nthe \xff\n", "a.csv:3: column text: expected UTF-8"},
		{"a.jsonl", "{\"text\": \"x\"}\n{\"text\": \"\xff\"}\n", "a.jsonl:2: expected UTF-8"},
		{"a.json", "[{\"text\": \"x\"},\n{\"text\": \"\xff\"}]", "a.json: row 2, byte 29: expected UTF-8"},
		{"a.txt", "the\ncat \xff\n", "a.txt:1: expected UTF-8"},
		{"a.jsonl.gz", packed(t, ".gz", strings.Repeat("{\"text\": \"x\"}\n", 50))[:40], "a.jsonl.gz:51: the file ends too early"},
		{"a.arrow", "ARROW1\x00\x00\xff\xff\xff\xff\x00\x00\x00\x7f", "a.arrow: message at byte 16"},
	} {
		cfg := Default()
		cfg.Train = Sources{{Path: write(t, c.name, c.text)}}
		s, err := Open(cfg, Options{Split: "train", Tokenizer: testTokenizer(t)})
		if err == nil {
			_, err = s.Next(context.Background())
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %q:\ngot  %v\nwant %s", c.name, c.text, err, c.want)
		}
	}
}

func TestCancel(t *testing.T) {
	s := open(t, rowsConfig(t, 50), "train")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Next(ctx); !errors.Is(err, errCanceled) {
		t.Errorf("got %v", err)
	}
	if n := len(epoch(t, s)); n == 0 {
		t.Error("a canceled stream does not go on")
	}
}
