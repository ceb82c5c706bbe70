package kernels

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// pagedSequence is one sequence of a test: its own rows of q, k, v, in which the first ones may be those of another.
type pagedSequence struct {
	q, k, v []float32
	n       int
}

func pagedSequences(a Attention) []pagedSequence {
	var s []pagedSequence
	for i, n := range []int{1, 70, 131, 64, 300, 5} {
		s = append(s, pagedSequence{values(n*a.H*a.D, uint64(10*i+1)), values(n*a.K*a.D, uint64(10*i+2)), values(n*a.K*a.D, uint64(10*i+3)), n})
	}
	return s
}

// pagesOf cuts rows of a source, which begins with the sequence, into pages of the runs that a cut at each given position makes.
func pagesOf(source, n int, cuts ...int) (pages []Page) {
	for at := 0; at < n; at += PageRows {
		var p Page
		end := min(n, at+PageRows)
		for lo := at; lo < end; {
			hi := end
			for _, c := range cuts {
				if c > lo {
					hi = min(hi, c)
				}
			}
			p = append(p, Rows{int32(source), int32(lo), int32(hi - lo)})
			lo = hi
		}
		pages = append(pages, p)
	}
	return pages
}

func count(from, n int) (ids []int32) {
	for i := range n {
		ids = append(ids, int32(from+i))
	}
	return ids
}

// TestPaged: the formula; and the same bits for queries of a sequence taken alone, taken among others, taken from any position on,
// and with pages put together from pieces.
func TestPaged(t *testing.T) {
	pool := NewPool(3)
	defer pool.Close()
	eachLevel(t, func(t *testing.T) {
		for _, a := range []Attention{{H: 4, K: 2, D: 64, Scale: 0.125}, {H: 3, K: 3, D: 20, Scale: 0.3, Window: 40}, {H: 9, K: 3, D: 64, Scale: 0.125, Exact: true}, {H: 6, K: 1, D: 80, Scale: 0.1, Window: 130, Exact: true}} {
			seqs := pagedSequences(a)
			var x Paged // all sequences in one call
			var q []float32
			row := 0
			for i, s := range seqs {
				first := len(x.Pages)
				x.K, x.V, x.Pages = append(x.K, Source{Floats: s.k}), append(x.V, Source{Floats: s.v}), append(x.Pages, pagesOf(i, s.n, 3, 70, 100, 129)...)
				x.Spans = append(x.Spans, Span{row, s.n, 0, count(first, len(x.Pages)-first)})
				q, row = append(q, s.q...), row+s.n
			}
			x.Q, x.O, x.Scratch = q, make([]float32, len(q)), make([]float32, a.PagedScratch(len(x.Pages)))
			a.ForwardPaged(pool, &x)
			tol := tolAttention
			if useHalf() && !a.Exact {
				tol = tolHalf
			}
			if a.KeepsHalves() {
				whole := x.O
				x.O = make([]float32, len(q))
				for i, s := range seqs {
					x.K[i], x.V[i] = sourceOf(s.k, true), sourceOf(s.v, true)
				}
				if a.ForwardPaged(pool, &x); !slices.Equal(x.O, whole) {
					t.Errorf("%+v: keys and values kept as bf16 give other bits", a)
				}
			}
			row = 0
			for i, s := range seqs {
				want, _, _, _, _ := attentionRef(a, s.q, s.k, s.v, nil, make([]int32, s.n), 0)
				got := x.O[row*a.H*a.D:][:s.n*a.H*a.D]
				near(t, fmt.Sprint("sequence ", i), got, want, tol)
				for _, from := range []int{0, 1, s.n / 2, s.n - 1} {
					alone := a.pagedAlone(nil, s, from)
					if !slices.Equal(alone, got[from*a.H*a.D:]) {
						t.Fatalf("%+v: sequence %d from %d on: other bits than among others", a, i, from)
					}
				}
				row += s.n
			}
		}
	})
}

// pagedAlone is the attention of the queries of s from a position on.
func (a Attention) pagedAlone(p *Pool, s pagedSequence, from int) []float32 {
	pages := pagesOf(0, s.n)
	x := Paged{O: make([]float32, (s.n-from)*a.H*a.D), Q: s.q[from*a.H*a.D:], K: []Source{{Floats: s.k}}, V: []Source{{Floats: s.v}}, Pages: pages,
		Spans: []Span{{0, s.n - from, from, count(0, len(pages))}}, Scratch: make([]float32, a.PagedScratch(len(pages)))}
	a.ForwardPaged(p, &x)
	return x.O
}

// TestPagedSteps: the formula for one query of each sequence, the same bits alone and among others, and nothing allocated.
func TestPagedSteps(t *testing.T) {
	pool := NewPool(3)
	defer pool.Close()
	eachLevel(t, func(t *testing.T) {
		for _, a := range []Attention{{H: 4, K: 2, D: 64, Scale: 0.125}, {H: 3, K: 3, D: 20, Scale: 0.3, Window: 40}, {H: 10, K: 2, D: 33, Scale: 0.1, Exact: true}} {
			for _, halves := range []bool{false, true} {
				step := func(seqs []pagedSequence) ([]float32, *Paged) {
					var x Paged
					for i, s := range seqs {
						first := len(x.Pages)
						x.K, x.V, x.Pages = append(x.K, sourceOf(s.k, halves)), append(x.V, sourceOf(s.v, halves)), append(x.Pages, pagesOf(i, s.n)...)
						x.Spans = append(x.Spans, Span{i, 1, s.n - 1, count(first, len(x.Pages)-first)})
						x.Q = append(x.Q, s.q[(s.n-1)*a.H*a.D:]...)
					}
					x.O = make([]float32, len(x.Q))
					a.PagedSteps(pool, &x)
					return x.O, &x
				}
				seqs := pagedSequences(a)
				got, x := step(seqs)
				for i, s := range seqs {
					k, v := x.K[i].row(make([]float32, len(s.k)), 0), x.V[i].row(make([]float32, len(s.v)), 0)
					want, _, _, _, _ := attentionRef(a, s.q[(s.n-1)*a.H*a.D:], k, v, nil, make([]int32, 1), s.n-1)
					near(t, fmt.Sprint("sequence ", i), got[i*a.H*a.D:], want, tolAttention)
					if alone, _ := step(seqs[i : i+1]); !slices.Equal(alone, got[i*a.H*a.D:(i+1)*a.H*a.D]) {
						t.Fatalf("%+v: sequence %d: other bits than among others", a, i)
					}
				}
				if n := testing.AllocsPerRun(3, func() { a.PagedSteps(pool, x) }); n > 0 {
					t.Errorf("%v allocations", n)
				}
			}
		}
	})
}

// sourceOf keeps x as it is or as bf16.
func sourceOf(x []float32, halves bool) Source {
	if !halves {
		return Source{Floats: x}
	}
	s := Source{Halves: make([]uint16, len(x))}
	s.Set(0, x)
	return s
}

// A row that nobody sees may hold anything.
func TestPagedUnseen(t *testing.T) {
	a := Attention{H: 2, K: 1, D: 16, Scale: 0.25, Exact: true}
	s := pagedSequence{values(10*a.H*a.D, 1), values(20*a.K*a.D, 2), values(20*a.K*a.D, 3), 10}
	want := a.pagedAlone(nil, s, 0)
	for i := 10 * a.K * a.D; i < len(s.k); i++ {
		s.k[i], s.v[i] = float32(math.NaN()), float32(math.Inf(1))
	}
	if !slices.Equal(want, a.pagedAlone(nil, s, 0)) {
		t.Error("rows behind the sequence were read")
	}
}
