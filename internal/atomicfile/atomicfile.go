// Package atomicfile writes files that are whole or absent: a file grows under the name path.partial and takes its real
// name only after everything has reached the disk.
package atomicfile

import (
	"fmt"
	"os"
	"path/filepath"
)

// File is a file being written.
type File struct {
	*os.File
	path string
}

// Create starts path.partial, replacing one that an earlier run left behind. The folder is made when it is missing.
func Create(path string) (*File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.Create(path + ".partial")
	if err != nil {
		return nil, err
	}
	return &File{f, path}, nil
}

// Commit flushes the file to disk and gives it its name.
func (f *File) Commit() error {
	err := f.Sync()
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), f.path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	SyncDir(filepath.Dir(f.path))
	return nil
}

// Abort removes what was written. After Commit it does nothing, so that it can be deferred.
func (f *File) Abort() {
	if f.Close() == nil {
		os.Remove(f.Name())
	}
}

// Write writes a whole file.
func Write(path string, data []byte) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return f.Commit()
}

// SyncDir makes a rename durable where folders can be synced; where they cannot (Windows) the rename is all there is.
func SyncDir(dir string) {
	d, err := os.Open(dir)
	if err != nil {
		return
	}
	defer d.Close()
	d.Sync()
}
