package quantize

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"tune/internal/atomicfile"
	"tune/internal/hint"
)

// growing are the files of a model while they are written: they have their sizes from the beginning, bytes go where they belong in
// any order, and a journal says which units of work are on disk.
type growing struct {
	*journal
	parts []growingPart
	mu    sync.Mutex
}

// growingPart is one file.
type growingPart struct {
	path  string // while it grows
	final string // its name after that, "" when it has none of its own
	head  []byte
	size  int64
	file  *os.File
	dirty bool // with bytes that may not be on disk
}

func partial(path string) string     { return path + ".partial" }
func journalPath(path string) string { return path + ".partial.journal" }

func isThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// startLine is the first line of the journal of a plan.
func startLine(stamp string) string { return "tune quantize " + stamp }

// find looks for what an earlier run of the same plan left: its journal is continued when the files have their sizes, and
// forgotten otherwise.
func (g *growing) find(path, stamp string, units int, o *WriteOptions) error {
	j, begun, same, err := readJournal(journalPath(path), startLine(stamp), units)
	if err != nil {
		return err
	}
	g.journal = j
	switch {
	case !begun || o.Fresh || !isThere(g.parts[0].path):
		return j.restart()
	case !same || !g.sized():
		o.note("an earlier run had another source or other options: what it wrote is begun anew")
		return j.restart()
	case j.whole:
		o.note("an earlier run wrote everything: its files get their names")
	default:
		o.note(fmt.Sprintf("continuing an earlier run: %d of %d parts are written", j.count(), units))
	}
	return nil
}

// sized tells whether the files have their sizes; when the journal is whole all but the first may have their names already.
func (g *growing) sized() bool {
	for i := range g.parts {
		p := &g.parts[i]
		st, err := os.Stat(p.path)
		if errors.Is(err, fs.ErrNotExist) && g.whole && i > 0 && p.final != "" {
			st, err = os.Stat(p.final)
		}
		if err != nil || st.Size() != p.size {
			return false
		}
	}
	return true
}

// room fails when the folder's disk has no space for what is missing of so many bytes.
func (g *growing) room(dir, path string, size int64) error {
	size -= size * int64(g.count()) / int64(max(len(g.done), 1)) // what is done occupies the disk already
	return room(dir, path, size)
}

// room fails when a folder's disk has no space for so many bytes of what will be written at a path.
func room(dir, path string, size int64) error {
	if free, ok := atomicfile.Free(dir); ok && free < size {
		return hint.Errorf("free some space or choose another disk", "write %s: expected %d bytes of free disk, found %d", path, size, free)
	}
	return nil
}

// open makes the files, with their headers unless an earlier run is continued, and then the journal.
func (g *growing) open() error {
	for i := range g.parts {
		p := &g.parts[i]
		flags := os.O_RDWR | os.O_CREATE
		if g.kept == 0 {
			flags |= os.O_TRUNC
		}
		f, err := os.OpenFile(p.path, flags, 0o666)
		if p.file = f; err != nil {
			return err
		}
		if g.kept > 0 {
			continue
		}
		if err := f.Truncate(p.size); err != nil {
			return err
		}
		if err := g.put(i, p.head, 0); err != nil {
			return err
		}
	}
	if err := g.sync(); err != nil {
		return err
	}
	return g.journal.open(g.sync)
}

// put writes bytes of a file.
func (g *growing) put(part int, data []byte, at int64) error {
	p := &g.parts[part]
	if _, err := p.file.WriteAt(data, at); err != nil {
		return fmt.Errorf("write %s: %w", p.path, err)
	}
	g.mu.Lock()
	p.dirty = true
	g.mu.Unlock()
	return nil
}

// sync brings what was written to the disk.
func (g *growing) sync() error {
	for i := range g.parts {
		p := &g.parts[i]
		g.mu.Lock()
		dirty := p.dirty
		p.dirty = false
		g.mu.Unlock()
		if !dirty {
			continue
		}
		if err := p.file.Sync(); err != nil {
			return fmt.Errorf("write %s: %w", p.path, err)
		}
	}
	return nil
}

// closeFiles closes the files, which flush has brought to the disk.
func (g *growing) closeFiles() (err error) {
	for i := range g.parts {
		p := &g.parts[i]
		if p.file == nil {
			continue
		}
		if e := p.file.Close(); e != nil && err == nil {
			err = fmt.Errorf("write %s: %w", p.path, e)
		}
		p.file = nil
	}
	return err
}

// close gives up what is open; it does nothing after everything went well.
func (g *growing) close() {
	g.closeFiles() // what matters was synced, or failed and was told
	if g.journal != nil {
		g.journal.close()
	}
}
