package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"

	"tune/internal/atomicfile"
	"tune/internal/hint"
	"tune/internal/tensor"
)

// WriteOptions of Write and WriteFile; the zero value writes one file.
type WriteOptions struct {
	ShardBytes int64             // most bytes of tensors in one file, a larger tensor has a file of its own; 0: no limit
	Metadata   map[string]string // __metadata__; nil: {"format": "pt"}, which the reference loader asks for
	Progress   func(done, total int64)
}

// Write writes a checkpoint folder: model.safetensors, or shards and their index, which comes last. One tensor is in
// memory at a time.
func Write(dir string, src tensor.Source, o WriteOptions) error {
	infos, err := layout(src)
	if err != nil {
		return err
	}
	shards := split(infos, o.ShardBytes)
	w := writer{src: src, o: o, total: sum(infos)}
	if len(shards) == 1 {
		return w.file(filepath.Join(dir, SingleName), infos)
	}
	weightMap := map[string]string{}
	for i, shard := range shards {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		if err := w.file(filepath.Join(dir, name), shard); err != nil {
			return err
		}
		for _, info := range shard {
			weightMap[info.Name] = name
		}
	}
	index, err := json.MarshalIndent(map[string]any{"metadata": map[string]any{"total_size": w.total}, "weight_map": weightMap}, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, IndexName), append(index, '\n'))
}

// WriteFile writes one file. ShardBytes is ignored.
func WriteFile(path string, src tensor.Source, o WriteOptions) error {
	infos, err := layout(src)
	if err != nil {
		return err
	}
	w := writer{src: src, o: o, total: sum(infos)}
	return w.file(path, infos)
}

// layout lists the tensors, wider values first so that each begins at a multiple of its size, else in the source's order.
func layout(src tensor.Source) ([]tensor.Info, error) {
	var infos []tensor.Info
	for _, name := range src.Names() {
		info, err := src.Info(name)
		if err != nil {
			return nil, err
		}
		if err := info.Check(); err != nil {
			return nil, fmt.Errorf("tensor %s: %w", name, err)
		}
		if info.Type.Row().SafeTensors == "" {
			return nil, hint.Errorf("convert it to bf16, f16 or f32 first", "tensor %s: safetensors files do not hold type %s", name, info.Type)
		}
		infos = append(infos, info)
	}
	slices.SortStableFunc(infos, func(a, b tensor.Info) int { return cmp.Compare(b.Type.Row().Bytes, a.Type.Row().Bytes) })
	return infos, nil
}

func sum(infos []tensor.Info) (total int64) {
	for _, i := range infos {
		total += i.Bytes()
	}
	return total
}

// split cuts the list where a file would become larger than limit.
func split(infos []tensor.Info, limit int64) (shards [][]tensor.Info) {
	from, size := 0, int64(0)
	for i, info := range infos {
		if limit > 0 && i > from && size+info.Bytes() > limit {
			shards = append(shards, infos[from:i])
			from, size = i, 0
		}
		size += info.Bytes()
	}
	return append(shards, infos[from:])
}

type writer struct {
	src         tensor.Source
	o           WriteOptions
	done, total int64
}

func (w *writer) file(path string, infos []tensor.Info) error {
	head, err := header(infos, w.o.Metadata)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	f, err := atomicfile.Create(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(head); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	for _, info := range infos {
		t, err := w.src.Tensor(info.Name)
		if err != nil {
			return err
		}
		if t.Type != info.Type || !slices.Equal(t.Shape, info.Shape) || int64(len(t.Data)) != info.Bytes() {
			return fmt.Errorf("tensor %s: expected %s %v, found %s %v of %d bytes", info.Name, info.Type, info.Shape, t.Type, t.Shape, len(t.Data))
		}
		if _, err := f.Write(t.Data); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		w.done += info.Bytes()
		if w.o.Progress != nil {
			w.o.Progress(w.done, w.total)
		}
	}
	return f.Commit()
}

// header is the length and the JSON text, padded with spaces so that the data begins at a multiple of 8.
func header(infos []tensor.Info, metadata map[string]string) ([]byte, error) {
	if metadata == nil {
		metadata = map[string]string{"format": "pt"}
	}
	var b bytes.Buffer
	b.Write(make([]byte, 8))
	comma := byte('{')
	put := func(key string, value any) error {
		b.WriteByte(comma)
		comma = ','
		for i, v := range []any{key, value} {
			if i == 1 {
				b.WriteByte(':')
			}
			text, err := json.Marshal(v)
			if err != nil {
				return err
			}
			b.Write(text)
		}
		return nil
	}
	if len(metadata) > 0 {
		if err := put("__metadata__", metadata); err != nil {
			return nil, err
		}
	}
	var at int64
	for _, i := range infos {
		type entry struct {
			DType   string   `json:"dtype"`
			Shape   []int    `json:"shape"`
			Offsets [2]int64 `json:"data_offsets"`
		}
		shape := i.Shape
		if shape == nil {
			shape = []int{}
		}
		if err := put(i.Name, entry{i.Type.Row().SafeTensors, shape, [2]int64{at, at + i.Bytes()}}); err != nil {
			return nil, err
		}
		at += i.Bytes()
	}
	if comma == '{' {
		b.WriteByte('{')
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	binary.LittleEndian.PutUint64(b.Bytes(), uint64(b.Len()-8))
	return b.Bytes(), nil
}
