package data

import (
	"errors"
	"fmt"
	"io"

	"tune/internal/chat"
)

// Records goes through the rows of a file, in order, whatever their columns mean: visit gets a row as a dictionary in the
// order of the columns, with nil for null, and the name of its place. It ends at the first error, its own or visit's.
func Records(path string, visit func(row *chat.Dict, key string) error) (err error) {
	b, err := openLocal(path)
	if err != nil {
		return err
	}
	f, err := openFile(path, b, Default())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	lines := 0
	for i := range f.blocks() {
		if lines, err = blockRecords(f, i, lines, visit); err != nil {
			return err
		}
	}
	return nil
}

// blockRecords goes through a block, and returns the lines before the one after it.
func blockRecords(f file, block, lines int, visit func(*chat.Dict, string) error) (int, error) {
	b, err := f.open(block, mark{line: lines}, nil)
	if err != nil {
		return 0, err
	}
	defer b.close()
	for {
		batch, err := b.next()
		if err == io.EOF {
			return batch.lines, nil
		}
		if err != nil {
			return 0, err
		}
		for i := range int(batch.NumRows()) {
			row, err := row{batch, i}.record()
			if err != nil {
				return 0, fmt.Errorf("%s: %w", batch.key(i), err)
			}
			if err := visit(row, batch.key(i)); err != nil {
				return 0, err
			}
		}
	}
}

// record returns all columns of a row.
func (r row) record() (*chat.Dict, error) {
	d := chat.NewDict()
	for _, f := range r.Schema().Fields() {
		raw, ok, err := r.json(f.Name)
		if err != nil {
			return nil, err
		}
		var v any
		if ok {
			if v, err = chat.FromJSON(raw); err != nil {
				return nil, fmt.Errorf("column %s: %w", f.Name, err)
			}
		}
		d.Set(f.Name, v)
	}
	return d, nil
}
