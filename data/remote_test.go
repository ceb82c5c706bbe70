package data

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// web serves files by ranges and counts what it sends; tag is their version, and every cut-th answer breaks half-way.
type web struct {
	files   map[string]string
	tag     atomic.Int64
	cut     int64
	answers atomic.Int64
	sent    atomic.Int64
}

type countingWriter struct {
	http.ResponseWriter
	w    *web
	left int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > c.left {
		c.ResponseWriter.Write(p[:c.left])
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= int64(len(p))
	c.w.sent.Add(int64(len(p)))
	return c.ResponseWriter.Write(p)
}

func (w *web) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	text, ok := w.files[r.URL.Path]
	if !ok {
		http.NotFound(out, r)
		return
	}
	out.Header().Set("ETag", fmt.Sprintf(`"%d"`, w.tag.Load()))
	left := int64(1 << 40)
	if n := w.answers.Add(1); w.cut > 0 && n%w.cut == 0 {
		left = int64(len(text) / 3)
	}
	http.ServeContent(&countingWriter{out, w, left}, r, "x", time.Time{}, strings.NewReader(text))
}

// TestRemoteFiles reads every kind over connections that break, and compares with the same file on disk.
func TestRemoteFiles(t *testing.T) {
	type row struct {
		Text string `parquet:"text"`
		Blob string `parquet:"blob"`
	}
	var rows []row
	var jsonl, csv strings.Builder
	csv.WriteString("text,n\n")
	for i := range 3000 {
		rows = append(rows, row{fmt.Sprint("row ", i), strings.Repeat(fmt.Sprint(i), 300)})
		fmt.Fprintf(&jsonl, "{\"text\":\"row %d\",\"n\":\"%s\"}\n", i, strings.Repeat("x", i%700))
		fmt.Fprintf(&csv, "\"row\n%d\",%d\n", i, i)
	}
	w := &web{cut: 3, files: map[string]string{"/a.parquet": parquetBytes(t, rows, parquet1000), "/a.jsonl": jsonl.String(), "/a.csv": csv.String(), "/a.jsonl.gz": packed(t, ".gz", jsonl.String())}}
	h := httptest.NewServer(w)
	defer h.Close()
	for name, text := range w.files {
		scan := func(path string) (got []string) {
			c := Default()
			c.Train = Sources{{Path: path}}
			s := open(t, c, "train")
			if err := s.Scan(t.Context(), func(x Scanned) bool {
				got = append(got, fmt.Sprint(x.Example.Key[strings.LastIndex(x.Example.Key, "/"):], x.Example.IDs, x.Err))
				return true
			}); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			return got
		}
		w.sent.Store(0)
		got := scan(h.URL + name + "?token=secret")
		if want := scan(write(t, filepath.Base(name), text)); len(got) != 3000 || !slices.Equal(got, want) {
			t.Errorf("%s: %d rows, other than on disk", name, len(got))
		}
		t.Logf("%s: %d of %d bytes sent", name, w.sent.Load(), len(text))
		if name != "/a.parquet" && w.sent.Load() > int64(len(text))*3/2+1<<20 {
			t.Errorf("%s: %d bytes sent of a file of %d", name, w.sent.Load(), len(text))
		}
	}
}

// TestRemoteChange changes a file between opening and reading, and between two runs.
func TestRemoteChange(t *testing.T) {
	w := &web{files: map[string]string{"/a.csv": "text\n" + strings.Repeat("the cat and the dog\n", 200_000)}}
	h := httptest.NewServer(w)
	defer h.Close()
	c := Default()
	c.Train = Sources{{Path: h.URL + "/a.csv"}}
	s := open(t, c, "train")
	before, err := s.Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	w.tag.Add(1)
	for err == nil {
		_, err = s.Next(t.Context())
	}
	if !strings.Contains(err.Error(), "/a.csv: bytes 1048576 to ") || !strings.Contains(err.Error(), "the file has changed since it was opened") {
		t.Errorf("got %v", err)
	}
	if after, err := open(t, c, "train").Fingerprint(); err != nil || after == before {
		t.Errorf("a changed file has the fingerprint of the first: %v", err)
	}
}

// TestHubSource reads from a cache as the hub's Python library leaves it.
func TestHubSource(t *testing.T) {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	cache := t.TempDir()
	for name, text := range map[string]string{"refs/main": commit, "snapshots/" + commit + "/data/train-00000-of-00001.jsonl": "{\"text\":\"the cat\"}\n",
		"snapshots/" + commit + "/data/validation-00000-of-00001.jsonl": "{\"text\":\"the dog\"}\n"} {
		p := filepath.Join(cache, "datasets--org--name", filepath.FromSlash(name))
		os.MkdirAll(filepath.Dir(p), 0o755)
		os.WriteFile(p, []byte(text), 0o644)
	}
	t.Setenv("HF_HUB_CACHE", cache)
	t.Setenv("HF_HUB_OFFLINE", "1")
	c := Default()
	c.Train, c.Valid = Sources{{Path: "hf://datasets/org/name"}}, Sources{{Path: "hf://datasets/org/name"}}
	for split, want := range map[string]string{"train": "the cat<|end|>", "valid": "the dog<|end|>"} {
		s := open(t, c, split)
		if got := s.encoder.tok.Decode(epoch(t, s)[0].IDs, false); got != want {
			t.Errorf("%s: %q, want %q", split, got, want)
		}
	}
	c.Valid, c.ValidShare = nil, 0.5 // valid rows are then a share of the train files
	for _, split := range []string{"train", "valid"} {
		if _, err := Open(c, Options{Split: split, Tokenizer: testTokenizer(t)}); err != nil {
			t.Errorf("%s of valid_share: %v", split, err)
		}
	}
	c.ValidShare = 0
	for path, want := range map[string]string{"hf://datasets/org": "train[0].path: expected an address of the hub", "hf://org/name": "expected the address of a data set, found that of a model",
		"hf://datasets/org/other": "hf://datasets/org/other: offline, and not in the cache", "hf://datasets/org/name:test": "expected a split test, found train, validation"} {
		c.Train[0].Path = path
		if _, err := nextOf(c, t); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}

// TestLongRow reads a row that is many blocks long: 100 MB when asked for.
func TestLongRow(t *testing.T) {
	size := 30 << 20
	if big() {
		size = 100 << 20
	}
	long := bytes.Repeat([]byte("x"), size)
	f, err := openPath(write(t, "a.jsonl", "{\"text\":\"a\"}\n{\"text\":\""+string(long)+"\"}\n{\"text\":\"b\"}\n"), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	sizes := []int{}
	for b := range f.blocks() {
		rows, _ := blockRows(t, f, b, 0)
		for _, r := range rows {
			sizes = append(sizes, len(r))
		}
	}
	if !slices.Equal(sizes, []int{12, size + 11, 12}) {
		t.Errorf("rows of %v bytes", sizes)
	}
}
