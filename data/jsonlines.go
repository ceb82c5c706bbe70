package data

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"sync"

	"tune/internal/remote"
)

// lineBlock is the length of a block of a file of lines; a line belongs to the block its first byte lies in.
const lineBlock = 4 << 20

// lineFile is a file of JSON lines. A compressed one is a single block.
type lineFile struct {
	*input
	step  int64 // lineBlock; less in tests
	infos []block

	mu      sync.Mutex
	counted lineBegin // as far as lines were counted for an error
}

func openLines(in *input) (file, error) {
	l := &lineFile{input: in}
	l.cut(lineBlock)
	return l, nil
}

// cut makes blocks of step bytes.
func (l *lineFile) cut(step int64) {
	if l.codec != nil {
		step = max(l.Size(), 1)
	}
	l.step, l.infos = step, nil
	for at := int64(0); at < l.Size(); at += step {
		l.infos = append(l.infos, block{rows: -1, bytes: min(step, l.Size()-at)})
	}
}

func (l *lineFile) blocks() []block   { return l.infos }
func (l *lineFile) columns() []string { return nil }
func (l *lineFile) close() error      { return l.Close() }

// linesBefore counts the lines that end before an offset. Rows of a chunk that fail together share the count.
func (l *lineFile) linesBefore(offset int64) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if offset < l.counted.offset {
		l.counted = lineBegin{}
	}
	buf := make([]byte, max(min(1<<20, offset-l.counted.offset), 0))
	for l.counted.offset < offset {
		n := min(int64(len(buf)), offset-l.counted.offset)
		if k, err := l.ReadAt(buf[:n], l.counted.offset); int64(k) < n {
			return 0, err
		}
		l.counted.line += bytes.Count(buf[:n], []byte{'\n'})
		l.counted.offset += n
	}
	return l.counted.line, nil
}

func (l *lineFile) open(block int, from mark, keep func(string) bool) (batchReader, error) {
	r := &lineReader{file: l, block: block, keep: keep, at: from.offset, line: from.line, limit: int64(block+1) * l.step}
	r.known = from.line > 0 || block == 0 && from.offset == 0
	if l.codec != nil {
		r.limit = 1 << 62
	}
	if from.offset == 0 { // the begin of the block; states of earlier versions count rows from there
		r.skip = from.row
		// the byte before says whether a line begins at the block's first byte
		r.at = max(int64(block)*l.step-1, 0)
	}
	in, err := l.from(r.at)
	if err != nil {
		return nil, err
	}
	r.in, r.r = in, bufio.NewReaderSize(in, 1<<16)
	if from.offset == 0 && block > 0 {
		n, err := skipLine(r.r, r.limit-r.at)
		if err != nil {
			in.Close()
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
		r.at += n
	}
	return r, nil
}

// skipLine passes over the rest of a line, or at least most bytes of it, and counts its bytes.
func skipLine(r *bufio.Reader, most int64) (n int64, _ error) {
	for n < most {
		part, err := r.ReadSlice('\n')
		n += int64(len(part))
		if err == nil || err == io.EOF {
			return n, nil
		}
		if err != bufio.ErrBufferFull {
			return n, err
		}
	}
	return n, nil
}

// readLine returns a line with its line break; io.EOF when there is none.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxRow:
			return nil, fmt.Errorf("expected lines of at most %d bytes", maxRow)
		case err == nil, err == io.EOF && len(line) > 0:
			return line, nil
		case err != bufio.ErrBufferFull:
			return nil, err
		}
	}
}

type lineReader struct {
	file  *lineFile
	in    io.Closer
	block int
	keep  func(string) bool
	r     *bufio.Reader
	at    int64 // where the next line begins
	limit int64 // end of the block
	line  int   // lines before the next one, in the file when that is known, else in what was read
	known bool  // whether line counts from the file's begin
	skip  int   // rows still to be passed over
}

// mark is where the next line begins.
func (r *lineReader) mark() mark {
	if !r.known {
		return mark{offset: r.at}
	}
	return mark{offset: r.at, line: r.line}
}

func (r *lineReader) next() (batch, error) {
	var lines [][]byte
	var begins []lineBegin
	var out batch
	var broken error // what ended the reading, which the rows before it go ahead of
	for total := 0; len(begins) < batchRows && total < batchBytes && r.at < r.limit; {
		begin := lineBegin{r.at, r.line}
		line, err := readLine(r.r)
		if err == io.EOF {
			break
		}
		if err != nil {
			broken = fmt.Errorf("%s: %w", r.exact(begin), whole(err))
			break
		}
		r.at += int64(len(line))
		r.line++
		if begin.offset == 0 {
			line = bytes.TrimPrefix(line, byteOrderMark)
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if r.skip > 0 {
			r.skip--
			continue
		}
		lines, begins = append(lines, line), append(begins, begin)
		out.ends = append(out.ends, r.mark())
		total += len(line)
	}
	rows, err := r.rows(lines, begins, &out)
	if err == nil {
		err = broken
	}
	if err != nil {
		return batch{}, err
	}
	if len(begins) == 0 {
		return batch{lines: r.mark().line}, io.EOF
	}
	out.RecordBatch = rows.build()
	out.key = func(i int) string { return r.key(begins[i]) }
	out.exact = func(i int) string { return r.exact(begins[i]) }
	return out, nil
}

// rows parses lines on all processors.
func (r *lineReader) rows(lines [][]byte, begins []lineBegin, out *batch) (*jsonRows, error) {
	rows := &jsonRows{keep: r.keep}
	objects := make([]object, len(lines))
	errs := make([]error, len(lines))
	parallel(len(lines), func(i int) {
		line, repaired, err := r.file.text(lines[i])
		if err == nil {
			objects[i], err = splitObject(line)
			objects[i].repaired = repaired
		}
		errs[i] = err
	})
	for i, o := range objects {
		err := errs[i]
		if err == nil {
			err = rows.add(o)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.exact(begins[i]), err)
		}
		out.repair(i, o.repaired)
	}
	return rows, nil
}

// lineBegin is the first byte of a line in the file, and lineReader.line there.
type lineBegin struct {
	offset int64
	line   int
}

// repair notes that a row held invalid UTF-8.
func (b *batch) repair(row int, repaired bool) {
	if repaired {
		if b.repaired == nil {
			b.repaired = map[int]bool{}
		}
		b.repaired[row] = true
	}
}

// key names a line without reading for it: by its number, or by its first byte, counted from 1, where it is not known how
// many lines stand before the block.
func (r *lineReader) key(at lineBegin) string {
	if r.known {
		return fmt.Sprintf("%s:%d", r.file.name, at.line+1)
	}
	return fmt.Sprintf("%s: byte %d", r.file.name, at.offset+1)
}

// exact names a line by its number for an error, and counts the lines before it for that; of a file that lies elsewhere it
// would be fetched once more, so there the byte must do.
func (r *lineReader) exact(at lineBegin) string {
	if _, far := r.file.blob.(*remote.File); r.known || far {
		return r.key(at)
	}
	n, err := r.file.linesBefore(at.offset)
	if err != nil {
		return r.key(at)
	}
	return fmt.Sprintf("%s:%d", r.file.name, n+1)
}

func (r *lineReader) close() { r.in.Close() }
