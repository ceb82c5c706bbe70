package data

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// source is an opened Source.
type source struct {
	Source
	index   int
	paths   []string
	known   []string // per file: the version of a remote one, "" for local ones
	files   []file
	formats []formatEntry // per file
	whys    []string      // per file: why auto took that format, "" when it was named
	keeps   []func(string) bool
	blocks  []blockRef
	pruned  int // row groups left out because their statistics exclude every row
	conds   []condition
	filter  *filter
	dropped dropped
	share   float64 // rows whose hash is below are valid ...
	valid   bool    // ... and this stream wants those, or the others
	by      string  // column that is hashed; "": the columns of the format
	// cut is the number of rows of the last block that limit leaves, -1 for all.
	cut  int
	info SourceInfo
}

type blockRef struct{ file, block int }

// openSource opens the files of a source and finds the format of each.
func openSource(s Source, index int, c Config, at *places, split string) (_ *source, err error) {
	if s, err = s.described(); err != nil {
		return nil, err
	}
	o := &source{Source: s, index: index, cut: -1}
	defer func() {
		if err != nil {
			o.close()
		}
	}()
	if o.conds, err = parseWhere(s.Where); err != nil {
		return nil, err
	}
	if o.filter, err = parseFilter(s.Filter); err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	if len(c.Valid) == 0 && split != "test" {
		o.share, o.valid, o.by = c.ValidShare, split == "valid", c.ValidBy
	}
	if o.paths, err = at.list(s); err != nil {
		return nil, err
	}
	for _, p := range o.paths {
		if err := o.add(p, c, at); err != nil {
			return nil, err
		}
	}
	o.describe()
	if s.Limit > 0 {
		return o, o.limit()
	}
	return o, nil
}

// add opens one file.
func (o *source) add(path string, c Config, at *places) error {
	path, b, version, err := at.open(path)
	if err != nil {
		return err
	}
	f, err := openFile(path, b, c)
	if err != nil {
		return err
	}
	o.known = append(o.known, version)
	i := len(o.files)
	o.files = append(o.files, f)
	columns := f.columns()
	var first row
	peek := func() error { return firstRow(f, &first) }
	if columns == nil {
		if err := peek(); err != nil {
			return err
		}
		if first.RecordBatch != nil {
			for _, f := range first.Schema().Fields() {
				columns = append(columns, f.Name)
			}
		}
	}
	var entry formatEntry
	why := ""
	if len(columns) > 0 { // an empty file has no rows to be wrong about
		isTruth := func(column string) bool {
			if first.RecordBatch == nil && peek() != nil || first.RecordBatch == nil {
				return false
			}
			raw, _, _ := first.json(column)
			return slices.Contains([]string{"true", "false"}, strings.ToLower(strings.Trim(string(raw), `"`)))
		}
		entry, err = pickFormat(o.Source, columns, isTruth)
		unknown := err != nil && at.columns && o.Format == "auto"
		if err != nil && !unknown {
			return fmt.Errorf("%s: %w", path, err)
		}
		if unknown {
			entry = formatEntry{columns: columns}
		}
		if o.Format == "auto" && !unknown {
			why = entry.why(o.Columns)
		}
	}
	if f.columns() != nil {
		if err := o.check(columns); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	o.formats, o.whys, o.keeps = append(o.formats, entry), append(o.whys, why), append(o.keeps, o.keep(entry))
	p, isParquet := f.(*parquetFile)
	for b := range f.blocks() {
		if isParquet && p.excluded(b, o.equalities()) {
			o.pruned++
			continue
		}
		o.blocks = append(o.blocks, blockRef{i, b})
	}
	return nil
}

// equalities are the comparisons that every row must pass.
func (o *source) equalities() []condition {
	conds := slices.Clone(o.conds)
	if o.filter != nil {
		conds = append(conds, o.filter.equal...)
	}
	return conds
}

// named are the columns that the source's settings name, with the setting.
func (o *source) named() map[string]string {
	names := map[string]string{}
	for _, c := range o.conds {
		names[c.column] = "where"
	}
	if o.filter != nil {
		for _, c := range o.filter.columns {
			names[c] = "filter"
		}
	}
	if o.share > 0 && o.by != "" {
		names[columnName(o.Columns, o.by)] = "valid_by"
	}
	return names
}

// check finds settings that name a column the file has not.
func (o *source) check(columns []string) error {
	for name, setting := range o.named() {
		if len(columns) > 0 && !slices.Contains(columns, name) {
			return fmt.Errorf("%s: expected a column %s, found %s", setting, name, strings.Join(columns, ", "))
		}
	}
	return nil
}

// keep tells the columns that a format and the settings read; no other is.
func (o *source) keep(entry formatEntry) func(string) bool {
	names := o.named()
	for _, key := range entry.columns {
		names[columnName(o.Columns, key)] = "format"
	}
	return func(name string) bool { return names[name] != "" }
}

// firstRow reads the first row of a file, if it has one.
func firstRow(f file, to *row) error {
	for b := range f.blocks() {
		r, err := f.open(b, mark{}, nil)
		if err != nil {
			return err
		}
		got, err := r.next()
		r.close()
		if err == io.EOF {
			continue
		}
		*to = row{got, 0}
		return err
	}
	return nil
}

// limit finds where the first Limit rows that where and filter keep end, and drops the blocks after that.
func (o *source) limit() error {
	left := o.Limit
	if len(o.conds) == 0 && o.filter == nil { // where the files say how many rows they have, none need be read
		for i, ref := range o.blocks {
			n := o.files[ref.file].blocks()[ref.block].rows
			if n < 0 {
				break
			}
			if int64(left) <= n {
				o.blocks, o.cut = o.blocks[:i+1], left
				return nil
			}
			left -= int(n)
		}
		left = o.Limit
	}
	r := &reader{source: o, order: fileOrder, passes: 1, all: true}
	defer r.close()
	for ; left > 0; left-- {
		_, ok, err := r.next()
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
	}
	if r.place.Block < len(o.blocks) {
		o.blocks, o.cut = o.blocks[:r.place.Block+1], r.place.Row
	}
	return nil
}

func (o *source) close() {
	for _, f := range o.files {
		f.close()
	}
}

// local says whether all files lie on this machine.
func (o *source) local() bool {
	return !slices.ContainsFunc(o.known, func(version string) bool { return version != "" })
}

// size is about how many rows there are, for mixing sources.
func (o *source) size() float64 {
	const bytesPerRow = 512 // where a file does not say how many rows it has
	n := 0.0
	for _, ref := range o.blocks {
		b := o.files[ref.file].blocks()[ref.block]
		if b.rows >= 0 {
			n += float64(b.rows)
		} else {
			n += float64(b.bytes)/bytesPerRow + 1
		}
	}
	return n
}

// SourceInfo says what was found at a source.
type SourceInfo struct {
	Path   string   `json:"path"`
	Files  int      `json:"files"`
	Rows   int64    `json:"rows"`             // in the files; -1 when they do not say
	Pruned int      `json:"pruned,omitempty"` // row groups whose statistics exclude every row that where and filter keep
	Format []string `json:"format"`           // per kind of file: its format, and why auto took it
}

// Sources says what was found at each source of the split.
func (s *Stream) Sources() []SourceInfo {
	var infos []SourceInfo
	for _, o := range s.sources {
		infos = append(infos, o.info)
	}
	return infos
}

func (o *source) describe() {
	o.info = SourceInfo{Path: o.Path, Files: len(o.files), Pruned: o.pruned}
	for i, f := range o.files {
		for _, b := range f.blocks() {
			if b.rows < 0 || o.info.Rows < 0 {
				o.info.Rows = -1
				break
			}
			o.info.Rows += b.rows
		}
		text := o.formats[i].name
		if o.whys[i] != "" {
			text += ", because " + o.whys[i]
		}
		if text != "" && !slices.Contains(o.info.Format, text) {
			o.info.Format = append(o.info.Format, text)
		}
	}
}
