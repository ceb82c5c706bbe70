package kernels

import (
	"fmt"
	"math"
	"testing"
)

// attentionCase is one shape of the tests; docs are lengths of documents packed one after another.
type attentionCase struct {
	h, k, d, window int
	docs            []int
}

var attentionCases = []attentionCase{
	{1, 1, 8, 0, []int{1}},
	{2, 1, 16, 0, []int{5}},
	{4, 2, 20, 0, []int{70}},
	{3, 3, 24, 7, []int{33, 1, 90}},
	{4, 1, 64, 0, []int{130, 2, 61, 3}},
	{2, 2, 80, 40, []int{200}},
	{2, 1, 96, 0, []int{17, 129}},
	{2, 2, 128, 64, []int{64, 64, 65}},
	{9, 3, 64, 0, []int{150}},
	{3, 1, 5, 3, []int{66, 1, 1, 1, 40}},
}

func (c attentionCase) String() string {
	return fmt.Sprintf("H%d K%d D%d window%d docs%v", c.h, c.k, c.d, c.window, c.docs)
}

func (c attentionCase) start() (s []int32) {
	for _, n := range c.docs {
		at := int32(len(s))
		for range n {
			s = append(s, at)
		}
	}
	return s
}

func (c attentionCase) attention() Attention {
	return Attention{H: c.h, K: c.k, D: c.d, Scale: float32(1 / math.Sqrt(float64(c.d))), Window: c.window, Exact: true}
}

// attentionRef is the formula in float64: outputs o, lse and, when do is not nil, dq, dk, dv.
func attentionRef(a Attention, q, k, v, do []float32, start []int32, first int) (o, lse, dq, dk, dv []float64) {
	n := len(start)
	o, lse, dq = make([]float64, n*a.H*a.D), make([]float64, n*a.H), make([]float64, n*a.H*a.D)
	dk, dv = make([]float64, len(k)), make([]float64, len(k))
	dot := func(x, y []float32) (s float64) {
		for i := range x {
			s += float64(x[i]) * float64(y[i])
		}
		return s
	}
	for i := range n {
		for h := range a.H {
			at := (i*a.H + h) * a.D
			qi, lo, hi := q[at:at+a.D], a.low(start[i], first+i), first+i+1
			row := func(j int) int { return (j*a.K + h/(a.H/a.K)) * a.D }
			p, sum := map[int]float64{}, 0.0
			for j := lo; j < hi; j++ {
				p[j] = math.Exp(float64(a.Scale) * dot(qi, k[row(j):row(j)+a.D]))
				sum += p[j]
			}
			lse[i*a.H+h] = math.Log(sum)
			delta := 0.0
			for j := lo; j < hi; j++ {
				p[j] /= sum
				for d := range a.D {
					o[at+d] += p[j] * float64(v[row(j)+d])
				}
				if do != nil {
					delta += p[j] * dot(do[at:at+a.D], v[row(j):row(j)+a.D])
				}
			}
			for j := lo; j < hi && do != nil; j++ {
				ds := float64(a.Scale) * p[j] * (dot(do[at:at+a.D], v[row(j):row(j)+a.D]) - delta)
				for d := range a.D {
					dq[at+d] += ds * float64(k[row(j)+d])
					dk[row(j)+d] += ds * float64(qi[d])
					dv[row(j)+d] += p[j] * float64(do[at+d])
				}
			}
		}
	}
	return o, lse, dq, dk, dv
}

// tolAttention allows for float32 sums over a few hundred keys, tolHalf for operands and probabilities rounded to 8 bits.
const (
	tolAttention = 1e-5
	tolHalf      = 2e-2
)

func TestAttention(t *testing.T) {
	pool := NewPool(2)
	defer pool.Close()
	eachLevel(t, func(t *testing.T) {
		for _, c := range attentionCases {
			a := c.attention()
			t.Run(c.String(), func(t *testing.T) { testAttention(t, pool, a, c.start(), tolAttention) })
			if a.Exact = false; useHalf() {
				t.Run(c.String()+" half", func(t *testing.T) { testAttention(t, pool, a, c.start(), tolHalf) })
			}
		}
	})
}

func testAttention(t *testing.T, pool *Pool, a Attention, start []int32, tol float64) {
	n := len(start)
	q, k, v, do := values(n*a.H*a.D, 1), values(n*a.K*a.D, 2), values(n*a.K*a.D, 3), values(n*a.H*a.D, 4)
	wo, wl, wq, wk, wv := attentionRef(a, q, k, v, do, start, 0)
	o, lse := values(len(q), 5), values(n*a.H, 6) // outputs start as garbage
	a.Forward(pool, o, lse, q, k, v, start, 0, make([]float32, a.Scratch(n, n)))
	near(t, "o", o, wo, tol)
	near(t, "lse", lse, wl, tol)
	dq, dk, dv := values(len(q), 7), values(len(k), 8), values(len(k), 9)
	scratch := make([]float32, a.BackwardScratch(n))
	a.Backward(pool, dq, dk, dv, q, k, v, o, lse, do, start, scratch)
	near(t, "dq", dq, wq, tol)
	near(t, "dk", dk, wk, tol)
	near(t, "dv", dv, wv, tol)
	for _, workers := range []int{1, 5} {
		p := NewPool(workers)
		defer p.Close()
		got := values(len(o), 13)
		a.Forward(p, got, nil, q, k, v, start, 0, make([]float32, a.Scratch(n, n)))
		near(t, "o by other workers", got, wide(o), 0)
		gq, gk, gv := values(len(q), 7), values(len(k), 8), values(len(v), 9)
		a.Backward(p, gq, gk, gv, q, k, v, o, lse, do, start, scratch)
		near(t, "dq by other workers", gq, wide(dq), 0)
		near(t, "dk by other workers", gk, wide(dk), 0)
	}
	again := [3][]float32{values(len(q), 10), values(len(k), 11), values(len(k), 12)}
	for i, want := range [][]float32{dq, dk, dv} { // one gradient alone, serially: the same bits
		var out [3][]float32
		out[i] = again[i]
		a.Backward(nil, out[0], out[1], out[2], q, k, v, o, lse, do, start, scratch)
		near(t, "again", again[i], wide(want), 0)
	}
	serial := make([]float32, len(o))
	a.Forward(nil, serial, nil, q, k, v, start, 0, make([]float32, a.Scratch(n, n)))
	near(t, "serial", serial, wide(o), 0)
}

// TestAttentionCached continues after cached keys: the last rows of a long forward, computed alone.
func TestAttentionCached(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for _, rows := range []int{1, 2, 7, 40, 100} { // few rows go one by one, over two pieces of keys
			for _, window := range []int{0, 50} {
				a := Attention{H: 10, K: 2, D: 32 + rows%2, Scale: 0.2, Window: window, Exact: true}
				const keys = 600
				first := keys - rows
				q, k, v := values(rows*a.H*a.D, 1), values(keys*a.K*a.D, 2), values(keys*a.K*a.D, 3)
				start := make([]int32, rows)
				for i := range start {
					start[i] = 3
				}
				o, lse := make([]float32, len(q)), make([]float32, rows*a.H)
				wo, wl, _, _, _ := attentionRef(a, q, k, v, nil, start, first)
				a.Forward(nil, o, lse, q, k, v, start, first, make([]float32, a.Scratch(rows, keys)))
				near(t, "o", o, wo, tolAttention)
				near(t, "lse", lse, wl, tolAttention)
			}
		}
	})
}

// TestAttentionSight: the first key row in sight, by start, window and row.
func TestAttentionSight(t *testing.T) {
	for _, c := range []struct {
		window   int
		start    int32
		row, low int
	}{{0, 0, 9, 0}, {0, 4, 9, 4}, {3, 0, 9, 7}, {3, 8, 9, 8}, {1, 0, 9, 9}, {3, 0, 1, 0}, {0, 12, 9, 9}, {0, -5, 9, 0}} {
		if got := (Attention{Window: c.window}).low(c.start, c.row); got != c.low {
			t.Errorf("window %d, start %d, row %d: %d, want %d", c.window, c.start, c.row, got, c.low)
		}
	}
}

// TestAttentionAllocations: a Pool keeps what a call needs.
func TestAttentionAllocations(t *testing.T) {
	pool := NewPool(2)
	defer pool.Close()
	a, n := Attention{H: 4, K: 2, D: 16, Scale: 0.25}, 130
	start := make([]int32, n)
	q, k, v, do := values(n*a.H*a.D, 1), values(n*a.K*a.D, 2), values(n*a.K*a.D, 3), values(n*a.H*a.D, 4)
	o, lse := make([]float32, len(q)), make([]float32, n*a.H)
	scratch := make([]float32, max(a.Scratch(n, n), a.Scratch(1, n), a.BackwardScratch(n)))
	if got := testing.AllocsPerRun(5, func() {
		a.Forward(pool, o, lse, q, k, v, start, 0, scratch)
		a.Backward(pool, do, nil, nil, q, k, v, o, lse, q, start, scratch)
		a.Forward(pool, o, nil, q, k, v, start[:1], n-1, scratch)
	}); got > 0 {
		t.Errorf("%v allocations", got)
	}
}

// TestAttentionHalfBlock: a block of queries that sees the second half of a block of keys alone, the first half of which others see. Six rows
// of keys at a time reach further past the block's end from there than from its beginning.
func TestAttentionHalfBlock(t *testing.T) {
	pool := NewPool(2)
	defer pool.Close()
	eachLevel(t, func(t *testing.T) {
		start := make([]int32, 192)
		for i := range start {
			start[i] = int32(64 + i/96*32) // queries 96 and on, keys 64 to 127: from 96 on
			if i < 64 {
				start[i] = 0
			}
		}
		testAttention(t, pool, Attention{H: 2, K: 1, D: 64, Scale: 0.2, Exact: true}, start, tolAttention)
	})
}
