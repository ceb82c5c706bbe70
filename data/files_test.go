package data

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
)

// TestLineBlocks cuts a file at every place: each row must be read once and named by its line.
func TestLineBlocks(t *testing.T) {
	var text strings.Builder
	var want []string
	for i := range 40 {
		fmt.Fprintf(&text, "{\"n\":%d,\"s\":%q}\r\n", i, strings.Repeat("x", i%7))
		want = append(want, fmt.Sprintf(`{"n":%d,"s":%q}`, i, strings.Repeat("x", i%7)))
		if i%5 == 0 {
			text.WriteString("\n \n")
		}
	}
	path := write(t, "a.jsonl", text.String())
	for step := int64(1); step < 400; step += 13 {
		f, err := openPath(path, Config{})
		if err != nil {
			t.Fatal(err)
		}
		l := f.(*lineFile)
		l.cut(step)
		lines := strings.Split(text.String(), "\n")
		named := func(row int, key string) bool {
			var line int
			fmt.Sscanf(key[strings.LastIndex(key, ":")+1:], "%d", &line)
			return line >= 1 && line <= len(lines) && strings.TrimSpace(lines[line-1]) == want[row]
		}
		done, before := 0, 0
		for b := range l.infos {
			for k, start := range []mark{{line: before}, {}} { // read after the block before it, and alone
				r, err := f.open(b, start, nil)
				if err != nil {
					t.Fatal(err)
				}
				got, err := r.next()
				if err == io.EOF {
					before = max(before, got.lines)
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				n := int(got.NumRows())
				for i := range n {
					if x, _, _ := (row{got, i}).json("s"); done+i >= len(want) || !strings.HasSuffix(want[done+i], string(x)+"}") {
						t.Fatalf("blocks of %d bytes: row %d is %s", step, done+i, x)
					}
					key := got.key(i)
					if at, byByte := strings.CutPrefix(key, l.name+": byte "); byByte && start.line == 0 && b > 0 {
						if n, _ := strconv.Atoi(at); n < 1 || !strings.HasPrefix(text.String()[n-1:], want[done+i]) {
							t.Fatalf("blocks of %d bytes: row %d is named %s", step, done+i, key)
						}
					} else if !named(done+i, key) {
						t.Fatalf("blocks of %d bytes: row %d is named %s", step, done+i, key)
					}
					if !named(done+i, got.where(i)) {
						t.Fatalf("blocks of %d bytes: row %d is named %s in errors", step, done+i, got.where(i))
					}
				}
				if k == 1 {
					for skip := 1; skip < n; skip++ {
						rows, keys := blockRows(t, f, b, skip)
						old, _ := rowsFrom(t, f, b, mark{row: skip}) // as earlier versions saved it
						if !slices.Equal(rows, want[done+skip:done+n]) || !slices.Equal(old, rows) || keys[0] != got.key(skip) {
							t.Fatalf("blocks of %d bytes: %v and %v, named %v, from row %d of block %d on", step, rows, old, keys, skip, b)
						}
					}
					done += n
				}
				if got, err = r.next(); err != io.EOF {
					t.Fatalf("expected the end of block %d, found %v", b, err)
				}
				before = max(before, got.lines)
				r.close()
			}
		}
		if done != len(want) {
			t.Fatalf("blocks of %d bytes: %d rows", step, done)
		}
		f.close()
	}
}

// markOf finds where a row of a block begins.
func markOf(t testing.TB, f file, block, row int) mark {
	t.Helper()
	var p Place
	r, err := f.open(block, mark{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	for {
		b, err := r.next()
		if err != nil && p.Row < row {
			t.Fatal(err)
		}
		for i := 0; p.Row < row && i < int(b.NumRows()); i++ {
			p.pass(b, i)
		}
		if p.Row == row {
			return p.mark()
		}
	}
}

// blockRows reads a block from a row on.
func blockRows(t testing.TB, f file, block, skip int) (rows, keys []string) {
	t.Helper()
	return rowsFrom(t, f, block, markOf(t, f, block, skip))
}

func rowsFrom(t testing.TB, f file, block int, from mark) (rows, keys []string) {
	t.Helper()
	r, err := f.open(block, from, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	for {
		b, err := r.next()
		if err != nil {
			return rows, keys
		}
		for i := range int(b.NumRows()) {
			var parts []string
			for _, c := range b.Schema().Fields() {
				if text, ok, err := (row{b, i}).json(c.Name); err != nil {
					t.Fatal(err)
				} else if ok {
					parts = append(parts, fmt.Sprintf("%q:%s", c.Name, text))
				}
			}
			rows, keys = append(rows, "{"+strings.Join(parts, ",")+"}"), append(keys, b.key(i))
		}
	}
}

const someRows = `{"a":"x","b":1,"c":[{"z":1,"y":2}],"d":0.5}
{"a":null,"b":2,"c":null,"e":true}
{"a":"\"<&>\n","b":-3,"c":{"k":"\u00e9"}}
`

func TestJSONKinds(t *testing.T) {
	want := []string{`{"a":"x","b":1,"c":[{"z":1,"y":2}],"d":0.5}`, `{"b":2,"e":true}`, `{"a":"\"<&>\n","b":-3,"c":{"k":"\u00e9"}}`}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write([]byte(someRows))
	z.Close()
	array := "\ufeff [" + strings.ReplaceAll(strings.TrimSpace(someRows), "\n{", ",\n{") + "]"
	for name, text := range map[string]string{"a.jsonl": someRows, "b.jsonl.gz": zipped.String(), "c.json": array, "d.json": someRows, "e.jsonl": "\ufeff" + someRows} {
		got, err := readAll(write(t, name, text), Config{})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v\n%s", name, err, strings.Join(got, "\n"))
		}
		f, err := openPath(write(t, name, text), Config{})
		if err != nil {
			t.Fatal(err)
		}
		if rows, _ := blockRows(t, f, 0, 2); !slices.Equal(rows, want[2:]) {
			t.Errorf("%s: from row 2: %v", name, rows)
		}
		f.close()
	}
}

// arrowBytes is a file or stream of three batches with a dictionary, a list and nulls.
func arrowBytes(t testing.TB, stream bool, opts ...ipc.Option) []byte {
	t.Helper()
	dict := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "kind", Type: dict},
		{Name: "messages", Type: arrow.ListOf(arrow.StructOf(arrow.Field{Name: "role", Type: arrow.BinaryTypes.String}, arrow.Field{Name: "content", Type: arrow.BinaryTypes.LargeString}))},
	}, nil)
	var buf bytes.Buffer
	opts = append(opts, ipc.WithSchema(schema))
	var w interface {
		Write(arrow.RecordBatch) error
		Close() error
	}
	if stream {
		w = ipc.NewWriter(&buf, opts...)
	} else {
		fw, err := ipc.NewFileWriter(&buf, opts...)
		if err != nil {
			t.Fatal(err)
		}
		w = fw
	}
	for k := range 3 {
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		for i := range 4 {
			n := 4*k + i
			if i == 2 {
				b.Field(0).AppendNull()
			} else {
				b.Field(0).(*array.StringBuilder).Append(fmt.Sprint("text ", n))
			}
			b.Field(1).(*array.BinaryDictionaryBuilder).AppendString([]string{"even", "odd"}[n%2])
			l := b.Field(2).(*array.ListBuilder)
			l.Append(true)
			s := l.ValueBuilder().(*array.StructBuilder)
			s.Append(true)
			s.FieldBuilder(0).(*array.StringBuilder).Append("user")
			s.FieldBuilder(1).(*array.LargeStringBuilder).Append(fmt.Sprint("hello ", n))
		}
		if err := w.Write(b.NewRecordBatch()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestArrow(t *testing.T) {
	for _, stream := range []bool{true, false} {
		for name, opts := range map[string][]ipc.Option{"plain": nil, "zstd": {ipc.WithZstd()}, "lz4": {ipc.WithLZ4()}} {
			path := write(t, "a.arrow", string(arrowBytes(t, stream, opts...)))
			got, err := readAll(path, Config{})
			if err != nil || len(got) != 12 {
				t.Fatalf("stream %v, %s: %d rows, %v", stream, name, len(got), err)
			}
			if want := `{"text":"text 5","kind":"odd","messages":[{"role":"user","content":"hello 5"}]}`; got[5] != want {
				t.Errorf("stream %v, %s: %s", stream, name, got[5])
			}
			f, err := openPath(path, Config{})
			if err != nil {
				t.Fatal(err)
			}
			rows, keys := blockRows(t, f, 2, 1)
			if !slices.Equal(rows, got[9:]) || !strings.HasSuffix(keys[0], "a.arrow: row 10") {
				t.Errorf("stream %v, %s: from row 9: %v %v", stream, name, rows, keys)
			}
			f.close()
		}
	}
}

// smallFiles are whole files of the kinds that hold foreign structure, by name.
func smallFiles(t testing.TB) map[string][]byte {
	type r struct {
		Text string   `parquet:"text,dict"`
		N    *int64   `parquet:"n,optional"`
		List []string `parquet:"list,list"`
	}
	pq := func(codec compress.Codec) []byte {
		var buf bytes.Buffer
		n := int64(5)
		if err := parquet.Write(&buf, []r{{"a", &n, []string{"x", "y"}}, {"b", nil, nil}, {"a", &n, []string{"z"}}}, parquet.Compression(codec)); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	return map[string][]byte{"a.parquet": pq(&parquet.Snappy), "lz4.parquet": pq(&parquet.Lz4Raw), "s.arrow": arrowBytes(t, true),
		"f.arrow": arrowBytes(t, false), "z.arrow": arrowBytes(t, true, ipc.WithZstd())}
}

// FuzzFiles reads files of any content under the name of each kind: rows or an error, never a panic.
func FuzzFiles(f *testing.F) {
	kinds := []string{"x.parquet", "x.arrow", "x.jsonl", "x.json", "x.jsonl.gz", "x.txt", "x.csv", "x.tsv", "x.csv.zst", "x.json.bz2"}
	for name, whole := range smallFiles(f) {
		f.Add(uint8(slices.IndexFunc(kinds, func(k string) bool { return filepath.Ext(k) == filepath.Ext(name) })), whole)
	}
	f.Add(uint8(2), []byte("{\"text\": \"a\"}\n{\"text\": "))
	f.Add(uint8(3), []byte("[{\"text\": \"a\"}, 7]"))
	f.Add(uint8(4), []byte{0x1f, 0x8b, 8, 0})
	f.Add(uint8(6), []byte("a,b\n\"x\ny\",2\n\"z"))
	f.Add(uint8(7), []byte("\xef\xbb\xbfa\tb\r\n1\t2\r\n"))
	f.Add(uint8(8), []byte(packed(f, ".zst", "a,b\n1,2\n")))
	f.Add(uint8(9), bz2Rows)
	f.Fuzz(func(t *testing.T, kind uint8, content []byte) {
		path := filepath.Join(t.TempDir(), kinds[int(kind)%len(kinds)])
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		if rows, err := readAll(path, Config{}); err == nil && len(rows) > 0 && len(content) == 0 {
			t.Errorf("an empty file gave %d rows", len(rows))
		}
	})
}

// TestDamage flips bits of small files: reading must end with rows or an error.
func TestDamage(t *testing.T) {
	for name, whole := range smallFiles(t) {
		path := filepath.Join(t.TempDir(), name)
		failed := 0
		for i := 0; i < len(whole); i += 7 {
			b := slices.Clone(whole)
			b[i] ^= 1 << (i % 8)
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := readAll(path, Config{}); err != nil {
				failed++
				if !strings.Contains(err.Error(), name) {
					t.Errorf("%s, byte %d: the error names no file: %v", name, i, err)
				}
			}
		}
		t.Logf("%s: %d of %d flips are errors", name, failed, (len(whole)+6)/7)
		for i := 0; i < len(whole); i += 7 {
			if err := os.WriteFile(path, whole[:i], 0o644); err != nil {
				t.Fatal(err)
			}
			readAll(path, Config{})
		}
	}
}
