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

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
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
	for name, opts := range map[string][]ipc.Option{"file.arrow": nil, "stream.arrows": nil, "zstd.arrow": {ipc.WithZstd()}} {
		w.files["/"+name] = arrowRows(t, 3000, strings.HasSuffix(name, "s"), opts...)
	}
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

// arrowRows writes rows of a text and a value, 500 to a record batch.
func arrowRows(t *testing.T, n int, stream bool, opts ...ipc.Option) string {
	schema := arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String}, {Name: "n", Type: arrow.BinaryTypes.String}}, nil)
	var buf bytes.Buffer
	opts = append(opts, ipc.WithSchema(schema))
	write := ipc.NewWriter(&buf, opts...).Write
	if !stream {
		w, err := ipc.NewFileWriter(&buf, opts...)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		write = w.Write
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for i := range n {
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprint("row ", i))
		b.Field(1).(*array.StringBuilder).Append(strings.Repeat(fmt.Sprint(i), i%200))
		if i%500 == 499 {
			if err := write(b.NewRecordBatch()); err != nil {
				t.Fatal(err)
			}
		}
	}
	return buf.String() // without its end, which a reader of messages does without
}

// TestRemoteArrowDamaged makes the sizes in an Arrow file wrong: the checks are those of a mapped file.
func TestRemoteArrowDamaged(t *testing.T) {
	w := &web{files: map[string]string{}}
	h := httptest.NewServer(w)
	defer h.Close()
	whole := arrowRows(t, 1000, false, ipc.WithZstd())
	read := func(path string) (n int, err error) {
		c := Default()
		c.Train = Sources{{Path: path}}
		s, err := Open(c, Options{Split: "train", Tokenizer: testTokenizer(t)})
		if err != nil {
			return 0, err
		}
		defer s.Close()
		return n, s.Scan(t.Context(), func(Scanned) bool { n++; return true })
	}
	message := func(err error) string {
		if err == nil {
			return ""
		}
		_, text, _ := strings.Cut(err.Error(), "a.arrow")
		return text
	}
	failed := 0
	for at := 8; at < len(whole); at += 509 {
		damaged := []byte(whole)
		for k := range min(8, len(damaged)-at) {
			damaged[at+k] = 0x7f
		}
		w.files["/a.arrow"] = string(damaged)
		got, err := read(h.URL + "/a.arrow")
		want, other := read(write(t, "a.arrow", string(damaged)))
		if (err == nil) != (other == nil) || err == nil && got != want {
			t.Errorf("damage at byte %d: %d rows and %q, as a local file %d and %q", at, got, message(err), want, message(other))
		}
		if err != nil {
			failed++
		}
	}
	if failed == 0 {
		t.Error("no damage was found")
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
