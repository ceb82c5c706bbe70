package data

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

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
		if err := s.writeCache(t.Context(), s.sources[0], &fullDisk{room}); err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("room for %d bytes: %v", room, err)
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

// TestExactPermutation draws a source many windows long: every window holds rows of all parts of the file.
func TestExactPermutation(t *testing.T) {
	const rows = 4000
	c := rowsConfig(t, rows)
	c.Cache, c.TokenCache, c.Seq = t.TempDir(), true, 32
	s := open(t, c, "train")
	s.loader.tokens = 3000
	var first, second []string
	for i := range 2 {
		var docs []string
		early := 0
		for {
			before := s.State().Window
			p, err := s.Next(t.Context())
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			d := documentsOf(t, []*Pack{p}, c.Seq)
			docs = append(docs, d...)
			if before == 0 {
				for _, x := range d {
					var low, high int
					fmt.Sscanf(x, "[%d %d", &low, &high)
					if high*200+low < rows/2 {
						early++
					}
				}
			}
		}
		n := len(docs)
		t.Logf("epoch %d: %d rows, %d of the first window are of the first half", i, n, early)
		if n != rows || early < 80 || early > 200 { // of about 250
			t.Errorf("epoch %d: %d rows, %d of the first window are of the first half", i, n, early)
		}
		if i == 0 {
			first = docs
		} else {
			second = docs
		}
	}
	if reflect.DeepEqual(first, second) {
		t.Error("two epochs have the same order")
	}
	slices.Sort(first)
	slices.Sort(second)
	if !reflect.DeepEqual(first, second) {
		t.Error("two epochs have different rows")
	}
}

func parsed(t testing.TB, template string) *chat.Template {
	t.Helper()
	p, err := chat.Parse(template)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
