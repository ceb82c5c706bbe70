package data

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"math/bits"
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
	for _, o := range s.sources {
		r := &reader{source: o, order: fileOrder, passes: 1}
		stop := false
		err := r.chunks(ctx, func(chunk []drawn) error {
			out := make([]Scanned, len(chunk))
			parallel(len(chunk), func(i int) {
				ex, _, err := s.example(chunk[i], &Stats{})
				out[i] = Scanned{ex, err}
			})
			for _, x := range out {
				if stop = !visit(x); stop {
					return errStop
				}
			}
			return nil
		})
		r.close()
		if stop {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// errStop ends a walk early.
var errStop = errors.New("stop")

// Summary is what there is to know about the rows of a split before training on them.
type Summary struct {
	Rows       int      `json:"rows"`
	Tokens     int      `json:"tokens"`
	Supervised int      `json:"supervised"` // labels
	Empty      int      `json:"empty"`      // rows without text
	Bad        int      `json:"bad"`        // rows that cannot be used
	Problems   []string `json:"problems,omitempty"`
	Duplicates int      `json:"duplicates"` // rows whose tokens and labels equal those of an earlier row
	Overlength int      `json:"overlength"` // rows of more than seq tokens
	Mean       float64  `json:"mean"`       // tokens per row that is not empty
	Median     int      `json:"median"`
	P90        int      `json:"p90"`
	P99        int      `json:"p99"`
	Longest    int      `json:"longest"`
	// Lengths counts rows by length, in buckets that double.
	Lengths []Bucket `json:"lengths"`
}

// Bucket counts rows of From to To tokens.
type Bucket struct {
	From int `json:"from"`
	To   int `json:"to"`
	Rows int `json:"rows"`
}

// maxProblems bounds Summary.Problems.
const maxProblems = 5

// Summarize scans the split. It keeps eight bytes per row to find duplicates.
func (s *Stream) Summarize(ctx context.Context) (*Summary, error) {
	m := &Summary{}
	lengths := map[int]int{}
	seen := map[uint64]bool{}
	err := s.Scan(ctx, func(x Scanned) bool {
		m.Rows++
		n := len(x.Example.IDs)
		switch {
		case x.Err != nil:
			if m.Bad++; m.Bad <= maxProblems {
				m.Problems = append(m.Problems, x.Err.Error())
			}
			return true
		case n == 0:
			m.Empty++
			return true
		}
		m.Tokens += n
		m.Supervised += x.Example.Supervised()
		lengths[n]++
		if n > s.config.Seq {
			m.Overlength++
		}
		h := x.Example.hash()
		if seen[h] {
			m.Duplicates++
		}
		seen[h] = true
		return true
	})
	m.lengths(lengths)
	return m, err
}

func (m *Summary) lengths(count map[int]int) {
	n := m.Rows - m.Empty - m.Bad
	if n == 0 {
		return
	}
	m.Mean = float64(m.Tokens) / float64(n)
	var sizes []int
	for size := range count {
		sizes = append(sizes, size)
	}
	slices.Sort(sizes)
	m.Longest = sizes[len(sizes)-1]
	below := 0
	for _, size := range sizes {
		k := bits.Len(uint(size - 1)) // 2^(k-1) < size <= 2^k
		if len(m.Lengths) == 0 || m.Lengths[len(m.Lengths)-1].To < size {
			m.Lengths = append(m.Lengths, Bucket{From: 1<<k/2 + 1, To: 1 << k})
		}
		m.Lengths[len(m.Lengths)-1].Rows += count[size]
		for _, q := range []struct {
			share float64
			to    *int
		}{{0.5, &m.Median}, {0.9, &m.P90}, {0.99, &m.P99}} {
			if float64(below) < q.share*float64(n) {
				*q.to = size
			}
		}
		below += count[size]
	}
}

// hash identifies tokens and labels.
func (e *Example) hash() uint64 {
	h := fnv.New64a()
	buf := make([]byte, 0, 8*len(e.IDs))
	for i, id := range e.IDs {
		buf = binary.LittleEndian.AppendUint32(buf, uint32(id))
		buf = binary.LittleEndian.AppendUint32(buf, uint32(e.Labels[i]))
	}
	h.Write(buf)
	return h.Sum64()
}
