package data

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"tune/internal/testkit"
)

// openPath opens a local file.
func openPath(path string, c Config) (file, error) {
	b, err := openLocal(path)
	if err != nil {
		return nil, err
	}
	return openFile(path, b, c)
}

// readAll returns all rows of a file as JSON objects.
func readAll(path string, c Config) (rows []string, err error) {
	f, err := openPath(path, c)
	if err != nil {
		return nil, err
	}
	defer f.close()
	for b := range f.blocks() {
		r, err := f.open(b, mark{}, nil)
		if err != nil {
			return rows, err
		}
		for {
			b, err := r.next()
			if err == io.EOF {
				break
			}
			if err != nil {
				r.close()
				return rows, err
			}
			for i := range int(b.NumRows()) {
				var parts []string
				for _, f := range b.Schema().Fields() {
					text, ok, err := row{b, i}.json(f.Name)
					if err != nil {
						return rows, fmt.Errorf("%s: %w", b.key(i), err)
					}
					if ok {
						parts = append(parts, fmt.Sprintf("%q:%s", f.Name, text))
					}
				}
				rows = append(rows, "{"+strings.Join(parts, ",")+"}")
			}
		}
		r.close()
	}
	return rows, nil
}

// TestParquetOdd reads awkward files and compares with what another implementation read.
func TestParquetOdd(t *testing.T) {
	dir := testkit.Shared(t, "data/parquet-odd")
	f, err := os.Open(filepath.Join(dir, "expected.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var want struct {
			File      string
			Rows      int
			FirstRows []map[string]any `json:"first_rows"`
		}
		if err := json.Unmarshal(s.Bytes(), &want); err != nil {
			t.Fatal(err)
		}
		t.Run(want.File, func(t *testing.T) {
			got, err := readAll(filepath.Join(dir, want.File), Config{})
			if refused := map[string]string{
				"datapage_v1-corrupt-checksum.parquet": "checksum mismatch", // damage is an error even where values could be decoded
			}[want.File]; refused != "" {
				if err == nil || !strings.Contains(err.Error(), refused) {
					t.Errorf("got error %v, want one about %s", err, refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != want.Rows {
				t.Errorf("%d rows, want %d", len(got), want.Rows)
			}
			for i, w := range want.FirstRows {
				var g map[string]any
				if err := json.Unmarshal([]byte(got[i]), &g); err != nil {
					t.Fatalf("%s: %v", got[i], err)
				}
				if !sameValue(any(g), any(w)) {
					t.Errorf("row %d: got %s, want %v", i, got[i], w)
				}
			}
		})
	}
}

// sameValue compares what two ways of writing JSON say: a missing field is null, a map may be a list of pairs.
func sameValue(got, want any) bool {
	switch w := want.(type) {
	case nil:
		return got == nil
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return false
		}
		for k, v := range w {
			if !sameValue(g[k], v) {
				return false
			}
		}
		return true
	case []any:
		if g, ok := got.(map[string]any); ok {
			for _, pair := range w {
				p := pair.([]any)
				if v, ok := g[p[0].(string)]; !ok || !sameValue(v, p[1]) {
					return false
				}
			}
			return len(g) == len(w)
		}
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return false
		}
		for i := range w {
			if !sameValue(g[i], w[i]) {
				return false
			}
		}
		return true
	}
	g, isNumber := got.(float64)
	w, alsoNumber := want.(float64)
	if isNumber && alsoNumber {
		return float32(g) == float32(w) // a float32 is written with as few digits as name it
	}
	if micros, ok := want.(string); ok && len(micros) > 15 { // microseconds since 1970
		if x, err := strconv.ParseInt(micros, 10, 64); err == nil {
			want = time.UnixMicro(x).UTC().Format("2006-01-02T15:04:05.999999999")
		}
	}
	return reflect.DeepEqual(got, want)
}

func TestParquetBad(t *testing.T) {
	dir := testkit.Shared(t, "data/parquet-odd/bad")
	files, err := filepath.Glob(filepath.Join(dir, "*.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		rows, err := readAll(f, Config{})
		if err == nil {
			t.Errorf("%s: read %d rows without an error", filepath.Base(f), len(rows))
			continue
		}
		t.Log(err)
	}
}

func TestParquetRefusesExpansion(t *testing.T) {
	_, err := readAll(testkit.Shared(t, "data/parquet-odd/large_string_map.brotli.parquet"), Config{})
	if err == nil {
		t.Fatal("no error")
	}
	t.Log(err)
}

// TestParquetLongStatistics reads a file whose page header holds the least and the greatest of values of a megabyte.
func TestParquetLongStatistics(t *testing.T) {
	type long struct {
		Text string `parquet:"text"`
	}
	var b bytes.Buffer
	w := parquet.NewGenericWriter[long](&b, parquet.DataPageStatistics(true))
	rows := []long{{strings.Repeat("a", 1<<20)}, {strings.Repeat("b", 1<<20)}}
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := readAll(write(t, "a.parquet", b.String()), Config{})
	if err != nil || len(got) != 2 {
		t.Errorf("%d rows, %v", len(got), err)
	}
}
