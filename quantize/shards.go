package quantize

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"

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
	journal, err := os.ReadFile(journalPath(path))
	return err == nil && bytes.HasPrefix(journal, p.head())
}

// partOf is the number of the file that holds a tensor.
func (p *Plan) partOf(tensor int) int {
	return sort.Search(len(p.Parts), func(i int) bool { return p.Parts[i].First > tensor }) - 1
}

func partial(path string) string     { return path + ".partial" }
func journalPath(path string) string { return path + ".partial.journal" }

func isThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// wholeLine ends the journal when everything is on disk and only names are missing.
const wholeLine = "whole\n"

// begun tells whether the partial files have their sizes; renamed: they may have their names already, all but the first.
func (w *writer) begun(renamed bool) bool {
	for i, path := range w.paths {
		st, err := os.Stat(partial(path))
		if errors.Is(err, fs.ErrNotExist) && renamed && i > 0 {
			st, err = os.Stat(path)
		}
		if err != nil || st.Size() != w.Parts[i].Size {
			return false
		}
	}
	return true
}

// sync brings what was written to the disk.
func (w *writer) sync() error {
	for i, f := range w.files {
		if !w.dirty[i] {
			continue
		}
		if err := f.Sync(); err != nil {
			return fmt.Errorf("write %s: %w", w.paths[i], err)
		}
		w.dirty[i] = false
	}
	return nil
}

// finish closes the files, which flush has brought to the disk, and gives them their names.
func (w *writer) finish() error {
	for i, f := range w.files {
		w.files[i] = nil
		if err := f.Close(); err != nil {
			return fmt.Errorf("write %s: %w", w.paths[i], err)
		}
	}
	if _, err := w.journal.WriteString(wholeLine); err != nil {
		return fmt.Errorf("write %s: %w", w.path, err)
	}
	if err := w.journal.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", w.path, err)
	}
	return w.rename()
}

// rename gives the files their names, the first one last: without it, and its metadata, there is no model.
func (w *writer) rename() error {
	if len(w.paths) > 1 { // the first file of an older model must not meet new ones
		if err := os.Remove(w.paths[0]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("write %s: %w", w.paths[0], err)
		}
	}
	for i := len(w.paths) - 1; i >= 0; i-- {
		err := os.Rename(partial(w.paths[i]), w.paths[i])
		if errors.Is(err, fs.ErrNotExist) && w.whole && i > 0 {
			continue // an earlier run did it
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", w.paths[i], err)
		}
	}
	if d, err := os.Open(filepath.Dir(w.path)); err == nil {
		d.Sync() // the names are durable where folders can be synced
		d.Close()
	}
	w.closeJournal()
	return os.Remove(journalPath(w.path))
}

// closeJournal closes the journal, which some systems ask for before it is removed.
func (w *writer) closeJournal() {
	if w.journal != nil {
		w.journal.Close()
		w.journal = nil
	}
}
