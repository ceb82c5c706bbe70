package tokenizer

import "unicode/utf8"

// model is a vocabulary and the way a word is cut into its tokens.
type model struct {
	kind    string // as the "type" of a tokenizer.json
	segment func(w *worker, m *model, word string) []tok

	tokens []string         // by id; "" where no model token has that id
	ids    map[string]int32 // of tokens

	// BPE: which symbols a word begins as, and which neighbours are merged, in which order.
	merges pairTable

	byteLevel    bool       // words are bytes written in the byte alphabet
	bytes        [256]int32 // id of each byte, -1: none. byteLevel: the letter of the byte; otherwise its <0xNN> token
	byteFallback bool       // characters without a token become <0xNN> tokens
	ignoreMerges bool       // a word that is a token is that token
	missing      bool       // byteLevel: some byte has no token
	unk          int32      // -1: none; characters without a token then vanish
	fuseUnk      bool

	crossing map[[2]rune]bool // last and first characters of the parts of merges, while loading
	joins    *joins           // nil: words are not cut further

	unigram *unigram

	// WordPiece
	prefix   string // of pieces that do not begin a word
	maxChars int    // longer words are unknown
}

// joins says which neighbouring characters some merge joins, or may join because one of them is no token of its own.
type joins struct {
	known map[rune]bool // characters that are tokens
	pairs pairTable
	ascii [128][2]uint64 // the same for pairs of ASCII characters: a bit for each second one
}

func (j *joins) joined(a, b rune) bool {
	if a < utf8.RuneSelf && b < utf8.RuneSelf {
		return j.ascii[a][b>>6]>>(b&63)&1 != 0
	}
	_, ok := j.pairs.get(a, b)
	return ok || !j.known[a] || !j.known[b]
}

// findJoins is for vocabularies of characters whose merges alone decide.
func (m *model) findJoins() {
	if m.kind != "BPE" || m.byteLevel || m.ignoreMerges {
		return
	}
	j := &joins{known: map[rune]bool{}, pairs: newPairTable(len(m.crossing))}
	for p := range m.crossing {
		j.pairs.put(p[0], p[1], merge{})
	}
	for token := range m.ids {
		if r, n := utf8.DecodeRuneInString(token); n == len(token) {
			j.known[r] = true
		}
	}
	for a := range j.ascii {
		for b := range rune(utf8.RuneSelf) {
			_, ok := j.pairs.get(rune(a), b)
			if ok || !j.known[rune(a)] || !j.known[b] {
				j.ascii[a][b>>6] |= 1 << (b & 63)
			}
		}
	}
	m.joins, m.crossing = j, nil
}

// A tok is a token and the number of bytes of the word it covers; -n says that they are the n bytes covered last.
type tok struct{ id, n int32 }

// pairTable maps a pair of ids to the rank and the result of their merge: open addressing, for speed.
type pairTable struct {
	keys  []uint64 // 0 is empty: no pair of ids is stored as 0, see key
	vals  []merge
	shift uint
}

type merge struct{ rank, id int32 }

func pairKey(a, b int32) uint64 { return uint64(uint32(a))<<32 | uint64(uint32(b)) + 1 }

func newPairTable(n int) pairTable {
	bits := uint(4)
	for 1<<bits < 2*n {
		bits++
	}
	return pairTable{make([]uint64, 1<<bits), make([]merge, 1<<bits), 64 - bits}
}

func (t *pairTable) slot(k uint64) uint64 {
	i := k * 0x9e3779b97f4a7c15 >> t.shift
	for t.keys[i] != 0 && t.keys[i] != k {
		i = (i + 1) & uint64(len(t.keys)-1)
	}
	return i
}

func (t *pairTable) set(a, b int32, m merge) {
	k := pairKey(a, b)
	i := t.slot(k)
	t.keys[i], t.vals[i] = k, m
}

// put keeps the first merge of a pair.
func (t *pairTable) put(a, b int32, m merge) {
	k := pairKey(a, b)
	if i := t.slot(k); t.keys[i] == 0 {
		t.keys[i], t.vals[i] = k, m
	}
}

func (t *pairTable) get(a, b int32) (merge, bool) {
	k := pairKey(a, b)
	i := t.slot(k)
	return t.vals[i], t.keys[i] == k
}

// A worker holds the scratch memory and the word cache of one Encode call at a time.
type worker struct {
	cuts  [2][]cut
	toks  []tok
	list  []node
	heap  []candidate
	paths []path

	cache map[string]span
	store []tok
}

// A span of worker.store.
type span struct{ at, n int32 }

// Bounds of a worker's word cache. When one is reached the cache starts anew.
const (
	cacheWord  = 64      // bytes of the longest word that is kept
	cacheWords = 1 << 16 // words
	cacheToks  = 1 << 19 // tokens of all words
)

// word returns the tokens of one word; the result is valid until the next call.
func (w *worker) word(m *model, s string) []tok {
	if len(s) > cacheWord {
		return m.segment(w, m, s)
	}
	if c, ok := w.cache[s]; ok {
		return w.store[c.at : c.at+c.n]
	}
	r := m.segment(w, m, s)
	if len(w.cache) >= cacheWords || len(w.store)+len(r) > cacheToks {
		clear(w.cache)
		w.store = w.store[:0]
	}
	if w.cache == nil {
		w.cache = map[string]span{}
	}
	at := int32(len(w.store))
	w.store = append(w.store, r...)
	w.cache[string(append([]byte(nil), s...))] = span{at, int32(len(r))}
	return r
}

// segmentBPE merges the symbols of a word.
func segmentBPE(w *worker, m *model, s string) []tok {
	if m.ignoreMerges {
		if id, ok := m.whole(s); ok {
			w.toks = append(w.toks[:0], tok{id, int32(len(s))})
			return w.toks
		}
	}
	w.toks = m.symbols(w.toks[:0], s)
	if len(w.toks) <= smallWord {
		w.toks = m.mergeSmall(w.toks)
	} else {
		w.toks = w.mergeLong(m, w.toks)
	}
	return w.toks
}

// whole returns the token that a word is as it stands.
func (m *model) whole(s string) (int32, bool) {
	if !m.byteLevel {
		id, ok := m.ids[s]
		return id, ok
	}
	var buf [2 * cacheWord]byte
	id, ok := m.ids[string(appendByteLetters(buf[:0], s))]
	return id, ok
}

// symbols appends the tokens a word begins as.
func (m *model) symbols(dst []tok, s string) []tok {
	if m.byteLevel {
		for i := 0; i < len(s); i++ {
			if id := m.bytes[s[i]]; id >= 0 {
				dst = append(dst, tok{id, 1})
			} else if m.unk >= 0 {
				dst = m.addUnk(dst, 1)
			}
		}
		return dst
	}
	for i := 0; i < len(s); {
		_, n := utf8.DecodeRuneInString(s[i:])
		if id, ok := m.ids[s[i:i+n]]; ok {
			dst = append(dst, tok{id, int32(n)})
		} else if m.fallsBack(s[i : i+n]) {
			for k := i; k < i+n; k++ {
				dst = append(dst, tok{m.bytes[s[k]], 1})
			}
		} else if m.unk >= 0 {
			dst = m.addUnk(dst, int32(n))
		}
		i += n
	}
	return dst
}

func (m *model) fallsBack(char string) bool {
	if !m.byteFallback {
		return false
	}
	for i := 0; i < len(char); i++ {
		if m.bytes[char[i]] < 0 {
			return false
		}
	}
	return true
}

func (m *model) addUnk(dst []tok, n int32) []tok {
	if k := len(dst); m.fuseUnk && k > 0 && dst[k-1].id == m.unk {
		dst[k-1].n += n
		return dst
	}
	return append(dst, tok{m.unk, n})
}

// smallWord is the number of symbols up to which scanning for the best pair again and again beats a heap.
const smallWord = 24

// mergeSmall merges in place: always the pair of lowest rank, the leftmost of equals.
func (m *model) mergeSmall(t []tok) []tok {
	var next [smallWord]merge // of the pair (i, i+1); rank -1: none
	look := func(i int) merge {
		if g, ok := m.merges.get(t[i].id, t[i+1].id); ok {
			return g
		}
		return merge{-1, 0}
	}
	for i := 0; i+1 < len(t); i++ {
		next[i] = look(i)
	}
	for len(t) > 1 {
		best := -1
		for i := 0; i+1 < len(t); i++ {
			if r := next[i].rank; r >= 0 && (best < 0 || r < next[best].rank) {
				best = i
			}
		}
		if best < 0 {
			break
		}
		t[best] = tok{next[best].id, t[best].n + t[best+1].n}
		copy(t[best+1:], t[best+2:])
		copy(next[best+1:], next[best+2:len(t)])
		t = t[:len(t)-1]
		if best > 0 {
			next[best-1] = look(best - 1)
		}
		if best+1 < len(t) {
			next[best] = look(best)
		}
	}
	return t
}

// A node of the list of symbols of a long word; next and prev are -1 at the ends, a dead node has id -1.
type node struct{ id, n, prev, next int32 }

// A candidate for merging: the pair that begins at node at, valid while its ids are still there.
type candidate struct {
	merge
	at          int32
	left, right int32
}

func (a candidate) less(b candidate) bool {
	return a.rank < b.rank || a.rank == b.rank && a.at < b.at
}

// mergeLong is mergeSmall in O(n log n).
func (w *worker) mergeLong(m *model, t []tok) []tok {
	list := w.list[:0]
	for i, x := range t {
		list = append(list, node{x.id, x.n, int32(i - 1), int32(i + 1)})
	}
	list[len(list)-1].next = -1
	w.list = list
	w.heap = w.heap[:0]
	for i := range list {
		w.consider(m, int32(i))
	}
	for len(w.heap) > 0 {
		c := w.pop()
		i := c.at
		if list[i].id != c.left || list[i].next < 0 {
			continue
		}
		j := list[i].next
		if list[j].id != c.right {
			continue
		}
		list[i].id, list[i].n, list[i].next = c.id, list[i].n+list[j].n, list[j].next
		list[j].id = -1
		if k := list[i].next; k >= 0 {
			list[k].prev = i
		}
		w.consider(m, i)
		if k := list[i].prev; k >= 0 {
			w.consider(m, k)
		}
	}
	t = t[:0]
	for i := int32(0); i >= 0; i = list[i].next {
		t = append(t, tok{list[i].id, list[i].n})
	}
	return t
}

// consider puts the pair that begins at node i on the heap, if it can be merged.
func (w *worker) consider(m *model, i int32) {
	j := w.list[i].next
	if j < 0 {
		return
	}
	g, ok := m.merges.get(w.list[i].id, w.list[j].id)
	if !ok {
		return
	}
	c := candidate{g, i, w.list[i].id, w.list[j].id}
	h := append(w.heap, c)
	k := len(h) - 1
	for k > 0 {
		p := (k - 1) / 2
		if !c.less(h[p]) {
			break
		}
		h[k] = h[p]
		k = p
	}
	h[k] = c
	w.heap = h
}

func (w *worker) pop() candidate {
	h := w.heap
	top, last := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	w.heap = h
	k := 0
	for {
		c := 2*k + 1
		if c >= len(h) {
			break
		}
		if c+1 < len(h) && h[c+1].less(h[c]) {
			c++
		}
		if !h[c].less(last) {
			break
		}
		h[k] = h[c]
		k = c
	}
	if len(h) > 0 {
		h[k] = last
	}
	return top
}
