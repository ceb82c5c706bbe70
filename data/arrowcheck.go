package data

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// This file checks the metadata of Arrow messages: that every offset and length in the FlatBuffers lies within the bytes
// there are. Table slots are those of Message.fbs and Schema.fbs of the Arrow format.

const (
	maxArrowFields = 1 << 16
	maxExpanded    = 1 << 30 // decompressed bytes of one buffer
)

var errFlat = errors.New("the metadata points outside of itself")

// flat is a table in a FlatBuffer.
type flat struct {
	b  []byte
	at int
}

func flatRoot(b []byte) (flat, error) {
	if len(b) < 8 {
		return flat{}, errFlat
	}
	return flatTable(b, 0)
}

// flatTable follows the offset at pos to a table.
func flatTable(b []byte, pos int) (flat, error) {
	if pos < 0 || pos+4 > len(b) {
		return flat{}, errFlat
	}
	at := int64(pos) + int64(binary.LittleEndian.Uint32(b[pos:]))
	if at+4 > int64(len(b)) {
		return flat{}, errFlat
	}
	t := flat{b, int(at)}
	v := at - int64(int32(binary.LittleEndian.Uint32(b[at:])))
	if v < 0 || v+4 > int64(len(b)) {
		return flat{}, errFlat
	}
	if size := int64(binary.LittleEndian.Uint16(b[v:])); size < 4 || v+size > int64(len(b)) {
		return flat{}, errFlat
	}
	return t, nil
}

// slot is the position of field i, which takes size bytes; 0 when the field is absent.
func (t flat) slot(i, size int) (int, error) {
	v := t.at - int(int32(binary.LittleEndian.Uint32(t.b[t.at:])))
	if o := 4 + 2*i; o+2 <= int(binary.LittleEndian.Uint16(t.b[v:])) {
		if off := int(binary.LittleEndian.Uint16(t.b[v+o:])); off != 0 {
			if t.at+off+size > len(t.b) {
				return 0, errFlat
			}
			return t.at + off, nil
		}
	}
	return 0, nil
}

func (t flat) byteAt(i int) (byte, error) {
	p, err := t.slot(i, 1)
	if p == 0 {
		return 0, err
	}
	return t.b[p], nil
}

func (t flat) int64At(i int) (int64, error) {
	p, err := t.slot(i, 8)
	if p == 0 {
		return 0, err
	}
	return int64(binary.LittleEndian.Uint64(t.b[p:])), nil
}

// table is the table of field i; ok is false when it is absent.
func (t flat) table(i int) (_ flat, ok bool, _ error) {
	p, err := t.slot(i, 4)
	if p == 0 {
		return flat{}, false, err
	}
	c, err := flatTable(t.b, p)
	return c, true, err
}

// vector is the position of the first element of field i and the number of elements of size bytes.
func (t flat) vector(i, size int) (int, int, error) {
	p, err := t.slot(i, 4)
	if p == 0 {
		return 0, 0, err
	}
	at := int64(p) + int64(binary.LittleEndian.Uint32(t.b[p:]))
	if at+4 > int64(len(t.b)) {
		return 0, 0, errFlat
	}
	n := int64(binary.LittleEndian.Uint32(t.b[at:]))
	if at+4+n*int64(size) > int64(len(t.b)) {
		return 0, 0, errFlat
	}
	return int(at) + 4, int(n), nil
}

// checkMessage checks a message that has left bytes of the file behind its metadata. rows is that of a record batch; packed says
// that its buffers are compressed. What compressed buffers say of themselves is checked by checkPacked.
func checkMessage(meta []byte, left int64) (kind byte, rows, bodyLen int64, packed bool, err error) {
	m, err := flatRoot(meta)
	if err != nil {
		return 0, 0, 0, false, err
	}
	if kind, err = m.byteAt(1); err != nil {
		return 0, 0, 0, false, err
	}
	header, ok, err := m.table(2)
	if err != nil || !ok {
		return 0, 0, 0, false, errors.Join(errFlat, err)
	}
	if bodyLen, err = m.int64At(3); err != nil {
		return 0, 0, 0, false, err
	}
	if bodyLen < 0 || bodyLen > left {
		return 0, 0, 0, false, fmt.Errorf("a body of %d bytes, %d left in the file", bodyLen, left)
	}
	switch kind {
	case arrowSchema:
		left := maxArrowFields
		err = errors.Join(checkFields(header, 1, 0, &left), checkPairs(header, 2))
	case arrowDictionary:
		data, ok, e := header.table(1)
		if err = e; ok && e == nil {
			_, packed, err = checkBatch(data, bodyLen)
		}
	case arrowBatch:
		rows, packed, err = checkBatch(header, bodyLen)
	}
	return kind, rows, bodyLen, packed, err
}

// checkFields checks the fields in the given slot of a schema or field.
func checkFields(t flat, slot, depth int, left *int) error {
	at, n, err := t.vector(slot, 4)
	if err != nil {
		return err
	}
	if *left -= n; depth > maxDepth || *left < 0 {
		return fmt.Errorf("expected at most %d fields, %d deep", maxArrowFields, maxDepth)
	}
	for i := range n {
		f, err := flatTable(t.b, at+4*i)
		if err != nil {
			return err
		}
		if _, _, err := f.vector(0, 1); err != nil {
			return err
		}
		for _, s := range []int{3, 4} { // type and dictionary encoding
			if _, _, err := f.table(s); err != nil {
				return err
			}
		}
		if err := checkPairs(f, 6); err != nil {
			return err
		}
		if err := checkFields(f, 5, depth+1, left); err != nil {
			return err
		}
	}
	return nil
}

// checkPairs checks the custom metadata in a slot.
func checkPairs(t flat, slot int) error {
	at, n, err := t.vector(slot, 4)
	if err != nil {
		return err
	}
	for i := range n {
		kv, err := flatTable(t.b, at+4*i)
		if err != nil {
			return err
		}
		for _, s := range []int{0, 1} {
			if _, _, err := kv.vector(s, 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkBatch checks lengths and buffers of a record batch whose body has size bytes.
func checkBatch(t flat, size int64) (rows int64, packed bool, err error) {
	if rows, err = t.int64At(0); err != nil {
		return 0, false, err
	}
	if _, packed, err = t.table(3); err != nil {
		return 0, false, err
	}
	most := 8*size + maxArrowFields // values are bits at least; some types take no bytes
	if packed {
		most = maxExpanded
	}
	if rows < 0 || rows > most {
		return 0, false, fmt.Errorf("%d rows in %d bytes", rows, size)
	}
	at, n, err := t.vector(1, 16)
	if err != nil {
		return 0, false, err
	}
	for i := range n {
		length := int64(binary.LittleEndian.Uint64(t.b[at+16*i:]))
		nulls := int64(binary.LittleEndian.Uint64(t.b[at+16*i+8:]))
		if length < 0 || nulls < 0 || nulls > length || length > most {
			return 0, false, fmt.Errorf("an array of %d values, %d of them null, in %d bytes", length, nulls, size)
		}
	}
	return rows, packed, eachBuffer(t, func(off, n int64) error {
		if off < 0 || n < 0 || off > size || n > size-off {
			return fmt.Errorf("a buffer at %d of %d bytes in %d bytes", off, n, size)
		}
		return nil
	})
}

// eachBuffer goes through offset and size of the buffers of a record batch.
func eachBuffer(t flat, f func(off, n int64) error) error {
	at, n, err := t.vector(2, 16)
	if err != nil {
		return err
	}
	for i := range n {
		off := int64(binary.LittleEndian.Uint64(t.b[at+16*i:]))
		size := int64(binary.LittleEndian.Uint64(t.b[at+16*i+8:]))
		if err := f(off, size); err != nil {
			return err
		}
	}
	return nil
}

// checkPacked checks what the compressed buffers of a message that checkMessage has passed say of their expanded size.
func checkPacked(meta, body []byte) error {
	m, err := flatRoot(meta)
	if err != nil {
		return err
	}
	t, _, err := m.table(2)
	if err != nil {
		return err
	}
	if kind, err := m.byteAt(1); err != nil || kind == arrowDictionary {
		data, ok, e := t.table(1)
		if err = errors.Join(err, e); err != nil || !ok {
			return err
		}
		t = data
	}
	return eachBuffer(t, func(off, n int64) error {
		if n >= 8 {
			if full := int64(binary.LittleEndian.Uint64(body[off:])); full < -1 || full > maxExpanded {
				return fmt.Errorf("a buffer of %d bytes that expands to %d, expected at most %d", n, full, maxExpanded)
			}
		}
		return nil
	})
}
