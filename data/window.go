package data

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"tune/internal/rng"
)

const (
	windowTokens = 2 << 20
	windowRows   = 1 << 16
	// chunkRows are drawn and tokenized together; a window ends at a multiple of it, so its end does not depend on the
	// number of threads.
	chunkRows = 256
)

// window is a part of an epoch that is ordered and packed as a whole.
type window struct {
	start State // where it begins; Packs is 0
	next  State // where the window after it begins
	last  bool  // the epoch ends with it
	docs  []Example
	packs [][]int // indices of docs
	stats Stats
	err   error
}

func (w *window) pack(i int) *Pack {
	docs := make([]*Example, len(w.packs[i]))
	for k, d := range w.packs[i] {
		docs[k] = &w.docs[d]
	}
	return buildPack(docs)
}

// loader reads windows one after another.
type loader struct {
	s       *Stream
	tokens  int // bounds of a window
	rows    int
	state   State
	readers []*reader
	sizes   []float64
	// whole is the unordered content of an epoch that fits in one window, so that later epochs need not be read again.
	whole []encoded
	stats Stats
}

// encoded is a row as documents, with the place it comes from.
type encoded struct {
	source, pass, block, at int
	docs                    []Example
}

func newLoader(s *Stream) *loader {
	l := &loader{s: s, tokens: windowTokens, rows: windowRows}
	for _, o := range s.sources {
		l.sizes = append(l.sizes, o.size()*o.Weight)
	}
	return l
}

// seek continues at a state; its count of packs is not looked at.
func (l *loader) seek(st State) error {
	l.close()
	l.state = st
	l.state.Packs = 0
	l.readers = nil
	for i, o := range l.s.sources {
		r := newReader(o, l.s.options.Seed, st.Epoch, l.s.shuffled())
		if len(st.Places) > 0 {
			if err := r.seek(st.Places[i]); err != nil {
				return err
			}
		}
		l.readers = append(l.readers, r)
	}
	return nil
}

func (l *loader) close() {
	for _, r := range l.readers {
		r.close()
	}
}

// load reads the next window.
func (l *loader) load(ctx context.Context) *window {
	w := &window{start: l.state}
	w.start.Places = l.places()
	begin := w.start.Window == 0
	var rows []encoded
	if begin && l.whole != nil {
		rows, w.stats, w.last = l.whole, l.stats, true
	} else {
		rows, w.err = l.fill(ctx, w)
		if w.err != nil {
			return w
		}
		if begin && w.last && l.repeatable() {
			l.whole, l.stats = rows, w.stats
		}
	}
	l.arrange(w, rows)
	if w.last {
		w.next = State{Epoch: w.start.Epoch + 1}
	} else {
		w.next = State{Epoch: w.start.Epoch, Window: w.start.Window + 1, Places: l.places(), Draws: l.state.Draws}
	}
	l.state = w.next
	return w
}

// repeatable says whether all epochs have the same rows.
func (l *loader) repeatable() bool {
	for _, o := range l.s.sources {
		if o.Weight != float64(int(o.Weight)) {
			return false
		}
	}
	return true
}

func (l *loader) places() []Place {
	var ps []Place
	for _, r := range l.readers {
		ps = append(ps, r.place)
	}
	return ps
}

// fill draws rows until the window is full or the epoch ends.
func (l *loader) fill(ctx context.Context, w *window) ([]encoded, error) {
	var out []encoded
	draw := rng.New(l.s.options.Seed, "data/mix").Sub(uint64(l.state.Epoch))
	for tokens := 0; tokens < l.tokens && len(out) < l.rows; {
		if ctx.Err() != nil {
			return nil, errCanceled
		}
		var chunk []drawn
		for len(chunk) < chunkRows {
			i := choose(l.readers, l.sizes, l.s.shuffled(), draw, l.state.Draws)
			if i < 0 {
				w.last = true
				break
			}
			l.state.Draws++
			d, ok, err := l.readers[i].next()
			if err != nil {
				return nil, err
			}
			if ok {
				chunk = append(chunk, d)
			}
		}
		rows, err := l.encode(chunk, &w.stats)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			for _, d := range r.docs {
				tokens += len(d.IDs)
			}
		}
		out = append(out, rows...)
		if w.last {
			break
		}
	}
	return out, nil
}

// encode tokenizes rows on all processors. The first row that fails, in order, is the error.
func (l *loader) encode(chunk []drawn, st *Stats) ([]encoded, error) {
	rows := make([]encoded, len(chunk))
	stats := make([]Stats, len(chunk))
	errs := make([]error, len(chunk))
	parallel(len(chunk), func(i int) {
		d := chunk[i]
		rows[i] = encoded{source: d.source, pass: d.pass, block: d.block, at: d.at}
		rows[i].docs, errs[i] = l.s.documents(d, &stats[i])
	})
	for i := range chunk {
		if errs[i] != nil {
			return nil, errs[i]
		}
		st.Rows++
		if chunk[i].repaired {
			st.Repaired++
		}
		st.add(stats[i])
	}
	return rows, nil
}

// parallel calls f for 0 to n-1 on all processors.
func parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), n)
	for k := range workers {
		wg.Go(func() {
			for i := k; i < n; i += workers {
				f(i)
			}
		})
	}
	wg.Wait()
}

// example tokenizes a row. isText is true for running text.
func (s *Stream) example(d drawn) (_ Example, isText bool, _ error) {
	key := d.key(d.i)
	it, err := d.entry.item(formatRow{d.row, d.names})
	if err != nil {
		return Example{}, false, fmt.Errorf("%s: %w", key, err)
	}
	ex, err := s.encoder.encode(it)
	if err != nil {
		return Example{}, false, fmt.Errorf("%s: %w", key, err)
	}
	ex.Key = key
	return ex, it.text != nil && it.prompt == 0, nil
}

// documents makes the documents of a row.
func (s *Stream) documents(d drawn, st *Stats) ([]Example, error) {
	ex, isText, err := s.example(d)
	if err != nil {
		return nil, err
	}
	docs, err := fit(ex, s.config.Seq, s.config.Overlength, isText, st)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ex.Key, err)
	}
	return docs, nil
}

// arrange orders the rows of a window and packs them. Rows are first put in the order of the files, so that the result
// does not depend on how they were read.
func (l *loader) arrange(w *window, rows []encoded) {
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b encoded) int {
		return cmp.Or(cmp.Compare(a.source, b.source), cmp.Compare(a.block, b.block), cmp.Compare(a.at, b.at), cmp.Compare(a.pass, b.pass))
	})
	random := rng.New(l.s.options.Seed, "data/window").Sub(uint64(w.start.Epoch)).Sub(uint64(w.start.Window))
	if l.s.shuffled() {
		order := random.Perm(len(rows))
		sorted := slices.Clone(rows)
		for i, k := range order {
			rows[i] = sorted[k]
		}
	}
	var lengths []int
	for _, r := range rows {
		for _, d := range r.docs {
			w.docs = append(w.docs, d)
			lengths = append(lengths, len(d.IDs))
		}
	}
	if !l.s.config.Packing {
		for i := range w.docs {
			w.packs = append(w.packs, []int{i})
		}
		return
	}
	w.packs = bestFit(lengths, l.s.config.Seq)
	if l.s.shuffled() { // best-fit leaves the longest documents in the first packs
		packs := slices.Clone(w.packs)
		for i, k := range random.Sub(1).Perm(len(packs)) {
			w.packs[i] = packs[k]
		}
	}
}
