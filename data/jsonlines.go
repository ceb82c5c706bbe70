package data

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"sync"
)

// lineBlock is the length of a block of a file of lines; a line belongs to the block its first byte lies in.
const lineBlock = 4 << 20

var byteOrderMark = []byte("\ufeff")

// lineFile is a file of JSON lines. A compressed one is a single block.
type lineFile struct {
	*input
	step  int64 // lineBlock; less in tests
	infos []block
	mu    sync.Mutex
	lines []int // lines before each block, as far as they were counted
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
	l.step, l.infos, l.lines = step, nil, []int{0}
	for at := int64(0); at < l.Size(); at += step {
		l.infos = append(l.infos, block{rows: -1, bytes: min(step, l.Size()-at)})
	}
}

func (l *lineFile) blocks() []block   { return l.infos }
func (l *lineFile) columns() []string { return nil }
func (l *lineFile) close() error      { return l.Close() }

// linesBefore counts the lines that begin before a block.
func (l *lineFile) linesBefore(block int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if block < len(l.lines) {
		return l.lines[block]
	}
	buf := make([]byte, 1<<20)
	for b := len(l.lines); b <= block; b++ {
		// a line begins after every line break; the block's first line is counted by its own reader
		n := l.lines[b-1]
		from, to := int64(b-1)*l.step, int64(b)*l.step
		if b > 1 {
			from--
		}
		for at := from; at < to-1; {
			k, err := l.ReadAt(buf[:min(int64(len(buf)), to-1-at)], at)
			n += bytes.Count(buf[:k], []byte{'\n'})
			at += int64(k)
			if err != nil {
				break
			}
		}
		if b == 1 {
			n++
		}
		l.lines = append(l.lines, n)
	}
	return l.lines[block]
}

func (l *lineFile) open(block int, from mark, keep func(string) bool) (batchReader, error) {
	if l.codec != nil {
		r := &lineReader{file: l, keep: keep, limit: 1 << 62, at: from.offset, line: from.line}
		in, err := l.from(from.offset)
		if err != nil {
			return nil, err
		}
		r.in, r.r = in, bufio.NewReaderSize(in, 1<<16)
		return r, nil
	}
	r := &lineReader{file: l, block: block, keep: keep, limit: l.step, skip: from.row}
	begin := int64(block) * l.step
	if block > 0 {
		begin-- // the byte before says whether a line begins at the block's first byte
	}
	r.r = bufio.NewReaderSize(io.NewSectionReader(l, begin, l.Size()-begin), 1<<16)
	if block > 0 {
		n, err := skipLine(r.r, r.limit+1)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
		r.at = n - 1
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
	in    io.Closer // of a compressed file
	block int
	keep  func(string) bool
	r     *bufio.Reader
	at    int64 // bytes from the block's begin to the next line
	limit int64
	line  int // lines of the block before the next one
	skip  int // rows still to be passed over
}

func (r *lineReader) next() (batch, error) {
	rows := &jsonRows{keep: r.keep}
	var out batch
	var lines []int // per row: lines of the block before it
	for total := 0; len(lines) < batchRows && total < batchBytes && r.at < r.limit; {
		line, err := readLine(r.r)
		if err == io.EOF {
			break
		}
		if err != nil {
			return batch{}, fmt.Errorf("%s: %w", r.key(r.line), whole(err))
		}
		first := r.block == 0 && r.at == 0
		n := r.line
		r.at += int64(len(line))
		r.line++
		if first {
			line = bytes.TrimPrefix(line, byteOrderMark)
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if r.skip > 0 {
			r.skip--
			continue
		}
		line, repaired, err := r.file.text(line)
		if err == nil {
			err = rows.add(line)
		}
		if err != nil {
			return batch{}, fmt.Errorf("%s: %w", r.key(n), err)
		}
		out.repair(len(lines), repaired)
		lines = append(lines, n)
		if r.in != nil {
			out.ends = append(out.ends, mark{offset: r.at, line: r.line})
		}
		total += len(line)
	}
	if len(lines) == 0 {
		return batch{}, io.EOF
	}
	out.RecordBatch, out.key = rows.build(), func(i int) string { return r.key(lines[i]) }
	return out, nil
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

func (r *lineReader) key(line int) string {
	return fmt.Sprintf("%s:%d", r.file.name, r.file.linesBefore(r.block)+line+1)
}

func (r *lineReader) close() {
	if r.in != nil {
		r.in.Close()
	}
}
