package train

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"
)

// eventWriter writes a TensorBoard event file: TFRecord frames around Event messages.
//
// A frame is length (uint64), CRC of the length, data, CRC of the data, all little-endian; the CRC is CRC-32C, rotated
// and offset ("masked"). An Event is a protocol buffer: 1 wall_time double, 2 step int64, 3 file_version string, or
// 5 summary; a summary holds values (1), each with 1 tag string and 2 simple_value float.
type eventWriter struct {
	w   io.Writer
	err error
}

// Castagnoli's polynomial, as TFRecord asks.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newEventWriter(w io.Writer, wall float64) *eventWriter {
	e := &eventWriter{w: w}
	event := appendDouble(nil, 1, wall)
	e.record(appendBytes(event, 3, []byte("brain.Event:2")))
	return e
}

// scalar is a named number of a step.
type scalar struct {
	tag   string
	value float64
}

// scalars writes one event with several values; wall is in seconds since 1970.
func (e *eventWriter) scalars(wall float64, step int, values []scalar) error {
	var summary []byte
	for _, v := range values {
		value := appendBytes(nil, 1, []byte(v.tag))
		value = binary.LittleEndian.AppendUint32(append(value, 2<<3|5), math.Float32bits(float32(v.value)))
		summary = appendBytes(summary, 1, value)
	}
	event := appendDouble(nil, 1, wall)
	event = binary.AppendUvarint(append(event, 2<<3), uint64(step))
	e.record(appendBytes(event, 5, summary))
	return e.err
}

// record writes one frame; after a failure it does nothing.
func (e *eventWriter) record(data []byte) {
	if e.err != nil {
		return
	}
	frame := binary.LittleEndian.AppendUint64(nil, uint64(len(data)))
	frame = binary.LittleEndian.AppendUint32(frame, maskedCRC(frame))
	frame = append(frame, data...)
	frame = binary.LittleEndian.AppendUint32(frame, maskedCRC(data))
	if _, err := e.w.Write(frame); err != nil {
		e.err = fmt.Errorf("write events: %w", err)
	}
}

func maskedCRC(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}

func appendDouble(b []byte, field int, x float64) []byte {
	return binary.LittleEndian.AppendUint64(append(b, byte(field<<3|1)), math.Float64bits(x))
}

func appendBytes(b []byte, field int, x []byte) []byte {
	return slices.Concat(binary.AppendUvarint(append(b, byte(field<<3|2)), uint64(len(x))), x)
}
