package data

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/edsrzf/mmap-go"

	"tune/internal/hint"
)

// arrowFile is an Arrow IPC file or stream: mapped, or, where it lies elsewhere, with its metadata read at once and the body of
// a message when it is needed. Its messages are found, and their sizes checked against the file,
// before the library sees them: a damaged size would make it ask for more memory than there is, which no recover catches.
// A record batch is a block.
type arrowFile struct {
	*input
	mapped  mmap.MMap      // nil: the file lies elsewhere
	prefix  []arrowMessage // schema and dictionaries, in order
	batches []arrowMessage
	dicts   []int // per batch: messages of prefix that stand before it
	rows    []int64
	infos   []block
	names   []string
	packed  bool // buffers are compressed
}

// arrowMessage is the metadata of a message and where its body lies.
type arrowMessage struct {
	meta     []byte
	at, size int64
	packed   bool
}

// bytes are n bytes of the file, which has them.
func (a *arrowFile) bytes(at, n int64) ([]byte, error) {
	if a.mapped != nil {
		return a.mapped[at : at+n], nil
	}
	if n > maxRow {
		return nil, hint.Errorf("write the file with smaller record batches, or download it", "%d bytes in one message, expected at most %d of a file that is read over the network", n, maxRow)
	}
	b := make([]byte, n)
	if k, err := a.ReadAt(b, at); int64(k) < n {
		return nil, whole(err)
	}
	return b, nil
}

func openArrow(in *input) (_ file, err error) {
	defer guard(in.name, &err)
	a := &arrowFile{input: in}
	defer func() {
		if err != nil && a.mapped != nil {
			a.mapped.Unmap()
		}
	}()
	if in.Size() == 0 {
		return nil, fmt.Errorf("%s: expected an Arrow file or stream, found an empty file", in.name)
	}
	if local, ok := in.blob.(localBlob); ok {
		if a.mapped, err = mmap.Map(local.File, mmap.RDONLY, 0); err != nil {
			return nil, fmt.Errorf("%s: %w", in.name, err)
		}
	}
	if err := a.scan(); err != nil {
		return nil, fmt.Errorf("%s: %w", in.name, err)
	}
	r, err := ipc.NewReaderFromMessageReader(&messageList{file: a, messages: a.prefix[:1]}, ipc.WithDelayReadSchema(false))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", in.name, err)
	}
	defer r.Release()
	for _, f := range r.Schema().Fields() {
		a.names = append(a.names, f.Name)
	}
	return a, nil
}

const (
	arrowSchema     = 1
	arrowDictionary = 2
	arrowBatch      = 3
)

// header reads the length of the metadata at a place, and where the metadata begins; length 0 is the end.
func (a *arrowFile) header(pos int64) (length, at int64, _ error) {
	for range 2 {
		if pos+4 > a.Size() {
			return 0, pos, nil
		}
		b, err := a.bytes(pos, 4)
		if err != nil {
			return 0, 0, err
		}
		pos += 4
		if n := binary.LittleEndian.Uint32(b); n != 0xffffffff {
			return int64(n), pos, nil
		}
		if pos+4 > a.Size() {
			return 0, 0, io.ErrUnexpectedEOF
		}
	}
	return math.MaxUint32, pos, nil
}

// scan finds the messages (Arrow columnar format, "IPC Streaming Format" and "IPC File Format").
func (a *arrowFile) scan() error {
	pos := int64(0)
	magic, err := a.bytes(0, min(8, a.Size()))
	if err != nil {
		return err
	}
	if string(magic) == "ARROW1\x00\x00" {
		pos = 8
	} else if bytes.HasPrefix(magic, []byte("FEA1")) {
		return errors.New("expected Arrow IPC, found Feather version 1")
	}
	total := int64(0)
	for {
		n, at, err := a.header(pos)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		pos = at
		if n > a.Size()-pos {
			return fmt.Errorf("message at byte %d: %d bytes of metadata in a file of %d", pos, n, a.Size())
		}
		m := arrowMessage{at: pos + n}
		if m.meta, err = a.bytes(pos, n); err != nil {
			return fmt.Errorf("message at byte %d: %w", pos, err)
		}
		kind, rows, bodyLen, packed, err := checkMessage(m.meta, a.Size()-m.at)
		if err != nil {
			return fmt.Errorf("message at byte %d: %w", pos, err)
		}
		a.packed = a.packed || packed
		m.size, m.packed = bodyLen, packed
		if a.mapped != nil && packed { // of others when the body is read
			if err := checkPacked(m.meta, a.mapped[m.at:m.at+m.size]); err != nil {
				return fmt.Errorf("message at byte %d: %w", pos, err)
			}
		}
		pos = m.at + m.size
		switch {
		case (kind == arrowSchema) != (len(a.prefix) == 0):
			return fmt.Errorf("message at byte %d: expected one schema, first, found message type %d", pos, kind)
		case kind == arrowSchema, kind == arrowDictionary:
			a.prefix = append(a.prefix, m)
		case kind == arrowBatch:
			a.batches = append(a.batches, m)
			a.dicts = append(a.dicts, len(a.prefix))
			a.rows = append(a.rows, total)
			a.infos = append(a.infos, block{rows: rows, bytes: max(bodyLen, 1)})
			total += rows
		default:
			return fmt.Errorf("message at byte %d: expected schema, dictionary or record batch, found message type %d", pos, kind)
		}
	}
	if len(a.prefix) == 0 {
		return errors.New("expected an Arrow schema, found none")
	}
	return nil
}

func (a *arrowFile) blocks() []block   { return a.infos }
func (a *arrowFile) columns() []string { return a.names }

func (a *arrowFile) close() error {
	if a.mapped != nil {
		a.mapped.Unmap()
	}
	return a.Close()
}

func (a *arrowFile) open(block int, from mark, _ func(string) bool) (_ batchReader, err error) {
	at := fmt.Sprintf("%s: record batch %d", a.name, block)
	defer guard(at, &err)
	list := &messageList{file: a, messages: append(append([]arrowMessage(nil), a.prefix[:a.dicts[block]]...), a.batches[block])}
	r, err := ipc.NewReaderFromMessageReader(list)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	return &arrowReader{file: a, at: at, block: block, r: r, row: int64(from.row)}, nil
}

// whole is a batch as it lies in the file.
func (a *arrowFile) whole(block int) (_ batch, err error) {
	r, err := a.open(block, mark{}, nil)
	if err != nil {
		return batch{}, err
	}
	defer r.close()
	one := r.(*arrowReader)
	if err := one.load(); err != nil {
		return batch{}, err
	}
	return batch{RecordBatch: one.rec, key: func(i int) string { return one.key(int64(i)) }}, nil
}

type arrowReader struct {
	file  *arrowFile
	at    string
	block int
	r     *ipc.Reader
	rec   arrow.RecordBatch
	row   int64
}

func (r *arrowReader) next() (batch, error) {
	if err := r.load(); err != nil {
		return batch{}, err
	}
	if r.row >= r.rec.NumRows() {
		return batch{}, io.EOF
	}
	from, to := r.row, min(r.row+batchRows, r.rec.NumRows())
	r.row = to
	return batch{RecordBatch: r.rec.NewSlice(from, to), key: func(i int) string { return r.key(from + int64(i)) }}, nil
}

// load has the library read the batch; io.EOF when there is none.
func (r *arrowReader) load() (err error) {
	defer guard(r.at, &err)
	if r.rec != nil {
		return nil
	}
	if !r.r.Next() {
		if err := r.r.Err(); err != nil && err != io.EOF {
			return fmt.Errorf("%s: %w", r.at, err)
		}
		return io.EOF
	}
	r.rec = r.r.RecordBatch()
	r.rec.Retain()
	return nil
}

func (r *arrowReader) key(row int64) string {
	return fmt.Sprintf("%s: row %d", r.file.name, r.file.rows[r.block]+row+1)
}

func (r *arrowReader) close() { r.r.Release() }

// messageList hands messages to the library, of a mapped file without copying them.
type messageList struct {
	file     *arrowFile
	messages []arrowMessage
}

func (l *messageList) Message() (*ipc.Message, error) {
	if len(l.messages) == 0 {
		return nil, io.EOF
	}
	m := l.messages[0]
	l.messages = l.messages[1:]
	body, err := l.file.bytes(m.at, m.size)
	if err == nil && l.file.mapped == nil && m.packed {
		err = checkPacked(m.meta, body)
	}
	if err != nil {
		return nil, fmt.Errorf("body at byte %d: %w", m.at, err)
	}
	return ipc.NewMessage(memory.NewBufferBytes(m.meta), memory.NewBufferBytes(body)), nil
}

func (l *messageList) Retain()  {}
func (l *messageList) Release() {}
