// Package bench measures this machine and what the program reaches on it: the peaks of arithmetic and of reading memory first, then
// kernels, training steps, reading of prompts, generation, quantizing and the making of packs, each as a share of the peak that bounds it. README.md holds the method
// and figures.
//
// It is the one package whose results come from a clock; they go nowhere but into the report.
package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"tune/internal/model"
	"tune/internal/qtype"
	"tune/kernels"
)

// Peak is what the machine can do at most, all workers together.
type Peak struct {
	BF16  float64 `json:"bf16_flops,omitempty"` // multiply and add of MatMul's precision, on registers alone; 0: no bf16 instructions
	F32   float64 `json:"f32_flops"`
	Int8  float64 `json:"int8_ops,omitempty"` // multiplications of bytes and additions of AVX2; 0: other kernels are in use
	Bytes float64 `json:"read_bytes_per_second"`
}

// Row is one measurement.
type Row struct {
	Name   string  `json:"name"`          // kind/variant/sizes; gemm sizes are M x K x N
	Value  float64 `json:"value"`         // median of the repeats
	Unit   string  `json:"unit"`          // per second
	Share  float64 `json:"share_of_peak"` // of the best repeat, in useful work, of the peak that bounds it; 0: none does
	Spread float64 `json:"spread"`        // distance of the quartiles over the median
	Best   float64 `json:"best"`
	Bytes  int64   `json:"peak_bytes"` // most memory of the process during the measurement, 0 where it is not measured

	work float64 // useful operations or bytes per second of the best repeat
	of   ceiling
}

// Report is what a run found.
type Report struct {
	Peak Peak  `json:"peak"`
	Rows []Row `json:"rows"`
}

// Model is a model to measure.
type Model struct {
	Suffix string // of the names of its rows
	Base   *model.Checkpoint
	Full   bool // measure full training too
}

// The parts a run may be restricted to.
var Parts = []string{"kernels", "train", "prefill", "decode", "quantize", "data"}

// Options of a run.
type Options struct {
	Parts  []string // of Parts
	Models []Model
	Pool   *kernels.Pool
	Types  []qtype.Type      // that the part quantize measures; nil: all
	Text   *model.Checkpoint // whose tokenizer and chat template the part data measures
	// Programs that the part quantize times: this one, and llama.cpp's; "" is left out.
	Tune, LlamaQuantize string
	Progress            func(Row) // told about every row as it comes, before its share is known; nil: nobody is
}

// bencher is a run under way.
type bencher struct {
	Options
	Report
	ctx context.Context
}

// ceiling names the peak that bounds a row.
type ceiling int

const (
	arithmetic ceiling = iota // of products at MatMul's precision
	exact                     // of float32 products
	integers                  // of integer products
	reading                   // of memory
)

// Run measures. It stops between repeats when ctx ends.
func Run(ctx context.Context, o Options) (*Report, error) {
	b := &bencher{Options: o, ctx: ctx}
	for _, c := range []ceiling{arithmetic, exact, integers, reading} {
		b.raise(c)
	}
	steps := []struct {
		part string
		run  func() error
	}{
		{"kernels", b.kernels}, {"train", b.eachModel((*bencher).train, false)},
		{"prefill", b.eachModel((*bencher).prefill, true)}, {"decode", b.eachModel((*bencher).decode, true)},
		{"decode", b.eachModel((*bencher).decodeMany, true)}, {"quantize", b.quantize}, {"data", b.data},
	}
	for _, s := range steps {
		if !slices.Contains(o.Parts, s.part) {
			continue
		}
		if err := s.run(); err != nil {
			return nil, fmt.Errorf("bench %s: %w", s.part, err)
		}
	}
	for i := range b.Rows {
		r := &b.Rows[i]
		if r.work > 0 {
			if h := b.height(r.of); h > 0 {
				r.Share = r.work / h
			}
		}
	}
	return &b.Report, nil
}

// eachModel measures every model, where asked also with integer products, if its weights are codes.
func (b *bencher) eachModel(f func(*bencher, Model, *model.Model) error, int8 bool) func() error {
	return func() error {
		for _, m := range b.Models {
			x, err := model.New(m.Base, model.Options{})
			if err != nil {
				return err
			}
			if err := f(b, m, x); err != nil {
				return err
			}
			if !int8 {
				continue
			}
			if x, err = model.New(m.Base, model.Options{Int8: true}); err != nil {
				return err
			}
			if !x.Integers() {
				continue
			}
			m.Suffix += "/int8"
			if err := f(b, m, x); err != nil {
				return err
			}
		}
		return nil
	}
}

// products is the ceiling of a model's products.
func products(m *model.Model) ceiling {
	if m.Integers() {
		return integers
	}
	return arithmetic
}

// Repeats of a measurement: at least fewest, then until it has taken enough, at most most.
const (
	fewest = 5
	most   = 60
	enough = 600 * time.Millisecond
)

// repeat times f after one run that does not count; seconds, sorted.
func (b *bencher) repeat(f func() error) ([]float64, error) {
	return b.repeatPart(func() (time.Time, error) { return time.Now(), f() })
}

// repeatPart is repeat for an f that tells when the part that counts began.
func (b *bencher) repeatPart(f func() (time.Time, error)) ([]float64, error) {
	if _, err := f(); err != nil {
		return nil, err
	}
	var took []float64
	for begin := time.Now(); len(took) < most && (len(took) < fewest || time.Since(begin) < enough); {
		if err := b.ctx.Err(); err != nil {
			return nil, err
		}
		start, err := f()
		if err != nil {
			return nil, err
		}
		took = append(took, time.Since(start).Seconds())
	}
	slices.Sort(took)
	return took, nil
}

// add makes a row of sorted seconds: count things of a unit in each repeat, which are work operations or bytes for the peak.
func (b *bencher) add(name, unit string, took []float64, count, work float64, of ceiling, bytes int64) {
	middle := took[len(took)/2]
	r := Row{Name: name, Value: count / middle, Unit: unit, Best: count / took[0], Bytes: bytes,
		Spread: (took[len(took)*3/4] - took[len(took)/4]) / middle, work: work / took[0], of: of}
	b.Rows = append(b.Rows, r)
	if b.Progress != nil {
		b.Progress(r)
	}
}
