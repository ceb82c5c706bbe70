package gguf

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"tune/internal/hint"
	"tune/internal/tensor"
)

// ErrSplit is wrapped by the errors of files that do not make up a whole.
var ErrSplit = errors.New("bad split file")

// Keys of a file that is one of several. Only the first of them, number 0, has the model's metadata.
const (
	splitPrefix  = "split."
	splitNo      = splitPrefix + "no"            // u16
	splitCount   = splitPrefix + "count"         // u16
	splitTensors = splitPrefix + "tensors.count" // i32: of all files
)

// MaxShards is the largest number that split.count holds.
const MaxShards = math.MaxUint16

var shardName = regexp.MustCompile(`^(.*)-([0-9]{5})-of-([0-9]{5})\.gguf$`)

// ShardPath names file i, from 0, of the count files that make up path (with or without .gguf).
func ShardPath(path string, i, count int) string {
	return fmt.Sprintf("%s-%05d-of-%05d.gguf", strings.TrimSuffix(path, ".gguf"), i+1, count)
}

// ShardPaths lists the files of the set that path belongs to by its name; another name is a set of its own. It does not look
// whether they exist.
func ShardPaths(path string) []string {
	m := shardName.FindStringSubmatch(filepath.Base(path))
	if m == nil {
		return []string{path}
	}
	count, _ := strconv.Atoi(m[3])
	if count > MaxShards {
		return []string{path}
	}
	list := make([]string, count)
	for i := range list {
		list[i] = ShardPath(filepath.Join(filepath.Dir(path), m[1]), i, count)
	}
	return list
}

// Only returns the file to open of a folder's .gguf files: the single one, or the first when all are the files of one set.
func Only(paths []string) (string, bool) {
	if len(paths) == 0 {
		return "", false
	}
	first := slices.Min(paths)
	set := ShardPaths(first)
	if len(paths) != 1 && (len(set) != len(paths) || !slices.Equal(set, slices.Sorted(slices.Values(paths)))) {
		return "", false
	}
	return first, true
}

// SetSplit marks the metadata of file i of count that hold so many tensors in all, with the types that llama.cpp's loader
// asks for.
func SetSplit(meta *Meta, i, count, tensors int) {
	meta.Set(splitNo, uint16(i))
	meta.Set(splitCount, uint16(count))
	meta.Set(splitTensors, int32(tensors))
}

// DropSplit removes what says that a file is one of several.
func DropSplit(meta *Meta) {
	for _, key := range slices.Clone(meta.keys) {
		if strings.HasPrefix(key, splitPrefix) {
			meta.Delete(key)
		}
	}
}

// split reads where a file stands among others; count is 1 when it stands alone.
func (f *File) split() (no, count, tensors int, err error) {
	if _, ok := f.meta.Get(splitCount); !ok {
		return 0, 1, len(f.names), nil
	}
	if count, err = f.meta.Int(splitCount); err != nil || count <= 1 {
		return 0, 1, len(f.names), err
	}
	if no, err = f.meta.Int(splitNo); err != nil {
		return 0, 0, 0, err
	}
	if tensors, err = f.meta.Int(splitTensors); err != nil {
		return 0, 0, 0, err
	}
	if count > MaxShards || no >= count {
		return 0, 0, 0, fmt.Errorf("%s: expected a number below %s, at most %d, found %d of %d", splitNo, splitCount, MaxShards, no, count)
	}
	return no, count, tensors, nil
}

// whole opens the other files of the set that f belongs to and joins them. It closes f when it fails.
func whole(f *File) (*File, error) {
	no, count, total, err := f.split()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w: %w", f.name, ErrSplit, err)
	}
	if count == 1 {
		return f, nil
	}
	all := &File{name: f.name, Version: f.Version, Alignment: f.Alignment, entries: map[string]entry{}, shards: make([]*File, count)}
	all.shards[no] = f
	if err := all.join(no, total); err != nil {
		all.Close()
		return nil, err
	}
	return all, nil
}

// join opens all shards but no, which is there, and checks that they belong together.
func (f *File) join(no, total int) error {
	count := len(f.shards)
	paths := ShardPaths(f.name)
	if len(paths) != count || paths[no] != f.shards[no].name && filepath.Clean(paths[no]) != filepath.Clean(f.shards[no].name) {
		return hint.Errorf("the others are found by their names: give the files the names they had", "%s: %w: expected the name %s, since it is file %d of %d",
			f.name, ErrSplit, filepath.Base(ShardPath("NAME", no, count)), no+1, count)
	}
	for i, path := range paths {
		if f.shards[i] == nil {
			s, err := openOne(path)
			if errors.Is(err, fs.ErrNotExist) {
				return hint.Errorf("put all files of the model into one folder", "%s: %w: file %d of %d is missing: %s", f.name, ErrSplit, i+1, count, path)
			}
			if err != nil {
				return err
			}
			f.shards[i] = s
		}
		if err := f.add(i, count, total); err != nil {
			return fmt.Errorf("%s: %w: %w", path, ErrSplit, err)
		}
	}
	if len(f.names) != total {
		return fmt.Errorf("%s: %w: %s: expected %d tensors in %d files, found %d", f.name, ErrSplit, splitTensors, total, count, len(f.names))
	}
	first := f.shards[0]
	f.meta, f.Version, f.Alignment = *first.meta.Clone(), first.Version, first.Alignment
	DropSplit(&f.meta)
	return nil
}

// add takes in the tensors of shard i; what its metadata repeats must be what the first one says.
func (f *File) add(i, count, total int) error {
	s, first := f.shards[i], f.shards[0]
	no, n, tensors, err := s.split()
	switch {
	case err != nil:
		return err
	case no != i || n != count || tensors != total:
		return fmt.Errorf("expected file %d of %d with %d tensors in all, found file %d of %d with %d", i+1, count, total, no+1, n, tensors)
	}
	for _, key := range s.meta.keys {
		a, ok := first.meta.Get(key)
		if b, _ := s.meta.Get(key); ok && key != splitNo && key != alignmentKey && !reflect.DeepEqual(a, b) {
			return fmt.Errorf("%s: expected what %s says, found something else", key, filepath.Base(first.name))
		}
	}
	for _, name := range s.names {
		if e, ok := f.entries[name]; ok {
			return fmt.Errorf("%w: %q is also in %s", ErrName, name, filepath.Base(f.shards[e.shard].name))
		}
		e := s.entries[name]
		e.shard = i
		f.entries[name] = e
		f.names = append(f.names, name)
	}
	return nil
}

// Shards are the files that make up f, in order; f itself when it stands alone.
func (f *File) Shards() []*File {
	if f.shards == nil {
		return []*File{f}
	}
	return f.shards
}

// Shard is the number of the file, from 0, that holds a tensor; -1 when there is no such tensor.
func (f *File) Shard(name string) int {
	e, ok := f.entries[name]
	if !ok {
		return -1
	}
	return e.shard
}

// A Part is one file of a layout.
type Part struct {
	*Layout
	First, Count int // the tensors it holds
}

// PlanShards lays out files that hold the tensors in order, each from one cut to the next: cuts are the numbers of the
// first tensors of all files but the first. Without cuts it is one file that knows of no others.
func PlanShards(meta *Meta, infos []tensor.Info, cuts []int) ([]Part, error) {
	if len(cuts) >= MaxShards {
		return nil, hint.Errorf("make the files larger", "%w: expected at most %d files, found %d", ErrSplit, MaxShards, len(cuts)+1)
	}
	seen := make(map[string]bool, len(infos))
	for _, i := range infos {
		if seen[i.Name] {
			return nil, fmt.Errorf("%w: %q appears twice", ErrName, i.Name)
		}
		seen[i.Name] = true
	}
	ends := append(slices.Clone(cuts), len(infos))
	parts, first := make([]Part, len(ends)), 0
	for i, end := range ends {
		m := &Meta{}
		if i == 0 {
			m = meta.Clone()
		}
		if len(ends) > 1 {
			SetSplit(m, i, len(ends), len(infos))
		}
		l, err := Plan(m, infos[first:end])
		if err != nil {
			return nil, err
		}
		parts[i] = Part{l, first, end - first}
		first = end
	}
	return parts, nil
}

// CutBySize gives the cuts of files with at most so many bytes of tensors each, padded, as llama-gguf-split counts them. A
// tensor that is larger has a file of its own.
func CutBySize(infos []tensor.Info, most int64) (cuts []int) {
	var sum int64
	for i, info := range infos {
		n := int64(roundUp(uint64(info.Bytes()), defaultAlignment))
		if i > 0 && sum+n > most {
			cuts, sum = append(cuts, i), 0
		}
		sum += n
	}
	return cuts
}
