package data

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"
)

const (
	// lineBlock is the length of a block of a file of lines; a line belongs to the block its first byte lies in.
	lineBlock = 4 << 20
	// maxLine bounds a line or a JSON value.
	maxLine = 64 << 20
)

var byteOrderMark = []byte("\ufeff")

// lineFile is a file of JSON lines. A compressed one is a single block.
type lineFile struct {
	path  string
	f     *os.File
	size  int64
	step  int64 // lineBlock; less in tests
	gz    bool
	infos []block
	mu    sync.Mutex
	lines []int // lines before each block, as far as they were counted
}

func openLines(path string, _ Config) (file, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	l := &lineFile{path: path, f: f, size: info.Size(), gz: strings.HasSuffix(strings.ToLower(path), ".gz")}
	l.cut(lineBlock)
	return l, nil
}

// cut makes blocks of step bytes.
func (l *lineFile) cut(step int64) {
	if l.gz {
		step = max(l.size, 1)
	}
	l.step, l.infos, l.lines = step, nil, []int{0}
	for at := int64(0); at < l.size; at += step {
		l.infos = append(l.infos, block{rows: -1, bytes: min(step, l.size-at)})
	}
}

func (l *lineFile) blocks() []block   { return l.infos }
func (l *lineFile) columns() []string { return nil }
func (l *lineFile) close() error      { return l.f.Close() }

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
			k, err := l.f.ReadAt(buf[:min(int64(len(buf)), to-1-at)], at)
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

func (l *lineFile) open(block, skip int, keep func(string) bool) (batchReader, error) {
	r := &lineReader{file: l, block: block, keep: keep, limit: l.step, skip: skip}
	if l.gz {
		z, err := gzip.NewReader(io.NewSectionReader(l.f, 0, l.size))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.path, err)
		}
		r.r, r.limit = bufio.NewReaderSize(z, 1<<16), 1<<62
		return r, nil
	}
	from := int64(block) * l.step
	if block > 0 {
		from-- // the byte before says whether a line begins at the block's first byte
	}
	r.r = bufio.NewReaderSize(io.NewSectionReader(l.f, from, l.size-from), 1<<16)
	if block > 0 {
		line, err := readLine(r.r)
		if err != nil && err != io.EOF {
			return nil, fmt.Errorf("%s: %w", l.path, err)
		}
		r.at = int64(len(line)) - 1
	}
	return r, nil
}

// readLine returns a line with its line break; io.EOF when there is none.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxLine:
			return nil, fmt.Errorf("expected lines of at most %d bytes", maxLine)
		case err == nil, err == io.EOF && len(line) > 0:
			return line, nil
		case err != bufio.ErrBufferFull:
			return nil, err
		}
	}
}

type lineReader struct {
	file  *lineFile
	block int
	keep  func(string) bool
	r     *bufio.Reader
	at    int64 // bytes from the block's begin to the next line
	limit int64
	line  int // lines read from the block
	skip  int // rows still to be passed over
}

func (r *lineReader) next() (batch, error) {
	rows := &jsonRows{keep: r.keep}
	var lines []int // per row: lines of the block before it
	for total := 0; len(lines) < batchRows && total < batchBytes && r.at < r.limit; {
		line, err := readLine(r.r)
		if err == io.EOF {
			break
		}
		if err != nil {
			return batch{}, fmt.Errorf("%s: %w", r.key(r.line), err)
		}
		if r.block == 0 && r.line == 0 {
			line = bytes.TrimPrefix(line, byteOrderMark)
		}
		n := r.line
		r.at += int64(len(line))
		r.line++
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if r.skip > 0 {
			r.skip--
			continue
		}
		if err := rows.add(line); err != nil {
			return batch{}, fmt.Errorf("%s: %w", r.key(n), err)
		}
		lines = append(lines, n)
		total += len(line)
	}
	if len(lines) == 0 {
		return batch{}, io.EOF
	}
	return batch{rows.build(), func(i int) string { return r.key(lines[i]) }}, nil
}

func (r *lineReader) key(line int) string {
	return fmt.Sprintf("%s:%d", r.file.path, r.file.linesBefore(r.block)+line+1)
}

func (r *lineReader) close() {}

// jsonFile is a JSON file that holds an array of objects, or objects one after another.
type jsonFile struct {
	path string
	size int64
}

func openJSON(path string, _ Config) (file, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return &jsonFile{path, info.Size()}, nil
}

func (j *jsonFile) blocks() []block   { return []block{{rows: -1, bytes: j.size}} }
func (j *jsonFile) columns() []string { return nil }
func (j *jsonFile) close() error      { return nil }

func (j *jsonFile) open(_, skip int, keep func(string) bool) (batchReader, error) {
	f, err := os.Open(j.path)
	if err != nil {
		return nil, err
	}
	var in io.Reader = f
	if strings.HasSuffix(strings.ToLower(j.path), ".gz") {
		if in, err = gzip.NewReader(f); err != nil {
			f.Close()
			return nil, fmt.Errorf("%s: %w", j.path, err)
		}
	}
	br := bufio.NewReaderSize(in, 1<<16)
	if b, _ := br.Peek(3); bytes.Equal(b, byteOrderMark) {
		br.Discard(3)
	}
	r := &jsonReader{path: j.path, f: f, keep: keep, dec: json.NewDecoder(br), skip: skip}
	first, err := firstByte(br)
	if err != nil && err != io.EOF {
		f.Close()
		return nil, fmt.Errorf("%s: %w", j.path, err)
	}
	if first == '[' {
		r.dec.Token()
		r.array = true
	}
	return r, nil
}

func firstByte(br *bufio.Reader) (byte, error) {
	for {
		b, err := br.ReadByte()
		if err != nil {
			return 0, err
		}
		if b != ' ' && b != '\t' && b != '\n' && b != '\r' {
			return b, br.UnreadByte()
		}
	}
}

type jsonReader struct {
	path  string
	f     *os.File
	keep  func(string) bool
	dec   *json.Decoder
	array bool
	row   int
	skip  int
}

func (r *jsonReader) next() (batch, error) {
	rows := &jsonRows{keep: r.keep}
	first, total := -1, 0
	for rows.n < batchRows && total < batchBytes {
		if r.array && !r.dec.More() {
			if _, err := r.dec.Token(); err != nil {
				return batch{}, r.fail(err)
			}
			r.array = false
		}
		var raw json.RawMessage
		err := r.dec.Decode(&raw)
		if err == io.EOF {
			break
		}
		if err != nil {
			return batch{}, r.fail(err)
		}
		r.row++
		if r.row <= r.skip {
			continue
		}
		if first < 0 {
			first = r.row
		}
		if err := rows.add(raw); err != nil {
			return batch{}, r.fail(err)
		}
		total += len(raw)
	}
	if rows.n == 0 {
		return batch{}, io.EOF
	}
	return batch{rows.build(), func(i int) string { return fmt.Sprintf("%s: row %d", r.path, first+i) }}, nil
}

func (r *jsonReader) fail(err error) error {
	return fmt.Errorf("%s: row %d, byte %d: %w", r.path, max(r.row, 1), r.dec.InputOffset(), err)
}

func (r *jsonReader) close() { r.f.Close() }

var errNotUTF8 = errors.New("expected UTF-8")

// splitObject returns the keys of a JSON object in order and the text of their values.
func splitObject(object []byte) (keys []string, values []json.RawMessage, err error) {
	if !utf8.Valid(object) {
		return nil, nil, errNotUTF8
	}
	dec := json.NewDecoder(bytes.NewReader(object))
	if t, err := dec.Token(); err != nil {
		return nil, nil, err
	} else if t != json.Delim('{') {
		return nil, nil, fmt.Errorf("expected a JSON object, found %.40q", object)
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, nil, err
		}
		key, _ := t.(string)
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil, nil, fmt.Errorf("key %q: %w", key, err)
		}
		keys, values = append(keys, key), append(values, v)
	}
	if _, err := dec.Token(); err != nil {
		return nil, nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, nil, fmt.Errorf("expected one JSON object, found more after it")
	}
	return keys, values, nil
}
