//go:build unix

package infer

import (
	"context"
	"testing"

	"tune/internal/model"
	"tune/internal/qtype"
	"tune/internal/tensor"
	"tune/internal/testkit"
	"tune/kernels"
)

// BenchmarkIntegers compares integer with float products in one run, round by round: SmolLM2-135M in several types reads a prompt of 512, writes
// one token after another, and 16 answers together. The figures are tokens per second of processor time of one worker, so that other jobs
// do not count, and their ratio.
func BenchmarkIntegers(b *testing.B) {
	for _, as := range []qtype.Type{qtype.Q8_0, qtype.Q4_1, qtype.Q4_0, qtype.Q5_1} {
		c, err := model.Open(testkit.SmolLM2(b))
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		c.Weights = tensor.Converted{Source: c.Weights, To: func(tensor.Info) qtype.Type { return as }}
		pool := kernels.NewPool(1)
		defer pool.Close()
		var run [2]map[string]func() int // does something and tells how many tokens
		for i := range run {
			m, err := model.New(c, model.Options{Int8: i == 1})
			if err != nil {
				b.Fatal(err)
			}
			if run[i], err = integerRuns(b, m, pool); err != nil {
				b.Fatal(err)
			}
		}
		for _, what := range []string{"512", "1", "16"} {
			b.Run(as.String()+"/"+what, func(b *testing.B) {
				var n, used [2]float64
				for b.Loop() {
					for i := range run {
						began := cpu()
						n[i] += float64(run[i][what]())
						used[i] += cpu() - began
					}
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(n[0]/used[0], "float-tokens/s")
				b.ReportMetric(n[1]/used[1], "int8-tokens/s")
				b.ReportMetric(n[1]/used[1]/(n[0]/used[0]), "ratio")
			})
		}
	}
}

func integerRuns(b *testing.B, m *model.Model, pool *kernels.Pool) (map[string]func() int, error) {
	e, err := New(m, nil, pool)
	if err != nil {
		return nil, err
	}
	b.Cleanup(e.Close)
	x, err := NewBatch(m, nil, pool)
	if err != nil {
		return nil, err
	}
	b.Cleanup(x.Close)
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	const prompt, answer, many = 64, 32, 16
	turn := int32(0)
	var ps []Prompt
	for i := range many {
		ps = append(ps, Prompt{IDs: append(tokens(1, prompt-1, m.V), int32(i)), Options: Options{MaxTokens: answer}})
	}
	return map[string]func() int{
		"512": func() int {
			turn++
			ids := tokens(2, 512, m.V)
			ids[0] = turn % 2
			_, err := e.Next(ids)
			must(err)
			return len(ids)
		},
		"1": func() int {
			ids := tokens(3, prompt+answer, m.V)
			for i := range answer {
				_, err := e.Next(ids[:prompt+i])
				must(err)
			}
			return answer
		},
		"16": func() int {
			must(x.Generate(context.Background(), ps, func(int, Answer) error { return nil }))
			return many * answer
		},
	}, nil
}
