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
	Done  []bool // by an earlier run
	sync  func() error
	limit int64 // bytes between two entries
	file  *os.File

	mu      sync.Mutex
	pending bytes.Buffer // numbers of units that are written but perhaps not on disk
	unsaved int64
}

// readJournal finds the units that an earlier run finished. begun: there is a journal; same: it is of the same work.
func readJournal(path, head string, units int) (j *journal, begun, same bool, err error) {
	j = &journal{path: path, Done: make([]bool, units), limit: syncBytes}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return j, false, false, nil
	}
	if err != nil {
		return nil, false, false, err
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1] // the last line may have been cut off
	rest, same := bytes.CutPrefix(text, []byte(head+"\n"))
	if !same {
		return j, true, false, nil
	}
	for line := range bytes.Lines(rest) {
		if i, err := strconv.Atoi(string(bytes.TrimSuffix(line, []byte("\n")))); err == nil && i >= 0 && i < units {
			j.Done[i] = true
		}
	}
	return j, true, true, nil
}

// count is the number of units that are done.
func (j *journal) count() (n int) {
	for _, d := range j.Done {
		if d {
			n++
		}
	}
	return n
}

// open begins or continues the file; sync brings the bytes of units to the disk before their numbers follow.
func (j *journal) open(head string, sync func() error) (err error) {
	j.sync = sync
	text := []byte(head + "\n")
	for i, d := range j.Done {
		if d {
			text = fmt.Appendf(text, "%d\n", i)
		}
	}
	if j.file, err = os.OpenFile(j.path, os.O_RDWR|os.O_CREATE, 0o666); err != nil {
		return err
	}
	if _, err := j.file.WriteAt(text, 0); err != nil {
		return err
	}
	if err := j.file.Truncate(int64(len(text))); err != nil {
		return err
	}
	if _, err := j.file.Seek(int64(len(text)), 0); err != nil {
		return err
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
	if err := j.sync(); err != nil {
		return err
	}
	if _, err := j.file.Write(j.pending.Bytes()); err != nil {
		return fmt.Errorf("write %s: %w", j.path, err)
	}
	j.pending.Reset()
	j.unsaved = 0
	return j.file.Sync()
}

func (j *journal) close() {
	if j.file != nil {
		j.file.Close() // what matters was synced, or failed and was told
		j.file = nil
	}
}
