package tokenizer

import (
	"cmp"
	"container/heap"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"tune/internal/hint"
)

// TrainOptions of Train.
type TrainOptions struct {
	Vocab        int      // number of tokens wanted, special tokens and the 256 bytes included
	Special      []string // get the ids 0, 1, ...
	Pattern      string   // how words are cut: a name of Patterns; "" is "llama3"
	MinCount     int      // pairs seen less often are not merged; 0 is 2
	BOS, EOS     string   // written into the configuration; each must be in Special
	Pad          string
	ChatTemplate string
}

// TrainProgress is reported while texts are counted (Texts and Bytes grow) and then while merges are made (Tokens grows to Vocab).
type TrainProgress struct {
	Texts, Bytes  int64
	Tokens, Vocab int
}

// Patterns are the names of the ways to cut words that Train knows.
func Patterns() []string {
	var names []string
	for _, p := range presets {
		name, _, _ := strings.Cut(p.names, " ")
		names = append(names, name)
	}
	return names
}

func (o *TrainOptions) spec() (*spec, error) {
	s := &spec{}
	i := slices.Index(Patterns(), cmp.Or(o.Pattern, "llama3"))
	if i < 0 {
		return nil, fmt.Errorf("pattern: expected one of %v, found %q", Patterns(), o.Pattern)
	}
	presets[i].apply(s)
	s.ignore = false // every token that Train makes is reached by its merges
	if least := len(o.Special) + 256; o.Vocab < least {
		return nil, hint.Errorf("the 256 bytes and the special tokens are always in the vocabulary",
			"vocabulary size: expected at least %d, found %d", least, o.Vocab)
	}
	for i, name := range o.Special {
		if name == "" || slices.Contains(o.Special[:i], name) || len([]rune(name)) == 1 {
			return nil, fmt.Errorf("special token %d: expected a name of its own of several characters, found %q", i, name)
		}
		s.tokens = append(s.tokens, name)
		s.added = append(s.added, &added{ID: int32(i), Content: name, Special: true})
	}
	for _, name := range []string{o.BOS, o.EOS, o.Pad} {
		if name != "" && !slices.Contains(o.Special, name) {
			return nil, fmt.Errorf("expected %q to be one of the special tokens %q", name, o.Special)
		}
	}
	s.config = config{BOS: tokenName(o.BOS), EOS: tokenName(o.EOS), Pad: tokenName(o.Pad), ChatTemplate: chatTemplate(o.ChatTemplate)}
	letters := slices.Clone(alphabet.letter[:])
	slices.Sort(letters)
	for _, r := range letters {
		s.tokens = append(s.tokens, string(r))
	}
	return s, nil
}

// Train learns a byte-level BPE vocabulary: again and again the most frequent pair of neighbouring tokens becomes a token (of
// equally frequent pairs the one of the lowest ids), until there are o.Vocab. The result depends on the texts and options alone;
// it is smaller than o.Vocab when the texts hold no more pairs.
func Train(texts iter.Seq[string], o TrainOptions, progress func(TrainProgress)) (*Tokenizer, error) {
	s, err := o.spec()
	if err != nil {
		return nil, fmt.Errorf("tokenizer training: %w", err)
	}
	if progress == nil {
		progress = func(TrainProgress) {}
	}
	empty, err := s.build() // cuts words; has no merges yet
	if err != nil {
		return nil, err
	}
	p := TrainProgress{Vocab: o.Vocab, Tokens: len(s.tokens)}
	counts := map[string]int64{}
	for text := range texts {
		if err := empty.countWords(counts, text); err != nil {
			return nil, err
		}
		p.Texts++
		p.Bytes += int64(len(text))
		if p.Texts%1024 == 0 {
			progress(p)
		}
	}
	progress(p)
	tr := newTrainer(s, &empty.model, counts)
	least := int64(2)
	if o.MinCount > 0 {
		least = int64(o.MinCount)
	}
	tr.run(o.Vocab, least, func(tokens int) {
		p.Tokens = tokens
		progress(p)
	})
	return s.build()
}

// countWords adds the words of a text to counts.
func (t *Tokenizer) countWords(counts map[string]int64, text string) error {
	g := seg{s: text}
	for _, n := range t.normalizers {
		g = n(g)
	}
	return words(t.steps, seg{s: g.s}, func(word seg) {
		if c, ok := counts[word.s]; ok {
			counts[word.s] = c + 1
		} else {
			counts[string([]byte(word.s))] = 1 // a copy: the text need not stay in memory
		}
	})
}

// trainer is the state of the merging: words with their counts, and all pairs with theirs.
type trainer struct {
	s     *spec
	ids   map[string]int32
	words []trainWord
	pairs map[uint64]*trainPair
	queue trainQueue
}

type trainWord struct {
	ids   []int32
	count int64
}

type trainPair struct {
	a, b  int32
	count int64
	words []int32 // where it has occurred; some entries may no longer hold
	never bool    // would spell a special token
	grown bool    // listed as having become more frequent
}

func newTrainer(s *spec, m *model, counts map[string]int64) *trainer {
	t := &trainer{s: s, ids: make(map[string]int32, len(s.tokens)), pairs: map[uint64]*trainPair{}}
	for id, token := range s.tokens {
		t.ids[token] = int32(id)
	}
	for _, word := range slices.Sorted(maps.Keys(counts)) {
		ids := make([]int32, len(word))
		for i := range ids {
			ids[i] = m.bytes[word[i]]
		}
		t.words = append(t.words, trainWord{ids, counts[word]})
	}
	for i, word := range t.words {
		for k := 1; k < len(word.ids); k++ {
			t.change(word.ids[k-1], word.ids[k], word.count, int32(i))
		}
	}
	for _, p := range t.pairs {
		t.queue = append(t.queue, trainEntry{p, p.count})
	}
	heap.Init(&t.queue)
	return t
}

// change adds to the count of a pair in a word.
func (t *trainer) change(a, b int32, count int64, word int32) *trainPair {
	key := pairKey(a, b)
	p := t.pairs[key]
	if p == nil {
		special := len(t.s.added)
		id, ok := t.ids[t.s.tokens[a]+t.s.tokens[b]]
		p = &trainPair{a: a, b: b, never: ok && int(id) < special}
		t.pairs[key] = p
	}
	p.count += count
	if n := len(p.words); count > 0 && (n == 0 || p.words[n-1] != word) {
		p.words = append(p.words, word)
	}
	return p
}

func (t *trainer) run(vocab int, least int64, progress func(tokens int)) {
	var grown []*trainPair
	for len(t.s.tokens) < vocab && len(t.queue) > 0 {
		top := heap.Pop(&t.queue).(trainEntry)
		p := top.pair
		if p.never || p.count < least {
			continue
		}
		if p.count != top.count {
			heap.Push(&t.queue, trainEntry{p, p.count})
			continue
		}
		token := t.s.tokens[p.a] + t.s.tokens[p.b]
		id, ok := t.ids[token]
		if !ok {
			id = int32(len(t.s.tokens))
			t.ids[token] = id
			t.s.tokens = append(t.s.tokens, token)
		}
		t.s.merges = append(t.s.merges, [2]string{t.s.tokens[p.a], t.s.tokens[p.b]})
		grown = grown[:0]
		for _, w := range p.words {
			grown = t.apply(grown, w, p.a, p.b, id)
		}
		p.words = nil
		p.count = 0
		for _, q := range grown {
			q.grown = false
			if q.count >= least && !q.never {
				heap.Push(&t.queue, trainEntry{q, q.count})
			}
		}
		if len(t.s.tokens)%64 == 0 {
			progress(len(t.s.tokens))
		}
	}
	progress(len(t.s.tokens))
}

// apply merges a pair in one word, from the left, and appends the pairs that became more frequent. A pair may be listed more than once.
func (t *trainer) apply(grown []*trainPair, at, a, b, id int32) []*trainPair {
	w := &t.words[at]
	out := w.ids[:0]
	for i := 0; i < len(w.ids); i++ {
		if w.ids[i] != a || i+1 == len(w.ids) || w.ids[i+1] != b {
			out = append(out, w.ids[i])
			continue
		}
		if n := len(out); n > 0 {
			t.change(out[n-1], a, -w.count, at)
			grown = appendNew(grown, t.change(out[n-1], id, w.count, at))
		}
		if i+2 < len(w.ids) {
			t.change(b, w.ids[i+2], -w.count, at)
			grown = appendNew(grown, t.change(id, w.ids[i+2], w.count, at))
		}
		out = append(out, id)
		i++
	}
	w.ids = out
	return grown
}

func appendNew(list []*trainPair, p *trainPair) []*trainPair {
	if p.grown {
		return list
	}
	p.grown = true
	return append(list, p)
}

// trainQueue holds pairs with the count they had when they were put in: the most frequent first, of equals that of the lowest ids.
type trainQueue []trainEntry

type trainEntry struct {
	pair  *trainPair
	count int64
}

func (q trainQueue) Len() int      { return len(q) }
func (q trainQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q trainQueue) Less(i, j int) bool {
	a, b := q[i], q[j]
	if a.count != b.count {
		return a.count > b.count
	}
	if a.pair.a != b.pair.a {
		return a.pair.a < b.pair.a
	}
	return a.pair.b < b.pair.b
}
func (q *trainQueue) Push(x any) { *q = append(*q, x.(trainEntry)) }
func (q *trainQueue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}
