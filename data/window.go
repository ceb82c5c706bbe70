package data

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"tune/internal/hint"
	"tune/internal/rng"
)

const (
	windowTokens = 2 << 20
	windowRows   = 1 << 16
	// chunkRows are drawn and tokenized together; a window ends at a multiple of it, so its end does not depend on the
	// number of threads.
	chunkRows = 256
	// scatteredRows is chunkRows where rows are drawn one by one from all over a mapped file: each brings pages of its own, 64 KiB
	// for every column, which are given back before the next chunk.
	scatteredRows = 64
	// chunkBytes ends a chunk of long rows earlier, so that books take no more memory than chats do.
	chunkBytes = 8 << 20
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
	sources []*source // of the stream, or caches of their tokens
	isCache bool      // caches were made where they are wanted
	told    bool      // of the order
	readers []*reader
	shares  []float64 // per source: how often it is drawn from, beside the others
	endless bool      // sources are drawn from until Config.Until ends the epoch
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
	l.endless = s.options.Split == "train" && (s.config.Mix == "weights" || s.config.Mix == "temperature")
	l.use(s.sources)
	return l
}

// use draws from these sources from now on.
func (l *loader) use(sources []*source) {
	l.sources, l.shares = sources, nil
	for _, o := range sources {
		l.shares = append(l.shares, l.share(o))
	}
}

// cache draws from caches of tokens in the place of the sources that wanted accepts; they are made once.
func (l *loader) cache(ctx context.Context, wanted func(*source) bool) error {
	if l.isCache {
		return nil
	}
	sources, err := l.s.cached(ctx, wanted)
	if err != nil {
		return err
	}
	l.isCache = true
	l.use(sources)
	return nil
}

// exactly accepts the sources whose rows cannot be drawn one by one and could be from a cache: local ones. What is remote may be
// endless, and reading it whole before the first step is not for us to decide.
func exactly(o *source) bool { return o.local() && newDirect(o) == nil }

// share is how often a source is drawn from.
func (l *loader) share(o *source) float64 {
	switch {
	case len(o.blocks) == 0:
		return 0
	case !l.endless: // so that all sources end about together
		return o.size() * o.Weight
	case l.s.config.Mix == "weights":
		return o.Weight
	}
	return o.Weight * math.Pow(o.size(), 1/l.s.config.Temperature)
}

// seek continues at a state; its count of packs is not looked at.
func (l *loader) seek(st State) error {
	l.close()
	l.state = st
	l.state.Packs = 0
	l.readers = nil
	for i, o := range l.sources {
		r := newReader(o, l.s.options.Seed, st.Epoch, l.s.shuffled())
		if l.endless {
			r.passes = math.Inf(1)
		}
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
		if w.err == nil && begin && !w.last && l.wantsCache() {
			rows, w.err = l.refill(ctx, w)
		}
		if w.err != nil {
			return w
		}
		if begin && w.last && l.repeatable() {
			l.whole, l.stats = rows, w.stats
		}
	}
	l.tell(w)
	l.arrange(w, rows)
	if w.last {
		w.next = State{Epoch: w.start.Epoch + 1, Exact: w.start.Exact}
	} else {
		w.next = State{Epoch: w.start.Epoch, Window: w.start.Window + 1, Places: l.places(), Draws: l.state.Draws, Exact: w.start.Exact}
	}
	l.state = w.next
	return w
}

// wantsCache says whether an epoch that exceeds a window is to be drawn from caches.
func (l *loader) wantsCache() bool {
	return l.s.shuffled() && l.s.config.Order == "shuffled" && !l.isCache && slices.ContainsFunc(l.sources, exactly)
}

// refill begins an epoch that exceeds a window again, from caches.
func (l *loader) refill(ctx context.Context, w *window) ([]encoded, error) {
	if err := l.cache(ctx, exactly); err != nil {
		return nil, err
	}
	w.start.Exact, w.stats = true, Stats{}
	if err := l.seek(w.start); err != nil {
		return nil, err
	}
	return l.fill(ctx, w)
}

// tell reports once in what order the rows come.
func (l *loader) tell(w *window) {
	if l.told || !l.s.shuffled() {
		return
	}
	l.told = true
	if w.last && w.start.Window == 0 {
		l.s.report("order: exact permutation of the epoch's %d rows", w.stats.Rows)
		return
	}
	for i, r := range l.readers {
		if r.direct != nil {
			l.s.report("order: %s: exact permutation of %d rows", l.sources[i].Path, r.direct.rows())
		} else if len(r.blocks) > 0 {
			l.s.report("order: %s: %d blocks at random, in windows of up to %d tokens or %d rows", l.sources[i].Path, len(r.blocks), l.tokens, l.rows)
		}
	}
}

// repeatable says whether all epochs have the same rows.
func (l *loader) repeatable() bool {
	if l.endless {
		return false
	}
	for _, o := range l.sources {
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
	for tokens := 0; tokens < l.tokens && len(out) < l.rows && !w.last; {
		if ctx.Err() != nil {
			return nil, errCanceled
		}
		chunk, last, err := l.draw()
		if err != nil {
			return nil, err
		}
		w.last = last
		for _, r := range l.readers {
			r.counted(&w.stats)
		}
		rows, err := l.encode(chunk, &w.stats)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			for _, d := range r.docs {
				tokens += d.size()
			}
		}
		out = append(out, rows...)
	}
	return out, nil
}

// draw draws the next chunk of rows; last says that the epoch ends with it.
func (l *loader) draw() (chunk []drawn, last bool, _ error) {
	most := chunkRows
	for _, r := range l.readers {
		r.forget()
		if r.direct != nil {
			most = scatteredRows
		}
	}
	random := rng.New(l.s.options.Seed, "data/mix").Sub(uint64(l.state.Epoch))
	for bytes := 0; len(chunk) < most && bytes < chunkBytes; {
		i := l.choose(random.Float64(l.state.Draws))
		if i < 0 {
			return chunk, true, nil
		}
		l.state.Draws++
		d, ok, err := l.readers[i].next()
		if err != nil {
			return nil, false, err
		}
		if l.endless && l.ended() { // the row is of another pass
			return chunk, true, nil
		}
		if ok {
			chunk, bytes = append(chunk, d), bytes+d.size()
		}
	}
	return chunk, false, nil
}

// choose picks the source of the next row by a number in [0, 1): at random by the shares, or in the order of the sources; -1
// when all have ended.
func (l *loader) choose(x float64) int {
	random := l.s.shuffled() || l.endless
	total := 0.0
	for i, r := range l.readers {
		if r.done() {
			continue
		}
		if !random {
			return i
		}
		total += l.shares[i]
	}
	x *= total
	found := -1
	for i, r := range l.readers {
		if r.done() {
			continue
		}
		found = i
		if x -= l.shares[i]; x < 0 {
			break
		}
	}
	return found
}

// ended says whether the sources that Config.Until names have been read through.
func (l *loader) ended() bool {
	first, all := false, true
	for _, r := range l.readers {
		if len(r.blocks) == 0 {
			continue
		}
		first = first || r.finished() > 0
		all = all && r.finished() > 0
	}
	return all || first && l.s.config.Until == "first"
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

// example tokenizes a row. isText is true for running text. st counts answers that nobody asked for.
func (s *Stream) example(d drawn, st *Stats) (_ Example, isText bool, _ error) {
	key := d.key(d.i)
	it, err := d.entry.item(formatRow{d.row, d.names})
	if err != nil {
		return Example{}, false, fmt.Errorf("%s: %w", d.where(d.i), err)
	}
	if !s.options.Pairs {
		switch {
		case it.role == Undesirable:
			st.Unwanted++
			return Example{}, false, nil
		case it.rejected != nil:
			st.Unwanted++
		}
		it.role, it.rejected = Plain, nil
	}
	ex, err := s.encoder.encode(it.item)
	if err == nil && it.rejected != nil {
		var other Example
		other, err = s.encoder.encode(*it.rejected)
		other.Key, other.Role = key, Rejected
		ex.Rejected = &other
	}
	if err != nil {
		return Example{}, false, fmt.Errorf("%s: %w", d.where(d.i), err)
	}
	ex.Key, ex.Role = key, it.role
	return ex, it.text != nil && it.prompt == 0 && it.rejected == nil, nil
}

// documents makes the documents of a row.
func (s *Stream) documents(d drawn, st *Stats) ([]Example, error) {
	read := s.example
	if d.entry.name == cachedName {
		read = s.cachedExample
	}
	ex, isText, err := read(d, st)
	if err != nil || len(ex.IDs) == 0 && st.Unwanted > 0 {
		return nil, err
	}
	fitOne := fit
	if ex.Rejected != nil {
		fitOne = fitPair
	}
	docs, err := fitOne(ex, s.config.Seq, s.config.Overlength, isText, st)
	if err != nil {
		if d.entry.name != cachedName { // the cache keeps the name that the row had in its own file
			ex.Key = d.where(d.i)
		}
		return nil, fmt.Errorf("%s: %w", ex.Key, err)
	}
	return docs, nil
}

// fitPair applies the overlength policy to a pair, which must share a pack. Cutting it would leave two answers that may no
// longer differ, so such a pair is dropped or an error.
func fitPair(ex Example, seq int, policy string, _ bool, st *Stats) ([]Example, error) {
	n := ex.size()
	switch {
	case len(ex.IDs) == 0 || len(ex.Rejected.IDs) == 0:
		st.Empty++
		return nil, nil
	case n <= seq:
		return []Example{ex}, nil
	case policy == "drop":
		st.Dropped++
		st.Lost += n
		return nil, nil
	}
	return nil, hint.Errorf("raise data.seq, or set data.overlength to drop", "expected at most %d tokens (seq) in both answers together, found %d", seq, n)
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
			lengths = append(lengths, d.size())
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
