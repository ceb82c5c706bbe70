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

// A Part is one file of a checkpoint that is laid out but not written.
type Part struct {
	Name    string
	Head    []byte        // length and text of the header
	Infos   []tensor.Info // in the order of the data
	Offsets []int64       // where the tensors begin in the file
	Size    int64
}

// Plan lays out model.safetensors, or shards that hold at most shardBytes of tensors each (0: no limit) and their index, nil for
// a single file. Shards take the tensors in their order; inside a file wider values come first, so that each begins at a
// multiple of its size.
func Plan(infos []tensor.Info, shardBytes int64, metadata map[string]string) (parts []Part, index []byte, err error) {
	for _, info := range infos {
		if err := info.Check(); err != nil {
			return nil, nil, fmt.Errorf("tensor %s: %w", info.Name, err)
		}
		if info.Type.Row().SafeTensors == "" {
			return nil, nil, hint.Errorf("convert it to bf16, f16 or f32 first", "tensor %s: safetensors files do not hold type %s", info.Name, info.Type)
		}
	}
	shards := split(infos, shardBytes)
	weightMap, total := map[string]string{}, int64(0)
	for i, shard := range shards {
		p := Part{Name: SingleName, Infos: slices.Clone(shard)}
		if len(shards) > 1 {
			p.Name = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		}
		slices.SortStableFunc(p.Infos, func(a, b tensor.Info) int { return cmp.Compare(b.Type.Row().Bytes, a.Type.Row().Bytes) })
		if p.Head, err = header(p.Infos, metadata); err != nil {
			return nil, nil, err
		}
		p.Size = int64(len(p.Head))
		for _, info := range p.Infos {
			p.Offsets = append(p.Offsets, p.Size)
			p.Size += info.Bytes()
			total += info.Bytes()
			weightMap[info.Name] = p.Name
		}
		parts = append(parts, p)
	}
	if len(parts) == 1 {
		return parts, nil, nil
	}
	index, err = json.MarshalIndent(map[string]any{"metadata": map[string]any{"total_size": total}, "weight_map": weightMap}, "", "  ")
	return parts, append(index, '\n'), err
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

// Write writes a checkpoint folder: model.safetensors, or shards and their index, which comes last. One tensor is in
// memory at a time.
func Write(dir string, src tensor.Source, o WriteOptions) error {
	parts, index, err := planSource(src, o)
	if err != nil {
		return err
	}
	w := writer{src: src, o: o, total: sum(parts)}
	for i := range parts {
		if err := w.file(filepath.Join(dir, parts[i].Name), &parts[i]); err != nil {
			return err
		}
	}
	if index == nil {
		return nil
	}
	return atomicfile.Write(filepath.Join(dir, IndexName), index)
}

// WriteFile writes one file. ShardBytes is ignored.
func WriteFile(path string, src tensor.Source, o WriteOptions) error {
	o.ShardBytes = 0
	parts, _, err := planSource(src, o)
	if err != nil {
		return err
	}
	w := writer{src: src, o: o, total: sum(parts)}
	return w.file(path, &parts[0])
}

func planSource(src tensor.Source, o WriteOptions) ([]Part, []byte, error) {
	var infos []tensor.Info
	for _, name := range src.Names() {
		info, err := src.Info(name)
		if err != nil {
			return nil, nil, err
		}
		infos = append(infos, info)
	}
	return Plan(infos, o.ShardBytes, o.Metadata)
}

// sum is the bytes of all tensors.
func sum(parts []Part) (total int64) {
	for _, p := range parts {
		total += p.Size - int64(len(p.Head))
	}
	return total
}

type writer struct {
	src         tensor.Source
	o           WriteOptions
	done, total int64
}

func (w *writer) file(path string, p *Part) error {
	f, err := atomicfile.Create(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(p.Head); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	for _, info := range p.Infos {
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
