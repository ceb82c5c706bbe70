//go:build unix

package infer

import (
	"context"
	"math"
	"syscall"
	"testing"
	"time"
	"tune/internal/qtype"
	"tune/internal/tensor"
	"tune/internal/testkit"

	"tune/internal/model"
	"tune/kernels"
)

// BenchmarkDecode is one token after 64 others, SmolLM2-135M as it is stored: the best of the rounds, because other jobs disturb.
func BenchmarkDecode(b *testing.B) {
	c, err := model.Open(testkit.SmolLM2(b))
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

// BenchmarkDecodeMany is a token of each of 16 answers at a time, and of one alone, SmolLM2-135M in several types.
func BenchmarkDecodeMany(b *testing.B) {
	for _, as := range []qtype.Type{qtype.Q4_1, qtype.Q8_0, qtype.BF16} {
		c, err := model.Open(testkit.SmolLM2(b))
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		if as != qtype.Q4_1 {
			c.Weights = tensor.Converted{Source: c.Weights, To: func(tensor.Info) qtype.Type { return as }}
		}
		m, err := model.New(c, model.Options{})
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
		x, err := NewBatch(m, nil, pool)
		if err != nil {
			b.Fatal(err)
		}
		defer x.Close()
		const prompt, answer, many = 64, 32, 16
		ids := make([]int32, prompt+answer)
		if _, err := e.Next(ids[:prompt]); err != nil {
			b.Fatal(err)
		}
		b.Run(as.String()+"/1", func(b *testing.B) {
			n, used := 0, cpu()
			for b.Loop() {
				for i := range answer {
					if _, err := e.Next(ids[:prompt+i+1]); err != nil {
						b.Fatal(err)
					}
					n++
				}
			}
			b.ReportMetric(2*float64(n)/(cpu()-used), "tokens/s-of-2-free-cores")
		})
		var ps []Prompt
		for i := range many {
			ps = append(ps, Prompt{IDs: append(tokens(1, prompt-1, m.V), int32(i)), Options: Options{MaxTokens: answer}})
		}
		b.Run(as.String()+"/16", func(b *testing.B) {
			n, used := 0, 0.0
			for b.Loop() {
				began, prompts := 0.0, 0
				ps[many-1].More = func(int32) bool {
					if prompts++; prompts == 1 { // all prompts have been read
						began = cpu()
					}
					return true
				}
				if err := x.Generate(context.Background(), ps, func(int, Answer) error { return nil }); err != nil {
					b.Fatal(err)
				}
				n, used = n+many*(answer-1), used+cpu()-began
			}
			b.ReportMetric(2*float64(n)/used, "tokens/s-of-2-free-cores")
		})
	}
}

// cpu is the processor time of the process so far, in seconds: other jobs do not add to it.
func cpu() float64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	return float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9
}
