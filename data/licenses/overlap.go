package licenses

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"
)

// shingleWords is the number of words of a shingle.
const shingleWords = 8

// shinglesOf are the hashes of all runs of shingleWords words, sorted, each once; shorter texts are one shingle.
func shinglesOf(w []string) []uint64 {
	hashes := make([]uint64, len(w))
	for i, x := range w {
		hashes[i] = hashText(x)
	}
	var out []uint64
	for i := 0; i == 0 || i+shingleWords <= len(w); i++ {
		h := uint64(0)
		for _, x := range hashes[i:min(i+shingleWords, len(w))] {
			h = bits.RotateLeft64(h, 7)*0x9E3779B97F4A7C15 ^ x
		}
		out = append(out, h)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// common counts the elements of two sorted lists that are in both.
func common(a, b []uint64) int {
	n := 0
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch cmp.Compare(a[i], b[j]) {
		case 0:
			n++
			i++
			j++
		case -1:
			i++
		default:
			j++
		}
	}
	return n
}

// shingles is a set of shingles.
type shingles map[uint64]bool

func (s shingles) add(es []excerpt) {
	for _, e := range es {
		for _, x := range e.sh {
			s[x] = true
		}
	}
}

func (s shingles) merge(o shingles) {
	for x := range o {
		s[x] = true
	}
}

// share is the part of an excerpt's shingles that are in the set.
func (s shingles) share(e excerpt) float64 {
	n := 0
	for _, x := range e.sh {
		if s[x] {
			n++
		}
	}
	return float64(n) / float64(len(e.sh))
}

// owners maps a shingle to the one family whose texts hold it, or to "" when several do.
type owners map[uint64]string

func familiesOf(ls []license) owners {
	o := owners{}
	for _, l := range ls {
		if !l.labelled {
			continue
		}
		for _, x := range shinglesOf(words(l.text)) {
			if f, ok := o[x]; ok && f != l.family {
				o[x] = ""
			} else if !ok {
				o[x] = l.family
			}
		}
	}
	return o
}

// shared is the part of an excerpt's shingles that occur in several families.
func (o owners) shared(e excerpt) float64 {
	n := 0
	for _, x := range e.sh {
		if o[x] == "" {
			n++
		}
	}
	return float64(n) / float64(len(e.sh))
}

// clusterize joins excerpts that share at least the part similar of the shingles of the shorter one, and what is joined
// to them in turn. Clusters are in the order of their first excerpt.
func clusterize(es []excerpt) [][]excerpt {
	at := map[uint64][]int{}
	shared := map[[2]int]int{}
	for i, e := range es {
		for _, x := range e.sh {
			for _, j := range at[x] {
				shared[[2]int{j, i}]++
			}
			at[x] = append(at[x], i)
		}
	}
	parent := make([]int, len(es))
	for i := range parent {
		parent[i] = i
	}
	find := func(i int) int {
		for parent[i] != i {
			parent[i] = parent[parent[i]]
			i = parent[i]
		}
		return i
	}
	for pair, n := range shared { // the order does not matter: the smaller index becomes the root
		if float64(n) >= similar*float64(min(len(es[pair[0]].sh), len(es[pair[1]].sh))) {
			a, b := find(pair[0]), find(pair[1])
			parent[max(a, b)] = min(a, b)
		}
	}
	index := map[int]int{}
	var out [][]excerpt
	for i, e := range es {
		r := find(i)
		k, ok := index[r]
		if !ok {
			k = len(out)
			index[r] = k
			out = append(out, nil)
		}
		out[k] = append(out[k], e)
	}
	return out
}

// runningText joins what is left of every text: paragraphs in order, none twice, without the sentences that hold a shingle
// of a held-out excerpt. A sentence shorter than a shingle goes with the one before it.
func (s *Set) runningText(ls []license, heldOut shingles) []string {
	seen := map[string]bool{}
	var docs []string
	for _, l := range ls {
		var parts []string
		for _, p := range paragraphs(l.text) {
			var kept, all []string
			dropped := false
			for _, x := range p {
				w := words(x.text)
				all = append(all, w...)
				if len(w) >= shingleWords {
					dropped = slices.ContainsFunc(shinglesOf(w), func(h uint64) bool { return heldOut[h] })
				}
				if dropped {
					s.Counts.TextSentencesHeldOut++
				} else {
					kept = append(kept, x.text)
				}
			}
			key := strings.Join(all, " ")
			if len(kept) == 0 || seen[key] {
				continue
			}
			seen[key] = true
			parts = append(parts, strings.Join(kept, " "))
		}
		if len(parts) > 0 {
			docs = append(docs, strings.Join(parts, "\n\n")+"\n")
		}
	}
	return docs
}
