package data

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/parquet-go/parquet-go"
)

// big says whether the tests run at the size that the claims are about: TUNE_BIG=1. They do by hand, for they take minutes
// and gigabytes of disk.
func big() bool { return os.Getenv("TUNE_BIG") != "" }

// TestMemoryIsBounded streams files much larger than the memory it may take: 3 GB within 200 MB when asked for, else 32 MB
// within 60 MB of heap, of which the windows take 32.
func TestMemoryIsBounded(t *testing.T) {
	size, most, window := int64(32<<20), int64(60<<20), 5000
	if big() {
		size, most, window = 3<<30, 200<<20, windowRows
	}
	for _, kind := range []string{"a.jsonl", "a.csv", "a.parquet", "a.jsonl.gz", "a.arrow"} {
		for _, order := range []string{"windows", "shuffled"} {
			t.Run(kind+"/"+order, func(t *testing.T) { readBounded(t, kind, order, window, size, most) })
		}
	}
}

func readBounded(t *testing.T, kind, order string, window int, size, most int64) {
	path := filepath.Join(t.TempDir(), kind)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	rows := writeBig(t, kind, w, size, strings.Repeat("the quick brown fox, ", 60))
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	c := Default()
	c.Train, c.Order, c.Cache = Sources{{Path: path, Filter: "chars(fill) > 20"}}, order, t.TempDir()
	s := open(t, c, "train")
	s.loader.rows = window
	debug.FreeOSMemory()
	os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // forgets what writing took; only Linux has it
	read, peak := 0, uint64(0)
	for read < rows {
		if _, err := s.Next(t.Context()); err != nil {
			t.Fatalf("after %d of %d rows: %v", read, rows, err)
		}
		if n := s.Stats().Rows; n != read {
			read = n
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse)
		}
	}
	info, _ := os.Stat(path)
	t.Logf("%d MB: %d rows, heap up to %d MB, process up to %s", info.Size()>>20, read, peak>>20, highWater())
	if int64(peak) > most {
		t.Errorf("%d MB of heap, want at most %d", peak>>20, most>>20)
	}
}

// highWater is the most memory that this process has had resident, where the system says.
func highWater() string {
	b, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return "an unknown amount"
}

type bigRow struct {
	IDs  []int32 `parquet:"input_ids,list"`
	Fill string  `parquet:"fill"`
}

// writeBig writes about size bytes of rows, before compression, and returns their number.
func writeBig(t *testing.T, kind string, w *bufio.Writer, size int64, fill string) (rows int) {
	t.Helper()
	write, done := bigWriter(t, kind, w)
	for n := int64(0); n < size; rows++ {
		n += int64(len(fill)) + 40
		write(bigRow{[]int32{int32(rows % 200), int32(rows / 200 % 200), 7}, fmt.Sprint(rows, fill)})
	}
	done()
	return rows
}

// bigWriter returns what writes a row, and what ends the file.
func bigWriter(t *testing.T, kind string, w *bufio.Writer) (write func(bigRow), done func()) {
	t.Helper()
	ok := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	line := func(w io.Writer, r bigRow) {
		fmt.Fprintf(w, "{\"input_ids\":[%d,%d,%d],\"fill\":%q}\n", r.IDs[0], r.IDs[1], r.IDs[2], r.Fill)
	}
	switch kind {
	case "a.parquet":
		pq := parquet.NewGenericWriter[bigRow](w, parquet.MaxRowsPerRowGroup(50_000))
		return func(r bigRow) {
			_, err := pq.Write([]bigRow{r})
			ok(err)
		}, func() { ok(pq.Close()) }
	case "a.csv":
		w.WriteString("input_ids,fill\n")
		return func(r bigRow) { fmt.Fprintf(w, "\"[%d,%d,%d]\",%q\n", r.IDs[0], r.IDs[1], r.IDs[2], r.Fill) }, func() {}
	case "a.jsonl.gz":
		var text strings.Builder
		flush := func() {
			w.WriteString(packed(t, ".gz", text.String())) // members of one file
			text.Reset()
		}
		return func(r bigRow) {
			if line(&text, r); text.Len() > 1<<20 {
				flush()
			}
		}, flush
	case "a.arrow":
		schema := arrow.NewSchema([]arrow.Field{{Name: "input_ids", Type: arrow.ListOf(arrow.PrimitiveTypes.Int32)}, {Name: "fill", Type: arrow.BinaryTypes.String}}, nil)
		out, err := ipc.NewFileWriter(w, ipc.WithSchema(schema))
		ok(err)
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		rows := 0
		flush := func() {
			ok(out.Write(b.NewRecordBatch()))
			rows = 0
		}
		return func(r bigRow) {
				l := b.Field(0).(*array.ListBuilder)
				l.Append(true)
				l.ValueBuilder().(*array.Int32Builder).AppendValues(r.IDs, nil)
				b.Field(1).(*array.StringBuilder).Append(r.Fill)
				if rows++; rows == 10_000 {
					flush()
				}
			}, func() {
				flush()
				ok(out.Close())
			}
	}
	return func(r bigRow) { line(w, r) }, func() {}
}

// TestResumeReadsNothingTwice continues in the middle of a long file, 10 million rows when asked for: what is read then is a
// window, or where rows are drawn one by one nothing but tokens, whatever stands before it, and the packs are those of a stream
// that was never cut.
func TestResumeReadsNothingTwice(t *testing.T) {
	rows, window := 100_000, 2_000
	if big() {
		rows, window = 10_000_000, windowRows
	}
	for _, kind := range []string{"a.jsonl", "a.csv", "a.parquet"} {
		for _, order := range []string{"windows", "shuffled"} {
			t.Run(kind+"/"+order, func(t *testing.T) { resumeBig(t, kind, order, rows, window) })
		}
	}
}

func resumeBig(t *testing.T, kind, order string, rows, window int) {
	path := filepath.Join(t.TempDir(), kind)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	n := writeBig(t, kind, w, 40*int64(rows), "")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	c := Default()
	c.Train, c.Seq, c.Order, c.Cache = Sources{{Path: path}}, 512, order, t.TempDir()
	start := func() (*Stream, *countingBlob) {
		s := open(t, c, "train")
		s.loader.rows = window
		count := &countingBlob{}
		switch f := s.sources[0].files[0].(type) {
		case *lineFile:
			count.blob, f.blob = f.blob, count
			if !big() {
				s.sources[0].recut(1 << 16) // as many blocks as a long file has
			}
		case *csvFile:
			count.blob, f.blob = f.blob, count
		case *parquetFile:
			count.blob, f.blob = f.blob, count
		}
		return s, count
	}
	s, _ := start()
	for s.Stats().Rows < n/2 {
		if _, err := s.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(s.State())
	if err != nil {
		t.Fatal(err)
	}
	var want []*Pack
	for range 20 {
		p, err := s.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, p)
	}
	s.Close()
	cut, count := start()
	count.n = 0
	var st State
	if err := json.Unmarshal(text, &st); err != nil {
		t.Fatal(err)
	}
	if err := cut.Seek(st); err != nil {
		t.Fatal(err)
	}
	for i := range want {
		p, err := cut.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(p, want[i]) {
			t.Fatalf("%s: pack %d after the cut differs", kind, i)
		}
	}
	cut.Close() // waits for what is read ahead
	info, _ := os.Stat(path)
	t.Logf("%s: %d rows, %d bytes; continued in the middle by reading %d bytes; the state takes %d", kind, n, info.Size(), count.n, len(text))
	const blocks = 4 * lineBlock // a window and the one ahead, each in whole blocks
	if order == "shuffled" {
		if count.n > 0 {
			t.Errorf("%s: %d bytes read of the file whose tokens are cached", kind, count.n)
		}
	} else if !big() {
		if kind != "a.parquet" && count.n > info.Size()/4 { // that one is a single row group here
			t.Errorf("%s: %d of %d bytes read", kind, count.n, info.Size())
		}
	} else if count.n > blocks {
		t.Errorf("%s: %d bytes read, want at most %d", kind, count.n, blocks)
	}
}

// TestShuffledReadsOnce reads lines in a random order of blocks: once, and not again to count the lines before a block.
func TestShuffledReadsOnce(t *testing.T) {
	text := strings.Repeat(fmt.Sprintf("{\"input_ids\":[1,2,3],\"fill\":%q}\n", strings.Repeat("x", 2000)), 1500)
	c := Default()
	c.Train, c.Order = Sources{{Path: write(t, "a.jsonl", text)}}, "shuffled"
	s := open(t, c, "train")
	s.sources[0].recut(1 << 18)
	l := s.sources[0].files[0].(*lineFile)
	count := &countingBlob{blob: l.blob}
	l.blob = count
	keys := map[bool]int{}
	for _, p := range epoch(t, s) {
		for _, k := range p.Keys {
			keys[strings.Contains(k, "a.jsonl: byte ")]++
		}
	}
	most := int64(len(text)) * 3 / 2 // each block is read by buffers of 64 KB
	if s.Stats().Rows != 1500 || count.n > most || keys[true] == 0 || keys[false] == 0 {
		t.Errorf("%d rows, %d bytes read of %d, want at most %d; %d rows named by bytes, %d by lines", s.Stats().Rows, count.n, len(text), most, keys[true], keys[false])
	}
}

// TestChunksOfLongRows draws few rows at once when they are long: documents and conversations.
func TestChunksOfLongRows(t *testing.T) {
	long := strings.Repeat("the cat ", 1<<17) // 1 MiB
	one := fmt.Sprintf("{\"text\":%q}\n", long)
	chats := fmt.Sprintf("{\"messages\":[{\"role\":\"user\",\"content\":%q},{\"role\":\"assistant\",\"content\":\"x\"}]}\n", long)
	for name, line := range map[string]string{"text": one, "messages": chats} {
		c := Default()
		c.Train = Sources{{Path: write(t, "a.jsonl", strings.Repeat(line, 20))}}
		s := open(t, c, "train")
		var sizes []int
		r := &reader{source: s.sources[0], order: fileOrder, passes: 1}
		err := r.chunks(t.Context(), func(chunk []drawn) error {
			sizes = append(sizes, len(chunk))
			return nil
		})
		r.close()
		if want := []int{8, 8, 4}; err != nil || !reflect.DeepEqual(sizes, want) {
			t.Errorf("%s: chunks of %v rows of a megabyte, want %v, %v", name, sizes, want, err)
		}
	}
}
