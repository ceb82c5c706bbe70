package safetensors

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tune/internal/hint"
	"tune/internal/tensor"
)

// File names of the convention.
const (
	SingleName = "model.safetensors"
	IndexName  = "model.safetensors.index.json"
)

// ErrIndex is wrapped by errors about a model.safetensors.index.json that does not fit its files.
var ErrIndex = errors.New("index does not fit the files")

// Dir is a checkpoint of one or several mapped files. It implements tensor.Source.
type Dir struct {
	files  []*File
	names  []string
	where  map[string]*File
	closes []func() error
}

// Open maps a file, or the files of a folder: those of the index, or model.safetensors, or the only one there is.
func Open(path string) (*Dir, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		if path, err = inFolder(path); err != nil {
			return nil, err
		}
	}
	d := &Dir{where: map[string]*File{}}
	if strings.HasSuffix(path, ".index.json") {
		err = d.openIndex(path)
	} else {
		err = d.add(path)
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// inFolder chooses the file of a folder to open.
func inFolder(dir string) (string, error) {
	for _, name := range []string{IndexName, SingleName} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return filepath.Join(dir, name), nil
		}
	}
	all, err := filepath.Glob(filepath.Join(escape(dir), "*.safetensors"))
	if err != nil || len(all) != 1 {
		return "", hint.Errorf("a checkpoint folder holds "+SingleName+", or shards and "+IndexName,
			"%s: expected %s or %s, found %d other .safetensors files", dir, SingleName, IndexName, len(all))
	}
	return all[0], nil
}

// escape makes a folder's name safe inside a glob pattern.
func escape(dir string) string {
	return strings.NewReplacer(`*`, `[*]`, `?`, `[?]`, `[`, `[[]`).Replace(dir)
}

func (d *Dir) add(path string) error {
	data, closeFile, err := tensor.MapFile(path)
	if err != nil {
		return err
	}
	d.closes = append(d.closes, closeFile)
	f, err := ParseMapped(path, data)
	if err != nil {
		return err
	}
	for _, name := range f.names {
		if other, ok := d.where[name]; ok {
			return fmt.Errorf("%s: tensor %q: also in %s", path, name, other.name)
		}
		d.where[name] = f
	}
	d.files, d.names = append(d.files, f), append(d.names, f.names...)
	return nil
}

func (d *Dir) openIndex(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return fmt.Errorf("%s: %w: %w", path, ErrIndex, err)
	}
	shards := map[string]bool{}
	for _, shard := range index.WeightMap {
		shards[shard] = true
	}
	if len(shards) == 0 {
		return fmt.Errorf("%s: %w: no weight_map", path, ErrIndex)
	}
	sorted := make([]string, 0, len(shards))
	for shard := range shards {
		sorted = append(sorted, shard)
	}
	slices.Sort(sorted)
	for _, shard := range sorted {
		if !filepath.IsLocal(shard) || filepath.Base(shard) != shard {
			return fmt.Errorf("%s: %w: expected the name of a file beside the index, found %q", path, ErrIndex, shard)
		}
		err := d.add(filepath.Join(filepath.Dir(path), shard))
		if errors.Is(err, fs.ErrNotExist) {
			return hint.Errorf("is the download complete?", "%s: %w: %w", path, ErrIndex, err)
		}
		if err != nil {
			return err
		}
	}
	return d.matchIndex(path, index.WeightMap)
}

// matchIndex demands that index and files name the same tensors in the same places.
func (d *Dir) matchIndex(path string, weightMap map[string]string) error {
	var wrong []string
	for name, shard := range weightMap {
		f, ok := d.where[name]
		switch {
		case !ok:
			wrong = append(wrong, fmt.Sprintf("%q is not in %s", name, shard))
		case filepath.Base(f.name) != shard:
			wrong = append(wrong, fmt.Sprintf("%q is in %s, not in %s", name, filepath.Base(f.name), shard))
		}
	}
	for _, name := range d.names {
		if shard := filepath.Base(d.where[name].name); weightMap[name] == "" {
			wrong = append(wrong, fmt.Sprintf("%q of %s is not in the index", name, shard))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	more := ""
	if n := len(wrong) - 5; n > 0 {
		wrong, more = wrong[:5], fmt.Sprintf(" and %d more", n)
	}
	return fmt.Errorf("%s: %w: %s%s", path, ErrIndex, strings.Join(wrong, "; "), more)
}

// Close unmaps the files; tensors of the Dir are invalid afterwards.
func (d *Dir) Close() error {
	var errs []error
	for _, c := range d.closes {
		errs = append(errs, c())
	}
	d.closes = nil
	return errors.Join(errs...)
}

// Files lists the files in the order of their names.
func (d *Dir) Files() []*File { return d.files }

// Name is the path the file was opened with.
func (f *File) Name() string { return f.name }

// Names lists the tensors file by file, in the order of the data.
func (d *Dir) Names() []string { return d.names }

// Metadata is the __metadata__ of the first file.
func (d *Dir) Metadata() map[string]string { return d.files[0].metadata }

// Info describes a tensor.
func (d *Dir) Info(name string) (tensor.Info, error) {
	f, ok := d.where[name]
	if !ok {
		return tensor.Info{}, tensor.Missing(name)
	}
	return f.Info(name)
}

// Tensor returns a view of a tensor.
func (d *Dir) Tensor(name string) (tensor.Tensor, error) {
	f, ok := d.where[name]
	if !ok {
		return tensor.Tensor{}, tensor.Missing(name)
	}
	return f.Tensor(name)
}
