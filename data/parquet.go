package data

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

const (
	// batchRows and batchBytes bound a record batch, so that a block of any size is read in bounded memory.
	batchRows  = 1024
	batchBytes = 16 << 20
	// maxPage bounds one decompressed Parquet page and maxRow the strings of one row: a few kilobytes of a compressed file
	// can ask for gigabytes.
	maxPage = 256 << 20
	maxRow  = 256 << 20
)

// parquetFile is a Parquet file. A row group is a block; a column chunk is read page by page.
type parquetFile struct {
	*input
	r     io.ReaderAt // the file, or the file without LZ4
	size  int64       // of r
	pq    *parquet.File
	base  []int64 // (row groups + 1): rows before each row group
	infos []block
}

func openParquet(in *input) (_ file, err error) {
	defer guard(in.name, &err)
	if err := checkFooter(in, in.Size()); err != nil {
		return nil, fmt.Errorf("%s: %w", in.name, err)
	}
	options := []parquet.FileOption{parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true)}
	size := in.Size()
	pq, err := parquet.OpenFile(in, size, options...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", in.name, err)
	}
	var r io.ReaderAt = in
	if hasLZ4(pq.Metadata()) {
		if r, size, err = withoutLZ4(in, size, pq.Metadata()); err != nil {
			return nil, fmt.Errorf("%s: %w", in.name, err)
		}
		if pq, err = parquet.OpenFile(r, size, options...); err != nil {
			return nil, fmt.Errorf("%s: %w", in.name, err)
		}
	}
	p := &parquetFile{input: in, r: r, size: size, pq: pq, base: []int64{0}}
	for i, g := range pq.Metadata().RowGroups {
		if g.NumRows < 0 {
			return nil, fmt.Errorf("%s: row group %d: expected a number of rows, found %d", in.name, i, g.NumRows)
		}
		p.infos = append(p.infos, block{rows: g.NumRows, bytes: max(g.TotalCompressedSize, 1)})
		p.base = append(p.base, p.base[i]+g.NumRows)
	}
	return p, nil
}

// checkFooter compares the length of the footer with the file before anything is allocated by it.
func checkFooter(f io.ReaderAt, size int64) error {
	var tail [8]byte
	if size < 12 {
		return fmt.Errorf("expected a Parquet file, found %d bytes", size)
	}
	if _, err := f.ReadAt(tail[:], size-8); err != nil {
		return err
	}
	if magic := string(tail[4:]); magic != "PAR1" {
		return fmt.Errorf("expected a Parquet file that ends in PAR1, found %q", magic)
	}
	if n := int64(binary.LittleEndian.Uint32(tail[:])); n > size-12 {
		return fmt.Errorf("expected a footer within %d bytes, found one of %d", size, n)
	}
	return nil
}

func (p *parquetFile) blocks() []block { return p.infos }

func (p *parquetFile) columns() []string {
	var names []string
	for _, c := range p.pq.Root().Columns() {
		names = append(names, c.Name())
	}
	return names
}

func (p *parquetFile) key(block int, row int64) string {
	return fmt.Sprintf("%s: row %d", p.name, p.base[block]+row+1)
}

func (p *parquetFile) close() error { return p.Close() }

func (p *parquetFile) open(block int, from mark, keep func(string) bool) (_ batchReader, err error) {
	at := fmt.Sprintf("%s: row group %d", p.name, block)
	defer guard(at, &err)
	r := &parquetReader{at: at, row: int64(from.row), rows: p.infos[block].rows, file: p, block: block}
	group := p.pq.RowGroups()[block]
	chunks := group.ColumnChunks()
	var fields []arrow.Field
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	for _, c := range p.pq.Root().Columns() {
		if keep != nil && !keep(c.Name()) {
			continue
		}
		n, err := parquetTree(c, 0, 0, &r.leaves, 0)
		if err != nil {
			return nil, fmt.Errorf("%s: column %s: %w", p.name, c.Name(), err)
		}
		r.trees = append(r.trees, n)
		fields = append(fields, arrow.Field{Name: c.Name(), Type: n.typ, Nullable: true})
	}
	for _, l := range r.leaves {
		if l.column >= len(chunks) {
			return nil, fmt.Errorf("%s: expected %d column chunks, found %d", at, l.column+1, len(chunks))
		}
		if err := p.checkPages(block, l.column, r.rows); err != nil {
			return nil, fmt.Errorf("%s: column %s: %w", at, l.name, err)
		}
		l.pages = chunks[l.column].Pages()
		if from.row > 0 {
			if err := l.pages.SeekToRow(int64(from.row)); err != nil {
				return nil, fmt.Errorf("%s: column %s: %w", at, l.name, err)
			}
		}
	}
	if len(fields) == 0 {
		return nil, fmt.Errorf("%s: expected one of the columns that are needed, found %s", at, strings.Join(p.columns(), ", "))
	}
	r.schema = arrow.NewSchema(fields, nil)
	return r, nil
}

// checkPages walks the page headers of a column chunk before anything is decompressed: sizes must lie within the chunk,
// counts must add up, and no page may expand to more than maxPage.
func (p *parquetFile) checkPages(group, column int, rows int64) error {
	columns := p.pq.Metadata().RowGroups[group].Columns
	if column >= len(columns) {
		return fmt.Errorf("expected %d column chunks, found %d", column+1, len(columns))
	}
	m := &columns[column].MetaData
	if m.Type < format.Boolean || m.Type > format.FixedLenByteArray {
		return fmt.Errorf("expected a physical type of 0 to 7, found %d", m.Type)
	}
	pos := m.DataPageOffset
	if d := m.DictionaryPageOffset; d > 0 && d < pos {
		pos = d
	}
	end := pos + m.TotalCompressedSize
	if pos < 0 || m.TotalCompressedSize < 0 || end < pos || end > p.size || m.NumValues < 0 {
		return fmt.Errorf("bytes %d to %d of a file of %d bytes, %d values", pos, end, p.size, m.NumValues)
	}
	var values int64
	for pos < end && values < m.NumValues {
		h, n, err := readPageHeader(p.r, pos, end)
		if err != nil {
			return fmt.Errorf("page at byte %d: %w", pos, err)
		}
		size, full := int64(h.CompressedPageSize), int64(h.UncompressedPageSize)
		if size < 0 || full < 0 || pos+n+size > end {
			return fmt.Errorf("page at byte %d: %d bytes, %d decompressed, in a chunk that ends at byte %d", pos, size, full, end)
		}
		if !canExpand(m.Codec, size, full) {
			return fmt.Errorf("page at byte %d: %d bytes of %v cannot become %d", pos, size, m.Codec, full)
		}
		if full > maxPage {
			return fmt.Errorf("page at byte %d: expected at most %d bytes when decompressed, found %d", pos, maxPage, full)
		}
		count := int64(0)
		switch {
		case h.DataPageHeader.Valid:
			count = int64(h.DataPageHeader.V.NumValues)
		case h.DataPageHeaderV2.Valid:
			count = int64(h.DataPageHeaderV2.V.NumValues)
		case h.DictionaryPageHeader.Valid && h.DictionaryPageHeader.V.NumValues < 0:
			count = -1
		}
		if count < 0 || count > m.NumValues {
			return fmt.Errorf("page at byte %d: %d values in a chunk of %d", pos, count, m.NumValues)
		}
		values += count
		pos += n + size
	}
	if values != m.NumValues || values < rows {
		return fmt.Errorf("expected %d values for %d rows, found %d", m.NumValues, rows, values)
	}
	return nil
}

// canExpand says whether a codec can make full bytes of size, so that a damaged length allocates nothing. Brotli and zstd
// have no such bound.
func canExpand(codec format.CompressionCodec, size, full int64) bool {
	ratio := map[format.CompressionCodec]int64{format.Uncompressed: 1, format.Snappy: 64, format.Gzip: 1040, format.Lz4: 256, format.Lz4Raw: 256}[codec]
	return ratio == 0 || full <= ratio*size
}

// readPageHeader decodes the header at a position and returns its length.
func readPageHeader(f io.ReaderAt, pos, end int64) (*format.PageHeader, int64, error) {
	for _, room := range []int64{512, 1 << 20, maxRow} { // statistics hold whole values, the least and the greatest
		buf := make([]byte, min(room, end-pos))
		if _, err := f.ReadAt(buf, pos); err != nil {
			return nil, 0, err
		}
		var h format.PageHeader
		r := bytes.NewReader(buf)
		err := thrift.NewDecoder((&thrift.CompactProtocol{}).NewReader(r)).Decode(&h)
		if err == nil {
			return &h, int64(len(buf) - r.Len()), nil
		}
		if int64(len(buf)) < room {
			return nil, 0, err
		}
	}
	return nil, 0, io.ErrUnexpectedEOF
}

// parquetReader makes record batches of the pages of a row group.
type parquetReader struct {
	at     string
	file   *parquetFile
	block  int
	row    int64 // next row of the row group
	rows   int64
	schema *arrow.Schema
	trees  []*parquetNode
	leaves []*parquetLeaf
}

func (r *parquetReader) next() (_ batch, err error) {
	defer guard(r.at, &err)
	if r.row >= r.rows {
		return batch{}, io.EOF
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, r.schema)
	defer b.Release()
	var out batch
	from, total := r.row, 0
	for r.row < min(r.rows, from+batchRows) && total < batchBytes {
		one := &parquetRow{in: r.file.input}
		for i, t := range r.trees {
			if err := t.appendRow(b.Field(i), r.leaves, one); err != nil {
				return batch{}, fmt.Errorf("%s: column %s: %w", r.file.key(r.block, r.row), r.schema.Field(i).Name, err)
			}
		}
		out.repair(int(r.row-from), one.repaired)
		total += one.used
		r.row++
	}
	out.RecordBatch, out.key = b.NewRecordBatch(), func(i int) string { return r.file.key(r.block, from+int64(i)) }
	return out, nil
}

func (r *parquetReader) close() {
	for _, l := range r.leaves {
		l.close()
	}
}
