// Package overlap finds the documents of an evaluation in training data: a score on questions that a model was trained
// on says nothing.
//
// Two signs are looked for, in texts without case, punctuation and spacing. A document is dirty when a run of 13 of its
// words occurs in the training data, other than one so common there that it is boilerplate (Brown et al. 2020, "Language
// Models are Few-Shot Learners", appendix C; lm-evaluation-harness' decontamination has the same 13). It is near when one
// training row holds most of its three-word pieces, in whatever order: a copy in which words were changed.
package overlap

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
)

// The conventions.
const (
	Words  = 13  // of a run
	Fewest = 8   // words of a document that is looked for; of shorter than Words the whole text is the run
	Common = 10  // training rows in which a run is still a sign, not boilerplate
	Piece  = 3   // words of a piece
	Near   = 0.7 // share of a document's pieces in one row: every tenth word may be another one
)

// Document is a text to look for.
type Document struct {
	Name string
	Text string
}

// Match is a document that was found.
type Match struct {
	Document string  `json:"document"`
	Row      string  `json:"row"`   // of the training data, the first with the run, or that with most pieces
	Run      string  `json:"run"`   // the shared words, "" when there are only pieces
	Share    float64 `json:"share"` // of pieces in the row that has most
}

// Result counts documents.
type Result struct {
	Rows        int     `json:"rows"` // of training data
	Documents   int     `json:"documents"`
	Dirty       int     `json:"dirty"`
	Near        int     `json:"near"`
	Either      int     `json:"either"`
	Boilerplate int     `json:"boilerplate"` // documents that share only runs that are common
	Short       int     `json:"short"`       // documents too short to look for
	Matches     []Match `json:"matches"`     // dirty or near, the nearest first
}

// Index holds the documents and what was found of them. It is for one goroutine.
type Index struct {
	words  int
	docs   []document
	runs   map[int]map[uint64]*run // by length in words
	pieces map[uint64][]int32      // documents that hold a piece
	rows   int
	shared []int32 // pieces of the row at hand in each document
}

type document struct {
	name   string
	words  []string
	runs   []uint64
	length int // of its runs, 0: too short
	pieces int
	share  float64
	row    string
}

type run struct {
	count int // rows
	last  int // the row that counted it last
	first string
}

// New indexes documents. Runs have n words; 0 means Words.
func New(docs []Document, n int) *Index {
	x := &Index{words: cmp.Or(n, Words), runs: map[int]map[uint64]*run{}, pieces: map[uint64][]int32{}, shared: make([]int32, len(docs))}
	for i, words := range withoutForm(docs) {
		doc := document{name: docs[i].Name, words: words}
		if len(doc.words) >= min(Fewest, x.words) {
			doc.length = min(x.words, len(doc.words))
			if x.runs[doc.length] == nil {
				x.runs[doc.length] = map[uint64]*run{}
			}
			x.hashes(doc.words, doc.length, func(_ int, h uint64) {
				doc.runs = append(doc.runs, h)
				if x.runs[doc.length][h] == nil {
					x.runs[doc.length][h] = &run{}
				}
			})
			for h := range x.set(doc.words) {
				x.pieces[h] = append(x.pieces[h], int32(i))
				doc.pieces++
			}
		}
		x.docs = append(x.docs, doc)
	}
	return x
}

// manyDocuments is from how many on what all documents begin and end with is taken for the form of the question.
const manyDocuments = 10

// withoutForm splits documents into words and takes off what all of them begin and end with: an instruction that training
// rows of the same form repeat says nothing about their content.
func withoutForm(docs []Document) [][]string {
	all := make([][]string, len(docs))
	for i, d := range docs {
		all[i] = Normalize(d.Text)
	}
	if len(all) < manyDocuments {
		return all
	}
	front, back := len(all[0]), len(all[0])
	for _, words := range all[1:] {
		first := all[0]
		front, back = min(front, len(words)), min(back, len(words))
		for k := range front {
			if words[k] != first[k] {
				front = k
				break
			}
		}
		for k := range back {
			if words[len(words)-1-k] != first[len(first)-1-k] {
				back = k
				break
			}
		}
	}
	for i, words := range all {
		all[i] = words[front:max(front, len(words)-back)]
	}
	return all
}

// Normalize splits a text into words: runs of letters and digits in lower case, and single characters of scripts that
// are written without spaces.
func Normalize(text string) []string {
	var words []string
	start := -1
	text = strings.ToLower(text)
	for i, r := range text {
		alone := unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai)
		part := !alone && (unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r))
		if start >= 0 && !part {
			words = append(words, text[start:i])
			start = -1
		}
		if alone {
			words = append(words, string(r))
		} else if part && start < 0 {
			start = i
		}
	}
	if start >= 0 {
		words = append(words, text[start:])
	}
	return words
}

// hashes visits the hash of every run of n words, with the index of its first word.
func (x *Index) hashes(words []string, n int, visit func(at int, h uint64)) {
	const base = 0x9E3779B97F4A7C15
	var h, power uint64 = 0, 1
	for range n {
		power *= base
	}
	each := make([]uint64, len(words))
	for i, w := range words {
		each[i] = hash(w)
		h = h*base + each[i]
		if i >= n {
			h -= each[i-n] * power
		}
		if i >= n-1 {
			visit(i-n+1, h)
		}
	}
}

// hash is FNV-1a with its bits mixed.
func hash(word string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(word) {
		h = (h ^ uint64(word[i])) * 1099511628211
	}
	h ^= h >> 32
	return h*0xD6E8FEB86659FD93 | 1
}

// set is the set of pieces of a text.
func (x *Index) set(words []string) map[uint64]bool {
	set := map[uint64]bool{}
	x.hashes(words, Piece, func(_ int, h uint64) { set[h] = true })
	return set
}

// Add looks for the documents in a training row.
func (x *Index) Add(name, text string) {
	x.rows++
	words := Normalize(text)
	for n, runs := range x.runs {
		x.hashes(words, n, func(_ int, h uint64) {
			r := runs[h]
			if r == nil || r.last == x.rows {
				return
			}
			r.last = x.rows
			if r.count++; r.count == 1 {
				r.first = name
			}
		})
	}
	var touched []int32
	for h := range x.set(words) {
		for _, d := range x.pieces[h] {
			if x.shared[d] == 0 {
				touched = append(touched, d)
			}
			x.shared[d]++
		}
	}
	for _, i := range touched {
		d := &x.docs[i]
		if share := float64(x.shared[i]) / float64(d.pieces); share > d.share {
			d.share, d.row = share, name
		}
		x.shared[i] = 0
	}
}

// Result counts what was found so far.
func (x *Index) Result() Result {
	res := Result{Rows: x.rows, Documents: len(x.docs), Matches: []Match{}}
	for i := range x.docs {
		d := &x.docs[i]
		if d.length == 0 {
			res.Short++
			continue
		}
		m := Match{Document: d.name, Row: d.row, Share: d.share}
		dirty, common := false, false
		for at, h := range d.runs {
			r := x.runs[d.length][h]
			common = common || r.count > Common
			if !dirty && r.count > 0 && r.count <= Common {
				dirty = true
				m.Run = strings.Join(d.words[at:at+d.length], " ")
				if d.share < Near {
					m.Row = r.first
				}
			}
		}
		near := d.share >= Near
		switch {
		case dirty || near:
			res.Either++
			res.Matches = append(res.Matches, m)
		case common:
			res.Boilerplate++
		}
		if dirty {
			res.Dirty++
		}
		if near {
			res.Near++
		}
	}
	slices.SortStableFunc(res.Matches, func(a, b Match) int { return cmp.Compare(b.Share, a.Share) })
	return res
}
