package data

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
)

// packed compresses text as the end of a name says.
func packed(t testing.TB, suffix, text string) string {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	if suffix == ".zst" {
		var err error
		if w, err = zstd.NewWriter(&b); err != nil {
			t.Fatal(err)
		}
	}
	io.WriteString(w, text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// bz2Rows is `[{"a":1},{"a":2}]` as the program bzip2 packs it.
var bz2Rows, _ = hex.DecodeString("425a68393141592653595a0c2f8c0000049b8010043010000a2000000a200031003012934c69a23468a1fe46b5f0bb9229c28482d0617c60")

func TestCSV(t *testing.T) {
	text := "\ufeffn,text,\r\n1,the cat,x\r\n\r\n2,\"a \"\"b\"\"\nc,\r\n\r\nd\",\r\n3,,\"\"\n"
	want := []string{`{"n":"1","text":"the cat","":"x"}`, `{"n":"2","text":"a \"b\"\nc,\n\nd","":""}`, `{"n":"3","text":"","":""}`}
	lines := []int{2, 4, 8}
	for name, text := range map[string]string{"a.csv": text, "a.tsv": strings.NewReplacer(",", "\t", "c\t", "c,").Replace(text), "a.csv.zst": packed(t, ".zst", text)} {
		if strings.HasSuffix(name, ".tsv") {
			text = strings.ReplaceAll(text, "c\t", "c,")
		}
		f, err := openPath(write(t, name, text), Config{})
		if err != nil {
			t.Fatal(err)
		}
		for skip := range want {
			rows, keys := blockRows(t, f, 0, skip)
			if !slices.Equal(rows, want[skip:]) {
				t.Fatalf("%s from row %d:\ngot  %q\nwant %q", name, skip, rows, want[skip:])
			}
			for i, k := range keys {
				if !strings.HasSuffix(k, fmt.Sprintf("%s:%d", name, lines[skip+i])) {
					t.Errorf("%s from row %d: row %d is named %s, want line %d", name, skip, skip+i, k, lines[skip+i])
				}
			}
		}
		f.close()
	}
}

// TestForwardKinds begins each kind of file that is read forwards at every row, plain and compressed.
func TestForwardKinds(t *testing.T) {
	var jsonl, csv, txt strings.Builder
	csv.WriteString("text,n\n")
	for i := range 60 {
		s := strings.Repeat("x\n", i%4) + fmt.Sprint("row ", i)
		fmt.Fprintf(&jsonl, "{\"text\":%q,\"n\":%d}\n%s", s, i, strings.Repeat(" \n", i%3))
		fmt.Fprintf(&csv, "\"%s\",%d\r\n%s", s, i, strings.Repeat("\n", i%3))
		fmt.Fprintf(&txt, "%s\n\n%s", s, strings.Repeat(" \n", i%3))
	}
	array := "[" + strings.Join(strings.Fields(strings.ReplaceAll(strings.ReplaceAll(jsonl.String(), " ", "_"), "_\n", "\n")), " ,\n") + " ]\n"
	for name, text := range map[string]string{"a.jsonl": jsonl.String(), "a.csv": csv.String(), "a.txt": txt.String(), "a.json": array, "b.json": jsonl.String()} {
		for _, suffix := range []string{"", ".gz", ".zst"} {
			content := text
			if suffix != "" {
				content = packed(t, suffix, text)
			}
			f, err := openPath(write(t, name+suffix, content), Config{Documents: "blocks"})
			if err != nil {
				t.Fatal(err)
			}
			all, keys := blockRows(t, f, 0, 0)
			if len(all) != 60 {
				t.Errorf("%s%s: %d rows, want 60", name, suffix, len(all))
			}
			for skip := range all {
				rows, ks := blockRows(t, f, 0, skip)
				if !slices.Equal(rows, all[skip:]) || !slices.Equal(ks, keys[skip:]) {
					t.Fatalf("%s%s from row %d: %q %q", name, suffix, skip, rows[:1], ks[:1])
				}
			}
			f.close()
		}
	}
	if got, err := readAll(write(t, "a.json.bz2", string(bz2Rows)), Config{}); err != nil || !slices.Equal(got, []string{`{"a":1}`, `{"a":2}`}) {
		t.Errorf("bz2: %v %v", got, err)
	}
}

func TestReplaceInvalidUTF8(t *testing.T) {
	type r struct {
		Text string `parquet:"text"`
	}
	for name, text := range map[string]string{
		"a.jsonl":   "{\"text\":\"the \xff\xfe cat\"}\n{\"text\":\"the dog\"}\n",
		"a.json":    "[{\"text\":\"the \xff\xfe cat\"},{\"text\":\"the dog\"}]",
		"a.csv":     "text\nthe \xff\xfe cat\nthe dog\n",
		"a.txt":     "the \xff\xfe cat\n\nthe dog",
		"a.parquet": parquetBytes(t, []r{{"the \xff\xfe cat"}, {"the dog"}}),
	} {
		c := Default()
		c.Train, c.Order, c.Documents = Sources{{Path: write(t, name, text)}}, "file", "blocks"
		if _, err := nextOf(c, t); err == nil || !strings.Contains(err.Error(), "expected UTF-8") {
			t.Errorf("%s: policy error: %v", name, err)
		}
		c.UTF8 = "replace"
		s := open(t, c, "train")
		packs := epoch(t, s)
		if got := s.encoder.tok.Decode(packs[0].IDs, false); !strings.HasPrefix(got, "the \ufffd cat<|end|>") && !strings.HasPrefix(got, "the \ufffd cat\n<|end|>") {
			t.Errorf("%s: got %q", name, got)
		}
		if n := s.Stats().Repaired; n != 1 {
			t.Errorf("%s: %d rows repaired, want 1", name, n)
		}
	}
}

// TestExpand finds files by folder and glob.
func TestExpand(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"README.md", "a.jsonl", "b/c.csv.gz", "b/d/e.parquet", "b/d/x.parquet.gz", "b/notes.doc"} {
		p := filepath.Join(dir, filepath.FromSlash(name))
		os.MkdirAll(filepath.Dir(p), 0o755)
		os.WriteFile(p, nil, 0o644)
	}
	for path, want := range map[string]string{"": "a.jsonl b/c.csv.gz b/d/e.parquet", "*.jsonl": "a.jsonl", "**/*.{parquet,csv.gz}": "b/c.csv.gz b/d/e.parquet", "b/?/*": "b/d/e.parquet b/d/x.parquet.gz"} {
		got, err := expand(filepath.Join(dir, filepath.FromSlash(path)))
		for i := range got {
			got[i], _ = filepath.Rel(dir, got[i])
			got[i] = filepath.ToSlash(got[i])
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: got %v, %v, want %s", path, got, err, want)
		}
	}
	if _, err := expand(filepath.Join(dir, "*.arrow")); err == nil || !strings.Contains(err.Error(), "found none that match") {
		t.Errorf("no match: %v", err)
	}
}

// nextOf opens a stream and takes its first pack.
func nextOf(c Config, t testing.TB) (*Pack, error) {
	t.Helper()
	s, err := Open(c, Options{Split: "train", Tokenizer: testTokenizer(t)})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Next(t.Context())
}

func parquetBytes[R any](t testing.TB, rows []R, options ...parquet.WriterOption) string {
	t.Helper()
	var b bytes.Buffer
	if err := parquet.Write(&b, rows, options...); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// parquet1000 makes row groups of a thousand rows.
var parquet1000 = parquet.MaxRowsPerRowGroup(1000)
