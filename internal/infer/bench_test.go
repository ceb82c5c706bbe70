package infer

import (
	"math"
	"testing"
	"time"

	"tune/internal/model"
	"tune/kernels"
)

// BenchmarkDecode is one token after 64 others, SmolLM2-135M as it is stored: the best of the rounds, because other jobs disturb.
func BenchmarkDecode(b *testing.B) {
	c, err := model.Open(smolLM2(b))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	for name, exact := range map[string]bool{"auto": false, "exact": true} {
		m, err := model.New(c, model.Options{Exact: exact})
		if err != nil {
			b.Fatal(err)
		}
		pool := kernels.NewPool(0)
		defer pool.Close()
		e, err := New(m, nil, pool)
		if err != nil {
			b.Fatal(err)
		}
		defer e.Close()
		ids := make([]int32, 64, 4096)
		b.Run(name, func(b *testing.B) {
			best := math.Inf(1)
			b.ReportAllocs()
			for range b.N {
				start := time.Now()
				if _, err := e.Next(ids); err != nil {
					b.Fatal(err)
				}
				best = min(best, float64(time.Since(start)))
				if ids = append(ids, int32(len(ids))); len(ids) == 128 {
					ids = ids[:64]
				}
			}
			b.ReportMetric(best/1e6, "best-ms")
		})
	}
}
