package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/parquet-go/parquet-go"

	"tune/internal/atomicfile"
	"tune/internal/chat"
	"tune/internal/hint"
)

// cacheFiles lists the token files below a cache folder.
func cacheFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "tokens", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestTokenCache compares packs and counts with and without a cache, for every shape of rows.
func TestTokenCache(t *testing.T) {
	pairs := write(t, "pairs.jsonl", strings.Repeat(`{"prompt":"the","chosen":" cat","rejected":" dog"}`+"\n", 5))
	kto := write(t, "kto.jsonl", strings.Repeat(`{"prompt":"the","completion":" cat","label":true}
{"prompt":"the","completion":" dog","label":false}
`, 5))
	text := write(t, "text.csv", "text,n\n"+strings.Repeat("the cat,1\n,1\n\"the \xff\n"+strings.Repeat("dog ", 40)+"\",2\nthe dog,3\n", 30))
	cache := t.TempDir()
	for name, set := range map[string]func(*Config, *Options){
		"rows": func(c *Config, _ *Options) {
			c.Train, c.ValidShare = Sources{{Path: tokenRows(t, 300), Weight: 2}}, 0.2
		},
		"pairs":    func(c *Config, o *Options) { c.Train, o.Pairs = Sources{{Path: pairs}, {Path: kto}}, true },
		"no pairs": func(c *Config, _ *Options) { c.Train = Sources{{Path: pairs}, {Path: kto}} },
		"text": func(c *Config, _ *Options) {
			c.Train, c.UTF8, c.Seq, c.Dedup = Sources{{Path: text, Filter: "n != \"3\""}, {Path: text, Limit: 7}}, "replace", 32, "exact"
		},
	} {
		c := Default()
		c.Seq, c.Cache = 64, cache
		o := chatOptions(t, "train")
		set(&c, &o)
		run := func(cached bool) ([]*Pack, Stats) {
			c.TokenCache = cached
			s, err := Open(c, o)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			packs := epoch(t, s)
			return append(packs, epoch(t, s)...), s.Stats()
		}
		want, wantStats := run(false)
		for range 2 { // made, and found
			got, stats := run(true)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: packs differ from those without a cache", name)
			}
			if name != "text" && stats != wantStats { // rows after the last one that is kept are not counted in a cache
				t.Errorf("%s:\ngot  %s\nwant %s", name, stats.Line(), wantStats.Line())
			}
		}
	}
}

// TestTokenCacheIsShared looks at when a cache is made anew.
func TestTokenCacheIsShared(t *testing.T) {
	c := Default()
	c.Cache, c.TokenCache = t.TempDir(), true
	rows := `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yo"}]}` + "\n"
	path := write(t, "a.jsonl", rows)
	c.Train = Sources{{Path: path}}
	var said []string
	count := func(set func(*Options)) int {
		o := chatOptions(t, "train")
		o.Report = func(text string) { said = append(said, text) }
		if set != nil {
			set(&o)
		}
		s, err := Open(c, o)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		return len(cacheFiles(t, c.Cache))
	}
	same := func(*Options) {}
	for i, step := range []struct {
		what string
		set  func(*Options)
		want int
	}{
		{"first", same, 1}, {"again", same, 1},
		{"another length and order", func(*Options) { c.Seq, c.Order, c.Packing = 128, "file", false }, 1},
		{"the file elsewhere", func(*Options) { c.Train[0].Path = write(t, "a.jsonl", rows) }, 1},
		{"another date", func(*Options) { c.Date = "2020-02-02" }, 2},
		{"another template", func(o *Options) { o.Template = parsed(t, chatML+" ") }, 3},
		{"other rows", func(*Options) { c.Train[0].Path = write(t, "a.jsonl", rows+rows) }, 4},
	} {
		step.set(&Options{Tokenizer: testTokenizer(t)}) // settings of c
		if n := count(step.set); n != step.want {
			t.Errorf("step %d, %s: %d files, want %d", i, step.what, n, step.want)
		}
	}
	if len(said) != 4 || !strings.Contains(said[0], "a.jsonl: writing tokens to ") {
		t.Errorf("reported %q", said)
	}
	files := cacheFiles(t, c.Cache)
	for _, f := range files { // damage
		os.WriteFile(f, []byte("ARROW1\x00\x00\xff\xff\xff\xff\x00\x00\x00\x7f"), 0o644)
	}
	if _, err := Open(c, chatOptions(t, "train")); err == nil || !strings.Contains(hint.Of(err), "it is made anew") {
		t.Errorf("a damaged cache: %v", err)
	}
}

type fullDisk struct{ left int }

func (f *fullDisk) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, fmt.Errorf("write: %w", syscall.ENOSPC)
	}
	return len(p), nil
}

func TestTokenCacheFullDisk(t *testing.T) {
	c := rowsConfig(t, 500)
	s := open(t, c, "train")
	for _, room := range []int{0, 100, 5000} {
		if err := s.writeCache(t.Context(), s.sources[0], &fullDisk{room}, func(int64, float64) error { return nil }); err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("room for %d bytes: %v", room, err)
		}
	}
	told := s.room("a.parquet", t.TempDir())
	if err := told(1<<20, 0.5); err != nil {
		t.Error(err)
	}
	if _, known := atomicfile.Free(t.TempDir()); known {
		if err := told(1<<60, 0.3); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "a.parquet: expected ") {
			t.Errorf("no room for the rest: %v", err)
		}
	}
	// a folder that cannot be made: nothing is left behind
	c.Cache, c.TokenCache = write(t, "file", "x"), true
	if _, err := Open(c, Options{Split: "train", Tokenizer: testTokenizer(t)}); err == nil {
		t.Error("a cache below a file")
	}
	c.Cache = t.TempDir()
	c.Train[0].Path = write(t, "a.jsonl", "{\"input_ids\":[1,2]}\n{\"input_ids\":[1,999]}\n")
	if _, err := Open(c, Options{Split: "train", Tokenizer: testTokenizer(t)}); err == nil || !strings.Contains(err.Error(), "a.jsonl:2: position 1") || len(cacheFiles(t, c.Cache)) > 0 {
		t.Errorf("a bad row: %v, left %v", err, cacheFiles(t, c.Cache))
	}
}

// TestExactPermutation draws files many windows long: every window holds rows of all parts of the file, and what order was taken
// is said.
func TestExactPermutation(t *testing.T) {
	const rows = 4000
	lines := tokenRows(t, rows)
	text, err := os.ReadFile(lines)
	if err != nil {
		t.Fatal(err)
	}
	gz := write(t, "rows.jsonl.gz", packed(t, ".gz", string(text)))
	var buf bytes.Buffer
	w := parquet.NewGenericWriter[bigRow](&buf, parquet.MaxRowsPerRowGroup(50))
	for line := range strings.Lines(string(text)) {
		var row struct {
			IDs []int32 `json:"input_ids"`
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]bigRow{{IDs: row.IDs}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	pq := write(t, "rows.parquet", buf.String())
	for _, x := range []struct {
		path, order string
		tokenCache  bool
		exact       bool
	}{{lines, "shuffled", true, true}, {lines, "shuffled", false, true}, {gz, "shuffled", false, true}, {pq, "shuffled", false, true}, {lines, "windows", false, false}} {
		t.Run(fmt.Sprint(filepath.Base(x.path), x.order, x.tokenCache), func(t *testing.T) {
			c := Default()
			c.Train = Sources{{Path: x.path}}
			c.Cache, c.Order, c.TokenCache, c.Seq = t.TempDir(), x.order, x.tokenCache, 32
			var said []string
			s, err := Open(c, Options{Split: "train", Seed: 7, Tokenizer: testTokenizer(t), Report: func(text string) { said = append(said, text) }})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			s.loader.tokens = 3000
			for _, o := range s.sources {
				o.recut(4000)
			}
			first := firstHalf(t, s, rows)
			second := firstHalf(t, s, rows)
			if reflect.DeepEqual(first, second) {
				t.Error("two epochs have the same order")
			}
			slices.Sort(first)
			slices.Sort(second)
			if !reflect.DeepEqual(first, second) || len(slices.Compact(first)) != rows {
				t.Errorf("two epochs have different rows, of %d", rows)
			}
			want := fmt.Sprintf("order: %s: exact permutation of %d rows", x.path, rows)
			if !x.exact {
				want = fmt.Sprintf("order: %s: %d blocks at random, in windows of up to 3000 tokens or 65536 rows", x.path, len(s.sources[0].blocks))
			}
			if made := len(cacheFiles(t, c.Cache)) > 0; !slices.Contains(said, want) || made != x.exact {
				t.Errorf("said %q, want %q; a cache was made: %v", said, want, made)
			}
		})
	}
}

// firstHalf takes an epoch of rows of tokenRows and counts those of the first window that are of the first half of the file: they
// are half of it when any row may come anywhere, within 4 standard deviations of 250 draws.
func firstHalf(t *testing.T, s *Stream, rows int) (docs []string) {
	t.Helper()
	early, begun := 0, 0
	for {
		window := s.State().Window
		p, err := s.Next(t.Context())
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		d := documentsOf(t, []*Pack{p}, s.config.Seq)
		docs = append(docs, d...)
		if window > 0 {
			continue
		}
		for _, x := range d {
			var low, high int
			fmt.Sscanf(x, "[%d %d", &low, &high)
			begun++
			if high*200+low < rows/2 {
				early++
			}
		}
	}
	t.Logf("%d rows, %d of %d in the first window are of the first half", len(docs), early, begun)
	if half := begun / 2; len(docs) != rows || s.config.Order == "shuffled" && (early < half-32 || early > half+32) {
		t.Errorf("%d rows, %d of %d in the first window are of the first half", len(docs), early, begun)
	}
	return docs
}

func parsed(t testing.TB, template string) *chat.Template {
	t.Helper()
	p, err := chat.Parse(template)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
