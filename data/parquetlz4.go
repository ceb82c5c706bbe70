package data

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
	"github.com/pierrec/lz4/v4"
)

// maxLZ4 bounds what the LZ4 chunks of a file may expand to together.
const maxLZ4 = 1 << 30

// withoutLZ4 presents a Parquet file with its LZ4 column chunks decompressed: the file, the chunks behind it, and a
// new footer. parquet-go v0.32.0 lacks the deprecated LZ4 codec (Hadoop's framing), returns empty strings for some LZ4_RAW pages and
// grows its buffer without end when a page is damaged. m is changed.
func withoutLZ4(f io.ReaderAt, size int64, m *format.FileMetaData) (io.ReaderAt, int64, error) {
	var tail []byte
	for g := range m.RowGroups {
		for c := range m.RowGroups[g].Columns {
			chunk := &m.RowGroups[g].Columns[c].MetaData
			if chunk.Codec != format.Lz4 && chunk.Codec != format.Lz4Raw {
				continue
			}
			at := size + int64(len(tail))
			var first int64
			var err error
			if tail, first, err = decompressChunk(tail, f, size, chunk); err != nil {
				return nil, 0, fmt.Errorf("row group %d: column %d: %w", g, c, err)
			}
			chunk.Codec = format.Uncompressed
			chunk.DictionaryPageOffset, chunk.DataPageOffset = 0, at
			if first > 0 { // pages before the first data page are the dictionary
				chunk.DictionaryPageOffset, chunk.DataPageOffset = at, at+first
			}
			chunk.TotalCompressedSize = size + int64(len(tail)) - at
			chunk.TotalUncompressedSize = chunk.TotalCompressedSize
		}
	}
	footer, err := thrift.Marshal(&thrift.CompactProtocol{}, m)
	if err != nil {
		return nil, 0, err
	}
	tail = append(tail, footer...)
	tail = append(binary.LittleEndian.AppendUint32(tail, uint32(len(footer))), "PAR1"...)
	return &extended{f, size, tail}, size + int64(len(tail)), nil
}

// hasLZ4 says whether withoutLZ4 has anything to do.
func hasLZ4(m *format.FileMetaData) bool {
	for _, g := range m.RowGroups {
		for _, c := range g.Columns {
			if c.MetaData.Codec == format.Lz4 || c.MetaData.Codec == format.Lz4Raw {
				return true
			}
		}
	}
	return false
}

// extended is a file with bytes behind its end.
type extended struct {
	io.ReaderAt
	size int64
	tail []byte
}

func (e *extended) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	if off < e.size {
		k := min(int64(len(p)), e.size-off)
		var err error
		if n, err = e.ReaderAt.ReadAt(p[:k], off); int64(n) < k {
			return n, err
		}
	}
	if n == len(p) {
		return n, nil
	}
	from := off + int64(n) - e.size
	if from >= int64(len(e.tail)) {
		return n, io.EOF
	}
	k := copy(p[n:], e.tail[from:])
	if n += k; n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// decompressChunk appends the pages of a chunk without compression. first is where the first data page begins.
func decompressChunk(dst []byte, f io.ReaderAt, size int64, m *format.ColumnMetaData) (_ []byte, first int64, _ error) {
	pos := m.DataPageOffset
	if d := m.DictionaryPageOffset; d > 0 && d < pos {
		pos = d
	}
	end := pos + m.TotalCompressedSize
	if pos < 0 || end < pos || end > size {
		return nil, 0, fmt.Errorf("bytes %d to %d of a file of %d bytes", pos, end, size)
	}
	begin := len(dst)
	found := false
	for pos < end {
		h, n, err := readPageHeader(f, pos, end)
		if err != nil {
			return nil, 0, fmt.Errorf("page at byte %d: %w", pos, err)
		}
		packed, full := int64(h.CompressedPageSize), int64(h.UncompressedPageSize)
		if packed < 0 || full < 0 || pos+n+packed > end || !canExpand(m.Codec, packed, full) || full > maxPage || int64(len(dst))+full > maxLZ4 {
			return nil, 0, fmt.Errorf("page at byte %d: %d bytes, %d decompressed, in a chunk that ends at byte %d", pos, packed, full, end)
		}
		src := make([]byte, packed)
		if _, err := f.ReadAt(src, pos+n); err != nil {
			return nil, 0, err
		}
		page, err := decompressPage(src, int(full), h, m.Codec)
		if err != nil {
			return nil, 0, fmt.Errorf("page at byte %d: %w", pos, err)
		}
		if !found && (h.DataPageHeader.Valid || h.DataPageHeaderV2.Valid) {
			first, found = int64(len(dst)-begin), true
		}
		h.CompressedPageSize, h.CRC = h.UncompressedPageSize, 0
		header, err := thrift.Marshal(&thrift.CompactProtocol{}, h)
		if err != nil {
			return nil, 0, err
		}
		dst = append(append(dst, header...), page...)
		pos += n + packed
	}
	return dst, first, nil
}

// decompressPage decompresses a page, of version 2 the part after the levels.
func decompressPage(src []byte, full int, h *format.PageHeader, codec format.CompressionCodec) ([]byte, error) {
	levels := 0
	if h.DataPageHeaderV2.Valid {
		v2 := &h.DataPageHeaderV2.V
		levels = int(v2.DefinitionLevelsByteLength) + int(v2.RepetitionLevelsByteLength)
		if levels < 0 || levels > len(src) || levels > full {
			return nil, fmt.Errorf("%d bytes of levels in a page of %d", levels, len(src))
		}
		if v2.IsCompressed.Valid && !v2.IsCompressed.V {
			if len(src) != full {
				return nil, fmt.Errorf("expected %d bytes, found %d", full, len(src))
			}
			return src, nil
		}
	}
	out := make([]byte, full)
	copy(out, src[:levels])
	rest, packed := out[levels:], src[levels:]
	if len(rest) == 0 {
		return out, nil
	}
	if codec == format.Lz4 && unframe(rest, packed) == nil {
		return out, nil
	}
	n, err := lz4.UncompressBlock(packed, rest)
	if err != nil || n != len(rest) {
		return nil, fmt.Errorf("expected %d bytes of LZ4, found %d: %w", len(rest), n, errors.Join(err, errDamagedLZ4))
	}
	return out, nil
}

var errDamagedLZ4 = errors.New("the page is damaged")

// unframe reads Hadoop's framing: blocks, each after its length in memory and its length in the file, big-endian.
func unframe(dst, src []byte) error {
	r := bytes.NewReader(src)
	for len(dst) > 0 {
		var size [2]uint32
		if err := binary.Read(r, binary.BigEndian, &size); err != nil {
			return err
		}
		if int64(size[0]) > int64(len(dst)) || size[0] == 0 || int64(size[1]) > int64(r.Len()) || size[1] > math.MaxInt32 {
			return errDamagedLZ4
		}
		at := len(src) - r.Len()
		n, err := lz4.UncompressBlock(src[at:at+int(size[1])], dst[:size[0]])
		if err != nil || n != int(size[0]) {
			return errors.Join(err, errDamagedLZ4)
		}
		dst = dst[n:]
		if _, err := r.Seek(int64(size[1]), io.SeekCurrent); err != nil {
			return err
		}
	}
	if r.Len() > 0 {
		return errDamagedLZ4
	}
	return nil
}
