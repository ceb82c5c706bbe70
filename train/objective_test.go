package train

import (
	"math"
	"testing"

	"tune/internal/rng"
)

// Every objective's gradient against central differences of its own loss in float64.
func TestObjectiveGradients(t *testing.T) {
	const n, step, limit = 24, 1e-5, 1e-7 // float64: error about step^2
	random := rng.New(7, "objective")
	b := &MicroBatch{Labels: make([]int32, n)}
	logp := make([]float32, n)
	count := int64(0)
	for i := range logp {
		logp[i] = float32(-4 * random.Float64(uint64(i)))
		if b.Labels[i] = int32(i); i%3 == 0 {
			b.Labels[i] = -1
		} else {
			count++
		}
	}
	for name, o := range objectives {
		ops := o.operands(b, count)
		e, err := o.compile(n, ops)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer e.close()
		d := make([]float32, n)
		if _, err := e.eval(logp, ops, d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i := range logp {
			x := append([]float32{}, logp...)
			x[i] = logp[i] + step
			up, err1 := e.eval(x, ops, nil)
			x[i] = logp[i] - step
			down, err2 := e.eval(x, ops, nil)
			width := float64(logp[i]+step) - float64(logp[i]-step)
			if want := (up - down) / width; err1 != nil || err2 != nil || math.Abs(want-float64(d[i])) > limit {
				t.Errorf("%s: d loss/d logp[%d] = %g, differences say %g (%v %v)", name, i, d[i], want, err1, err2)
			}
		}
		if !o.linear {
			continue
		}
		zero := make([]float32, n)
		if _, err := e.eval(make([]float32, n), ops, zero); err != nil {
			t.Fatal(err)
		}
		for i := range d {
			if d[i] != zero[i] {
				t.Errorf("%s is called linear, but its gradient depends on logp (token %d)", name, i)
			}
		}
	}
}

func TestSFTIsTheMean(t *testing.T) {
	o := objectives["sft"]
	b := &MicroBatch{Labels: []int32{5, -1, 2, -1}}
	ops := o.operands(b, 4) // two of four supervised tokens of the global batch are in this micro-batch
	e, err := o.compile(4, ops)
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	d := make([]float32, 4)
	loss, err := e.eval([]float32{-1, -50, -3, 0}, ops, d)
	if err != nil || loss != 1 || d[0] != -0.25 || d[1] != 0 || d[2] != -0.25 || d[3] != 0 {
		t.Errorf("loss %v, gradient %v, %v", loss, d, err)
	}
}
