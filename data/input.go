package data

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"tune/internal/hint"
)

// blob is the bytes of a file: a local one, or one read over the network by ranges.
type blob interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// localBlob is a file of the file system.
type localBlob struct {
	*os.File
	size int64
}

func (l localBlob) Size() int64 { return l.size }

func openLocal(path string) (blob, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return localBlob{f, info.Size()}, nil
}

// input is a blob with all that its reader has to know.
type input struct {
	blob
	name      string // for messages
	codec     *codec // nil: the bytes stand as they are
	documents string // Config.Documents
	repair    bool   // invalid UTF-8 is replaced, not refused
}

// codec is a compression that text forms may stand in.
type codec struct {
	suffix string
	reader func(io.Reader) (io.ReadCloser, error)
}

// maxZstdWindow bounds what a zstd frame may ask for; it is what the zstd program itself accepts without being told more.
const maxZstdWindow = 128 << 20

var codecs = []codec{
	{".gz", func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }},
	{".zst", func(r io.Reader) (io.ReadCloser, error) {
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}},
	{".bz2", func(r io.Reader) (io.ReadCloser, error) { return io.NopCloser(bzip2.NewReader(r)), nil }},
}

// codecOf cuts the end of a compressed file's name off.
func codecOf(name string) (string, *codec) {
	for i := range codecs {
		if plain, ok := strings.CutSuffix(name, codecs[i].suffix); ok {
			return plain, &codecs[i]
		}
	}
	return name, nil
}

// from reads from an offset on. The offset in a compressed file counts decompressed bytes, and what stands before it is
// decompressed and thrown away.
func (in *input) from(offset int64) (io.ReadCloser, error) {
	if in.codec == nil {
		offset = min(offset, in.Size())
		return io.NopCloser(io.NewSectionReader(in.blob, offset, in.Size()-offset)), nil
	}
	z, err := in.codec.reader(io.NewSectionReader(in.blob, 0, in.Size()))
	if err == nil && offset > 0 {
		_, err = io.CopyN(io.Discard, z, offset)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", in.name, whole(err))
	}
	return z, nil
}

var byteOrderMark = []byte("\ufeff")

// skipMark passes over a byte order mark at the begin of a file, and returns its length.
func skipMark(r *bufio.Reader) int64 {
	if b, _ := r.Peek(len(byteOrderMark)); !bytes.Equal(b, byteOrderMark) {
		return 0
	}
	n, _ := r.Discard(len(byteOrderMark))
	return int64(n)
}

// whole says of an end that came too early what it means.
func whole(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("the file ends too early: %w", io.ErrUnexpectedEOF)
	}
	return err
}

var errNotUTF8 = hint.Errorf("utf8: replace puts U+FFFD in the place of such bytes and counts the rows", "expected UTF-8")

// text checks that bytes are UTF-8, or makes them so when that is wished.
func (in *input) text(b []byte) (_ []byte, repaired bool, _ error) {
	switch {
	case utf8.Valid(b):
		return b, false, nil
	case in.repair:
		return bytes.ToValidUTF8(b, []byte("\ufffd")), true, nil
	}
	return nil, false, errNotUTF8
}

// bounded reads on until a row has taken more bytes than a row may.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("expected rows of at most %d bytes", maxRow)
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// row begins a new row.
func (b *bounded) row() { b.left = maxRow }
