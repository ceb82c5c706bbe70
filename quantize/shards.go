package quantize

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"tune/internal/atomicfile"
	"tune/internal/gguf"
	"tune/internal/hint"
	"tune/internal/tensor"
)

// cut lays out the files that the options ask for.
func (p *Plan) cut(meta *gguf.Meta, infos []tensor.Info, o PlanOptions) (err error) {
	var cuts []int
	switch {
	case o.KeepSplit && o.ShardBytes > 0:
		return errors.New("split: expected either a size of files or the source's files, found both")
	case o.KeepSplit && p.src.Shard == nil:
		return hint.Errorf("say how large the files may be with --shard-size", "split: expected a GGUF file without an adapter, whose files can be kept")
	case o.KeepSplit:
		for i, info := range infos { // a first file may hold nothing but metadata
			for len(cuts) < p.src.Shard(info.Name) {
				cuts = append(cuts, i)
			}
		}
	case o.ShardBytes > 0:
		cuts = gguf.CutBySize(infos, o.ShardBytes)
	}
	if len(cuts) == 0 {
		p.Parts = []gguf.Part{{Layout: p.Layout, Count: len(infos)}}
		return nil
	}
	p.Parts, err = gguf.PlanShards(meta, infos, cuts)
	return err
}

// Paths are the files that Write makes of a path: itself, or the parts of a split model, named as llama.cpp finds them.
func (p *Plan) Paths(path string) []string {
	if len(p.Parts) == 1 {
		return []string{path}
	}
	list := make([]string, len(p.Parts))
	for i := range list {
		list[i] = gguf.ShardPath(path, i, len(list))
	}
	return list
}

// Size is the bytes of all files.
func (p *Plan) Size() (n int64) {
	for _, part := range p.Parts {
		n += part.Size
	}
	return n
}

// Begun tells whether an earlier run of the same plan left something to continue; some of its files may have their names.
func (p *Plan) Begun(path string) bool {
	_, _, same, err := readJournal(journalPath(path), startLine(p.stamp), 0)
	return err == nil && same
}

// partOf is the number of the file that holds a tensor.
func (p *Plan) partOf(tensor int) int {
	return sort.Search(len(p.Parts), func(i int) bool { return p.Parts[i].First > tensor }) - 1
}

// finish gives the files, which flush has brought to the disk, their names.
func (w *writer) finish() error {
	if err := w.closeFiles(); err != nil {
		return err
	}
	if err := w.journal.write([]byte(wholeLine)); err != nil {
		return err
	}
	return w.rename()
}

// rename gives the files their names, the first one last: without it, and its metadata, there is no model.
func (w *writer) rename() error {
	if first := w.parts[0].final; len(w.parts) > 1 { // the first file of an older model must not meet new ones
		if err := os.Remove(first); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("write %s: %w", first, err)
		}
	}
	for i, p := range slices.Backward(w.parts) {
		err := os.Rename(p.path, p.final)
		if errors.Is(err, fs.ErrNotExist) && w.whole && i > 0 {
			continue // an earlier run did it
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", p.final, err)
		}
	}
	atomicfile.SyncDir(filepath.Dir(w.path))
	return w.journal.remove()
}
