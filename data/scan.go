package data

import (
	"context"
	"errors"
	"slices"
)

// Scanned is a row as Scan reports it.
type Scanned struct {
	Example Example // before overlength is applied; empty when Err is set or the row holds no text
	Err     error   // what is wrong with the row
}

// Scan goes once through the rows of the split in the order of the files, whatever its order and weights, until visit
// returns false. A row that cannot be used does not end it; a file that cannot be read does. Next goes on from where it
// was.
func (s *Stream) Scan(ctx context.Context, visit func(Scanned) bool) error {
	return s.walk(ctx, 0, nil, func(x walked) bool { return visit(x.Scanned) })
}

// walked is a row with what it was before it became tokens.
type walked struct {
	Scanned
	item     item
	rejected *item // the worse answer beside it
	key      string
	unwanted bool // a worse answer, which the objective has no use for
	sketch   *signature
}

// When only the first rows of a source are walked through, firstTokens of them are enough, and they are looked at firstStep at a time.
const (
	firstTokens = 1 << 20
	firstStep   = 16
)

// walk goes through the rows of each source, its first ones when most is above 0. near, when it is set, sketches them.
func (s *Stream) walk(ctx context.Context, most int, near *minHash, visit func(walked) bool) error {
	detailed := *s
	detailed.encoder.detail = true
	for _, o := range s.sources {
		r := &reader{source: o, order: fileOrder, passes: 1}
		seen, tokens, stop := 0, 0, false
		err := r.chunks(ctx, func(chunk []drawn) error {
			step := chunkRows
			if most > 0 {
				chunk, step = chunk[:min(len(chunk), most-seen)], firstStep
			}
			for part := range slices.Chunk(chunk, step) {
				for _, x := range detailed.lookAll(part, near) {
					if stop = !visit(x); stop {
						return errStop
					}
					seen, tokens = seen+1, tokens+x.Example.size()
				}
				if most > 0 && (seen == most || tokens >= firstTokens) {
					return errStop
				}
			}
			return nil
		})
		r.close()
		if stop {
			return nil
		}
		if err != nil && err != errStop {
			return err
		}
	}
	return nil
}

// lookAll looks at rows on all processors.
func (s *Stream) lookAll(rows []drawn, near *minHash) []walked {
	out := make([]walked, len(rows))
	parallel(len(rows), func(i int) {
		if out[i] = s.look(rows[i]); near != nil {
			out[i].sketch = near.sketch(out[i].item)
		}
	})
	return out
}

// look reads a row and tokenizes it.
func (s *Stream) look(d drawn) (x walked) {
	x.key = d.key(d.i)
	var st Stats
	x.Example, _, x.Err = s.example(d, &st)
	x.Example.Key, x.unwanted = x.key, st.Unwanted > 0 && len(x.Example.IDs) == 0
	if it, err := d.entry.item(formatRow{d.row, d.names}); err == nil {
		x.item, x.rejected = it.item, it.rejected
	}
	return x
}

// errStop ends a walk early.
var errStop = errors.New("stop")
