package data

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"tune/internal/atomicfile"
	"tune/internal/hint"
)

const (
	cacheVersion = 2       // changes when rows are cached in another way
	cacheRows    = 1 << 13 // of a record batch
	cacheTokens  = 4 << 20
	cachedName   = "cached tokens"
)

// cacheSchema is a row as tokens, before overlength is applied. labels is null where it equals ids. filtered and duplicates
// are the rows that were passed over in the chunk that ends with this one.
var cacheSchema = arrow.NewSchema([]arrow.Field{
	{Name: "ids", Type: arrow.ListOf(arrow.PrimitiveTypes.Int32)},
	{Name: "labels", Type: arrow.ListOf(arrow.PrimitiveTypes.Int32), Nullable: true},
	{Name: "rejected_ids", Type: arrow.ListOf(arrow.PrimitiveTypes.Int32), Nullable: true},
	{Name: "rejected_labels", Type: arrow.ListOf(arrow.PrimitiveTypes.Int32), Nullable: true},
	{Name: "key", Type: arrow.BinaryTypes.String},
	{Name: "counts", Type: arrow.ListOf(arrow.PrimitiveTypes.Int32)}, // role, is text, repaired, unwanted, filtered, duplicates, unsupervised
}, nil)

const numCounts = 7

// cached gives a mapped file of tokens in the place of each source that wanted accepts. A file is made when there is none of the
// same content, settings, template and tokenizer; all runs that agree in these share it.
func (s *Stream) cached(ctx context.Context, wanted func(*source) bool) ([]*source, error) {
	dir := s.places.cache
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return nil, hint.Errorf("set data.cache", "data: no folder for the token cache: %w", err)
		}
		dir = filepath.Join(user, "tune")
	}
	h := sha256.New()
	if err := s.encoding(h); err != nil {
		return nil, err
	}
	sources := slices.Clone(s.sources)
	for i, o := range s.sources {
		if err := o.hash(h); err != nil { // what dedup drops depends on the sources before this one
			return nil, err
		}
		if !wanted(o) {
			continue
		}
		path := filepath.Join(dir, "tokens", hex.EncodeToString(h.Sum(nil))+".arrow")
		if _, err := os.Stat(path); err != nil {
			if err := s.makeCache(ctx, o, path); err != nil {
				return nil, err
			}
		}
		c, err := openCache(o, path)
		if err != nil {
			return nil, err
		}
		s.caches = append(s.caches, c)
		sources[i] = c
	}
	return sources, nil
}

// encoding writes everything but the rows that tokens depend on.
func (s *Stream) encoding(w io.Writer) error {
	c := s.config
	d := Default()
	c.Seq, c.Packing, c.Order, c.Overlength = d.Seq, d.Packing, d.Order, d.Overlength
	c.Mix, c.Temperature, c.Until = d.Mix, d.Temperature, d.Until
	if err := c.hash(w); err != nil {
		return err
	}
	side := ""
	if c.ValidShare > 0 && len(c.Valid) == 0 {
		side = s.options.Split
	}
	err := json.NewEncoder(w).Encode([]any{cacheVersion, side, s.options.Vocab, s.options.Pairs})
	if t := s.options.Tokenizer; t != nil {
		fmt.Fprintf(w, "%x %x\n", sha256.Sum256(t.JSON()), sha256.Sum256(t.ConfigJSON()))
	}
	if t := s.options.Template; t != nil {
		fmt.Fprintf(w, "%x\n", sha256.Sum256([]byte(t.Source())))
	}
	return err
}

// openCache is the source that a cache file is.
func openCache(o *source, path string) (*source, error) {
	b, err := openLocal(path)
	if err != nil {
		return nil, err
	}
	f, err := openFile(path, b, Default())
	if err != nil {
		return nil, hint.Errorf("remove the file; it is made anew", "token cache: %w", err)
	}
	c := &source{Source: o.Source, index: o.index, paths: o.paths, known: o.known, files: []file{f}, info: o.info, cut: -1,
		formats: []formatEntry{{name: cachedName}}, keeps: []func(string) bool{nil}}
	for i := range f.blocks() {
		c.blocks = append(c.blocks, blockRef{0, i})
	}
	return c, nil
}

// makeCache tokenizes a source into a file, which is whole or absent.
func (s *Stream) makeCache(ctx context.Context, o *source, path string) error {
	s.report("%s: writing tokens to %s", o.Path, path)
	own := fmt.Sprintf("%s.%d", path, os.Getpid()) // another run may be making the same
	f, err := atomicfile.Create(own)
	if err == nil {
		defer f.Abort()
		if err = s.writeCache(ctx, o, f, s.room(o.Path, filepath.Dir(path))); err == nil {
			err = f.Commit()
		}
	}
	if err == nil {
		err = os.Rename(own, path)
	}
	if errors.Is(err, syscall.ENOSPC) {
		err = hint.Errorf("make room, let data.cache name a folder on another disk, or set token_cache: false and order: windows, which writes none",
			"the disk of the token cache is full: %w", err)
	}
	return err
}

// room is told how many bytes of a cache are written and what share of the rows that is. It reports ten times, and says when the
// disk has no room for the rest before it is full.
func (s *Stream) room(name, dir string) func(written int64, share float64) error {
	said := -1
	return func(written int64, share float64) error {
		if share == 0 || int(10*share) == said {
			return nil
		}
		said = int(10 * share)
		total := int64(float64(written) / share)
		if free, ok := atomicfile.Free(dir); ok && free < total-written {
			return fmt.Errorf("%s: expected %d MB of free disk for about %d MB, found %d MB: %w", name, (total-written)>>20, total>>20, free>>20, syscall.ENOSPC)
		}
		if share < 0.95 {
			s.report("%s: tokens of %.0f %% of the rows, %d MB of about %d MB", name, 100*share, written>>20, total>>20)
		}
		return nil
	}
}

// counter counts what is written.
type counter struct {
	io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n += int64(n)
	return n, err
}

// cacheRow is a row on its way into the cache.
type cacheRow struct {
	drawn
	stats   Stats
	example Example
	isText  bool
	err     error
}

func (s *Stream) writeCache(ctx context.Context, o *source, w io.Writer, told func(written int64, share float64) error) error {
	count := &counter{Writer: w}
	out, err := ipc.NewFileWriter(count, ipc.WithSchema(cacheSchema))
	if err != nil {
		return err
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, cacheSchema)
	defer b.Release()
	r := &reader{source: o, order: fileOrder, passes: 1}
	defer r.close()
	rows, tokens := 0, 0
	flush := func() error {
		batch := b.NewRecordBatch()
		defer batch.Release()
		rows, tokens = 0, 0
		if batch.NumRows() == 0 {
			return nil
		}
		if err := out.Write(batch); err != nil {
			return err
		}
		return told(count.n, r.share())
	}
	err = r.chunks(ctx, func(chunk []drawn) error {
		made := make([]cacheRow, len(chunk))
		parallel(len(chunk), func(i int) {
			c := &made[i]
			c.drawn = chunk[i]
			c.example, c.isText, c.err = s.example(c.drawn, &c.stats)
		})
		if len(made) > 0 {
			r.counted(&made[len(made)-1].stats)
		}
		for i := range made {
			if made[i].err != nil {
				return made[i].err
			}
			made[i].append(b)
			rows, tokens = rows+1, tokens+made[i].example.size()
			if rows >= cacheRows || tokens >= cacheTokens {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return err
	}
	return out.Close()
}

func (c *cacheRow) append(b *array.RecordBuilder) {
	list := func(column int, xs []int32, null bool) {
		l := b.Field(column).(*array.ListBuilder)
		l.Append(!null)
		if !null {
			l.ValueBuilder().(*array.Int32Builder).AppendValues(xs, nil)
		}
	}
	e, other := &c.example, c.example.Rejected
	list(0, e.IDs, false)
	list(1, e.Labels, slices.Equal(e.Labels, e.IDs))
	if other == nil {
		other = &Example{}
	}
	list(2, other.IDs, e.Rejected == nil)
	list(3, other.Labels, e.Rejected == nil || slices.Equal(other.Labels, other.IDs))
	b.Field(4).(*array.StringBuilder).Append(c.key(c.i))
	flag := map[bool]int32{true: 1}
	list(5, []int32{int32(e.Role), flag[c.isText], flag[c.repaired], int32(c.stats.Unwanted), int32(c.stats.Filtered), int32(c.stats.Duplicates),
		flag[e.Unsupervised]}, false)
}

// cachedExample reads a row of the cache as example would have made it, counts included.
func (s *Stream) cachedExample(d drawn, st *Stats) (ex Example, isText bool, _ error) {
	fail := func(err error) (Example, bool, error) {
		return Example{}, false, hint.Errorf("remove the file; it is made anew", "token cache: %s: %w", d.key(d.i), err)
	}
	counts, _, err := d.ints("counts")
	if err != nil || len(counts) != numCounts {
		return fail(errors.Join(fmt.Errorf("expected %d counts, found %d", numCounts, len(counts)), err))
	}
	st.Repaired, st.Unwanted = st.Repaired+int(counts[2]), st.Unwanted+int(counts[3])
	st.Filtered, st.Duplicates = st.Filtered+int(counts[4]), st.Duplicates+int(counts[5])
	key, _, err := d.text("key")
	if err != nil {
		return fail(err)
	}
	if ex, _, err = s.cachedTokens(d, "ids", "labels"); err != nil {
		return fail(err)
	}
	ex.Key, ex.Role, ex.Unsupervised = key, Role(counts[0]), counts[6] != 0
	if other, ok, err := s.cachedTokens(d, "rejected_ids", "rejected_labels"); err != nil {
		return fail(err)
	} else if ok {
		other.Key, other.Role = key, Rejected
		ex.Rejected = &other
	}
	return ex, counts[1] != 0, nil
}

func (s *Stream) cachedTokens(d drawn, ids, labels string) (ex Example, ok bool, err error) {
	if ex.IDs, ok, err = d.ints(ids); err != nil || !ok {
		return ex, ok, err
	}
	if ex.Labels, ok, err = d.ints(labels); err != nil {
		return ex, false, err
	}
	if !ok {
		ex.Labels = slices.Clone(ex.IDs)
	}
	if len(ex.Labels) != len(ex.IDs) {
		return ex, false, fmt.Errorf("expected %d labels, found %d", len(ex.IDs), len(ex.Labels))
	}
	for i, id := range ex.IDs {
		if id < 0 || id >= s.encoder.vocab || ex.Labels[i] >= s.encoder.vocab {
			return ex, false, fmt.Errorf("expected token ids below %d, found %d and label %d", s.encoder.vocab, id, ex.Labels[i])
		}
	}
	return ex, true, nil
}
