package licenses

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/parquet-go/parquet-go"

	"tune/internal/atomicfile"
	"tune/internal/hint"
)

// Names of the files that Files writes.
const (
	TrainFile = "train.parquet"
	ValidFile = "valid.parquet"
	TestFile  = "test.parquet"
	TextFile  = "text.parquet"
	AboutFile = "about.txt" // what became of the texts, for people
)

// message is a turn, as chat data sets store it.
type message struct {
	Role    string `parquet:"role"`
	Content string `parquet:"content"`
}

// record is a Row as it is stored.
type record struct {
	Messages []message `parquet:"messages,list"`
	Excerpt  string    `parquet:"excerpt"`
	Label    string    `parquet:"label"`
	SPDX     []string  `parquet:"spdx,list"`
}

// document is a text as it is stored.
type document struct {
	Text string `parquet:"text"`
}

// Files returns the folder of the data set below cache ("" is the user's cache folder). What is not there yet is built and
// written first; the folder gets its name when all files are complete, so that two programs may do this at once.
func Files(cache string) (string, error) {
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return "", hint.Errorf("set data.cache to a folder for built-in data sets", "licenses: %w", err)
		}
		cache = filepath.Join(dir, "tune")
	}
	final := filepath.Join(cache, "licenses-"+Version)
	if complete(final) {
		return final, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", hint.Errorf("set data.cache to a folder that can be written", "licenses: %w", err)
	}
	s, err := Build()
	if err != nil {
		return "", err
	}
	partial, err := os.MkdirTemp(cache, "licenses-"+Version+".*.partial")
	if err != nil {
		return "", hint.Errorf("set data.cache to a folder that can be written", "licenses: %w", err)
	}
	defer os.RemoveAll(partial)
	if err := os.Chmod(partial, 0o755); err != nil {
		return "", fmt.Errorf("licenses: %w", err)
	}
	for name, rows := range map[string][]Row{TrainFile: s.Train, ValidFile: s.Valid, TestFile: s.Test} {
		if err := write(filepath.Join(partial, name), records(rows)); err != nil {
			return "", err
		}
	}
	docs := make([]document, len(s.Text))
	for i, t := range s.Text {
		docs[i] = document{t}
	}
	if err := write(filepath.Join(partial, TextFile), docs); err != nil {
		return "", err
	}
	if err := atomicfile.Write(filepath.Join(partial, AboutFile), []byte(s.Counts.String()+"\n")); err != nil {
		return "", fmt.Errorf("licenses: %w", err)
	}
	if err := os.Rename(partial, final); err != nil && !complete(final) {
		// a folder that lacks a file is in the way
		if err := os.RemoveAll(final); err != nil {
			return "", fmt.Errorf("licenses: %w", err)
		}
		if err := os.Rename(partial, final); err != nil && !complete(final) {
			return "", fmt.Errorf("licenses: %w", err)
		}
	}
	return final, nil
}

// About says what became of the texts when the data set in a folder that Files returned was made.
func About(dir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, AboutFile))
	if err != nil {
		return "", fmt.Errorf("licenses: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func complete(dir string) bool {
	for _, name := range []string{TrainFile, ValidFile, TestFile, TextFile, AboutFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

func records(rows []Row) []record {
	rs := make([]record, len(rows))
	for i, r := range rows {
		rs[i] = record{[]message{{"user", Instruction + "\n\n" + r.Excerpt}, {"assistant", r.Label}}, r.Excerpt, r.Label, r.SPDX}
	}
	return rs
}

// write writes rows as Parquet, zstd compressed, in row groups of rowGroup rows; equal rows give equal bytes.
func write[T any](path string, rows []T) error {
	const rowGroup = 256
	var buf bytes.Buffer
	w := parquet.NewGenericWriter[T](&buf, parquet.Compression(&parquet.Zstd), parquet.MaxRowsPerRowGroup(rowGroup),
		parquet.CreatedBy("tune", "licenses-"+Version, ""))
	_, err := w.Write(rows)
	if e := w.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return atomicfile.Write(path, buf.Bytes())
}
