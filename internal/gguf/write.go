package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"tune/internal/atomicfile"
	"tune/internal/hint"
	"tune/internal/tensor"
)

// WriteOptions of Write.
type WriteOptions struct {
	Progress func(done, total int64) // bytes of tensors
}

// Write writes a version 3 file in llama.cpp's layout: metadata in its order, tensors in the order of the source, each
// padded to the alignment (general.alignment, else 32). One tensor is in memory at a time.
func Write(path string, meta *Meta, src tensor.Source, o WriteOptions) error {
	probe := File{meta: *meta}
	if err := probe.align(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	align := uint64(probe.Alignment)
	infos, err := layout(src)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	head, total := header(meta, infos, align)
	f, err := atomicfile.Create(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(head); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	var done int64
	for _, info := range infos {
		t, err := src.Tensor(info.Name)
		if err != nil {
			return err
		}
		if t.Type != info.Type || !slices.Equal(t.Shape, info.Shape) || int64(len(t.Data)) != info.Bytes() {
			return fmt.Errorf("tensor %s: expected %s %v, found %s %v of %d bytes", info.Name, info.Type, info.Shape, t.Type, t.Shape, len(t.Data))
		}
		if _, err := f.Write(t.Data); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		if _, err := f.Write(make([]byte, roundUp(uint64(len(t.Data)), align)-uint64(len(t.Data)))); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		done += info.Bytes()
		if o.Progress != nil {
			o.Progress(done, total)
		}
	}
	return f.Commit()
}

// layout lists the tensors and checks that the format can hold them.
func layout(src tensor.Source) ([]tensor.Info, error) {
	var infos []tensor.Info
	for _, name := range src.Names() {
		info, err := src.Info(name)
		if err == nil {
			err = info.Check()
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("tensor %s: %w", name, err)
		case len(name) > maxNameBytes:
			return nil, fmt.Errorf("tensor %s: %w: expected at most %d bytes, found %d", name, ErrName, maxNameBytes, len(name))
		case len(info.Shape) > maxDims:
			return nil, fmt.Errorf("tensor %s: %w: expected at most %d dimensions, found %d", name, ErrShape, maxDims, len(info.Shape))
		case info.Type.Row().GGUF < 0:
			return nil, hint.Errorf("convert it to bf16, f16 or f32 first", "tensor %s: %w: GGUF files do not hold %s", name, ErrType, info.Type)
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// header is everything before the first tensor, padded; total is the bytes of all tensors.
func header(meta *Meta, infos []tensor.Info, align uint64) (b []byte, total int64) {
	le := binary.LittleEndian
	b = append(b, magic...)
	b = le.AppendUint32(b, 3)
	b = le.AppendUint64(b, uint64(len(infos)))
	b = le.AppendUint64(b, uint64(len(meta.keys)))
	for _, key := range meta.keys {
		b = appendValue(appendString(b, key), meta.values[key])
	}
	var at uint64
	for _, i := range infos {
		b = appendString(b, i.Name)
		b = le.AppendUint32(b, uint32(len(i.Shape)))
		for _, d := range slices.Backward(i.Shape) {
			b = le.AppendUint64(b, uint64(d))
		}
		b = le.AppendUint32(b, uint32(i.Type.Row().GGUF))
		b = le.AppendUint64(b, at)
		at = roundUp(at+uint64(i.Bytes()), align)
		total += i.Bytes()
	}
	return append(b, make([]byte, roundUp(uint64(len(b)), align)-uint64(len(b)))...), total
}

func appendString(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

func appendValue(b []byte, v any) []byte {
	le := binary.LittleEndian
	k, _ := kindOf(v) // Set admits nothing else
	if !isArray(v) {
		return appendScalar(le.AppendUint32(b, uint32(k)), v)
	}
	b = le.AppendUint32(le.AppendUint32(b, uint32(kindArray)), uint32(k))
	switch v := v.(type) {
	case []uint8:
		return appendArray(b, v)
	case []int8:
		return appendArray(b, v)
	case []uint16:
		return appendArray(b, v)
	case []int16:
		return appendArray(b, v)
	case []uint32:
		return appendArray(b, v)
	case []int32:
		return appendArray(b, v)
	case []uint64:
		return appendArray(b, v)
	case []int64:
		return appendArray(b, v)
	case []float32:
		return appendArray(b, v)
	case []float64:
		return appendArray(b, v)
	case []bool:
		return appendArray(b, v)
	case []string:
		return appendArray(b, v)
	}
	return b
}

func appendArray[T any](b []byte, a []T) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(len(a)))
	for _, v := range a {
		b = appendScalar(b, v)
	}
	return b
}

func appendScalar(b []byte, v any) []byte {
	le := binary.LittleEndian
	switch v := v.(type) {
	case uint8:
		return append(b, v)
	case int8:
		return append(b, byte(v))
	case uint16:
		return le.AppendUint16(b, v)
	case int16:
		return le.AppendUint16(b, uint16(v))
	case uint32:
		return le.AppendUint32(b, v)
	case int32:
		return le.AppendUint32(b, uint32(v))
	case uint64:
		return le.AppendUint64(b, v)
	case int64:
		return le.AppendUint64(b, uint64(v))
	case float32:
		return le.AppendUint32(b, math.Float32bits(v))
	case float64:
		return le.AppendUint64(b, math.Float64bits(v))
	case bool:
		if v {
			return append(b, 1)
		}
		return append(b, 0)
	case string:
		return appendString(b, v)
	}
	return b
}
