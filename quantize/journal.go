package quantize

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"sync"
)

// A journal lists the numbers of the units of work whose bytes have reached the disk, so that a killed run can be continued. Its
// first line says what the run was of.
type journal struct {
	path  string
	head  string       // the first line
	done  []bool       // units, by an earlier run
	whole bool         // an earlier run had everything on disk and was stopped while it gave the files their names
	kept  int64        // bytes that are continued
	limit int64        // bytes between two entries
	store func() error // brings what was written to the disk
	file  *os.File

	mu      sync.Mutex
	pending bytes.Buffer // numbers of units that are written but perhaps not on disk
	unsaved int64
}

// wholeLine ends the journal when everything is on disk and only names are missing.
const wholeLine = "whole\n"

// readJournal finds the units that an earlier run finished. begun: there is a journal; same: it is of the same work.
func readJournal(path, head string, units int) (j *journal, begun, same bool, err error) {
	j = &journal{path: path, head: head + "\n", done: make([]bool, units), limit: syncBytes}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return j, false, false, nil
	}
	if err != nil {
		return nil, false, false, err
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1] // the last line may have been cut off
	rest, same := bytes.CutPrefix(text, []byte(j.head))
	if !same {
		return j, true, false, nil
	}
	for line := range bytes.Lines(rest) {
		if i, err := strconv.Atoi(string(bytes.TrimSuffix(line, []byte("\n")))); err == nil && i >= 0 && i < units {
			j.done[i] = true
		}
	}
	j.kept, j.whole = int64(len(text)), bytes.HasSuffix(rest, []byte(wholeLine))
	return j, true, true, nil
}

// count is the number of units that are done.
func (j *journal) count() (n int) {
	for _, d := range j.done {
		if d {
			n++
		}
	}
	return n
}

// restart forgets an earlier run, before any of its files is touched.
func (j *journal) restart() error {
	clear(j.done)
	j.kept, j.whole = 0, false
	if err := os.Remove(j.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// open begins or continues the file; store brings the bytes of units to the disk before their numbers follow.
func (j *journal) open(store func() error) (err error) {
	j.store = store
	if j.file, err = os.OpenFile(j.path, os.O_RDWR|os.O_CREATE, 0o666); err != nil {
		return err
	}
	if err := j.file.Truncate(j.kept); err != nil {
		return err
	}
	if _, err := j.file.Seek(j.kept, 0); err != nil {
		return err
	}
	if j.kept == 0 {
		return j.write([]byte(j.head))
	}
	return j.file.Sync()
}

func (j *journal) write(text []byte) error {
	if _, err := j.file.Write(text); err != nil {
		return fmt.Errorf("write %s: %w", j.path, err)
	}
	return j.file.Sync()
}

// record notes a unit of so many bytes.
func (j *journal) record(unit int, bytes int64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	fmt.Fprintf(&j.pending, "%d\n", unit)
	if j.unsaved += bytes; j.unsaved < j.limit {
		return nil
	}
	return j.save()
}

// flush makes the journal complete, also when the work was stopped.
func (j *journal) flush() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.save()
}

func (j *journal) save() error {
	if j.pending.Len() == 0 {
		return nil
	}
	if err := j.store(); err != nil {
		return err
	}
	if err := j.write(j.pending.Bytes()); err != nil {
		return err
	}
	j.pending.Reset()
	j.unsaved = 0
	return nil
}

// close does nothing the second time.
func (j *journal) close() {
	if j.file != nil {
		j.file.Close() // what matters was synced, or failed and was told
		j.file = nil
	}
}

// remove ends it all. Some systems ask for it to be closed before.
func (j *journal) remove() error {
	j.close()
	return os.Remove(j.path)
}
