package kernels

import (
	"fmt"
	"testing"
)

// seenPairs is the number of (query, key) pairs of all rows: what is counted as work.
func (c attentionCase) seenPairs() (n float64) {
	a := c.attention()
	for i, s := range c.start() {
		n += float64(i + 1 - a.low(s, i))
	}
	return n
}

var attentionBenches = []attentionCase{
	{9, 3, 64, 0, []int{2048}}, // SmolLM2-135M
	{9, 3, 64, 0, []int{512}},
	{9, 3, 64, 0, []int{300, 100, 212, 700, 150, 90, 496}},
	{4, 4, 64, 0, []int{512}},
	{8, 2, 128, 0, []int{2048}},
	{8, 4, 80, 0, []int{1024}},
	{8, 8, 16, 0, []int{1024}},
	{9, 3, 64, 512, []int{4096}},
}

func BenchmarkAttention(b *testing.B) {
	pool := NewPool(0)
	defer pool.Close()
	for _, exact := range []bool{false, true} {
		for _, c := range attentionBenches {
			a, start := c.attention(), c.start()
			a.Exact = exact
			n := len(start)
			q, k, v, do := values(n*a.H*a.D, 1), values(n*a.K*a.D, 2), values(n*a.K*a.D, 3), values(n*a.H*a.D, 4)
			o, lse := make([]float32, len(q)), make([]float32, n*a.H)
			dq, dk, dv := make([]float32, len(q)), make([]float32, len(k)), make([]float32, len(v))
			scratch := make([]float32, max(a.Scratch(n, n), a.BackwardScratch(n)))
			work := c.seenPairs() * float64(a.H*a.D) * 2
			b.Run(fmt.Sprintf("forward/exact=%v/%v", exact, c), func(b *testing.B) {
				share(b, pool, exact, 2*work, func() { a.Forward(pool, o, lse, q, k, v, start, 0, scratch) })
			})
			b.Run(fmt.Sprintf("backward/exact=%v/%v", exact, c), func(b *testing.B) {
				a.Forward(pool, o, lse, q, k, v, start, 0, scratch)
				share(b, pool, exact, 5*work, func() { a.Backward(pool, dq, dk, dv, q, k, v, o, lse, do, start, scratch) })
			})
		}
	}
}

// BenchmarkAttentionCached is one generated token over cached keys; bytes are those of the keys and values.
func BenchmarkAttentionCached(b *testing.B) {
	pool := NewPool(0)
	defer pool.Close()
	for _, keys := range []int{256, 4096} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			a := Attention{H: 9, K: 3, D: 64, Scale: 0.125}
			q, k, v := values(a.H*a.D, 1), values(keys*a.K*a.D, 2), values(keys*a.K*a.D, 3)
			o, start := make([]float32, len(q)), make([]int32, 1)
			scratch := make([]float32, a.Scratch(1, keys))
			b.SetBytes(int64(8 * len(k)))
			for b.Loop() {
				a.Forward(pool, o, nil, q, k, v, start, keys-1, scratch)
			}
		})
	}
}
