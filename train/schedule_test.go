package train

import (
	"math"
	"testing"

	"tune/kernels"
)

func TestRates(t *testing.T) {
	for _, c := range []struct {
		s    Schedule
		want []float64 // of ten steps with peak 1
	}{
		{Schedule{Name: "constant"}, []float64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
		{Schedule{Name: "linear", Warmup: 2}, []float64{0, .5, 1, .875, .75, .625, .5, .375, .25, .125}},
		{Schedule{Name: "linear", Warmup: 0.2, Floor: 0.5}, []float64{0, .5, 1, .9375, .875, .8125, .75, .6875, .625, .5625}},
		{Schedule{Name: "cosine", Warmup: 2}, []float64{0, .5, 1, .9619397662556434, .8535533905932737, .6913417161825449, .5,
			.3086582838174552, .14644660940672627, .03806023374435663}},
		{Schedule{Name: "wsd", Warmup: 2, Decay: 0.4}, []float64{0, .5, 1, 1, 1, 1, 1, .75, .5, .25}},
	} {
		for step, want := range c.want {
			if got := c.s.Rate(step, 10, 1); math.Abs(got-want) > 1e-15 {
				t.Errorf("%+v: rate of step %d is %v, expected %v", c.s, step, got, want)
			}
		}
	}
}

func TestClipAndNorm(t *testing.T) {
	g := [][]float32{make([]float32, 3*chunk+5), {3}}
	g[0][chunk+1] = 4
	pool := kernels.NewPool(3)
	defer pool.Close()
	if got := norm(pool, g); got != 5 || norm(nil, g) != got {
		t.Errorf("norm %v, expected 5", got)
	}
	if got := clipScale(5, 1); math.Abs(got-0.2) > 1e-6 || clipScale(0.5, 1) != 1 || clipScale(9, 0) != 1 {
		t.Errorf("clip scale %v", got)
	}
}

// Each optimizer against its formula in float64, for parameters longer than a chunk.
func TestOptimizers(t *testing.T) {
	const n, limit = chunk + 7, 2e-6 // float32 steps of size 0.1
	want := map[string]func(p, g float64) float64{
		"adamw": func(p, g float64) float64 { // first step: m/c1 = g, v/c2 = g*g
			return p*(1-0.1*0.01) - 0.1*g/(math.Abs(g)+1e-8)
		},
		"sgd": func(p, g float64) float64 { return p*(1-0.1*0.01) - 0.1*g },
	}
	for name, o := range optimizers {
		cfg := Defaults()
		cfg.Momentum = 0.9
		p, g := make([]float32, n), make([]float32, n)
		for i := range p {
			p[i], g[i] = float32(i%17)/17, float32(i%5)-2.5
		}
		before := append([]float32{}, p...)
		state := [][][]float32{nil}
		for range o.states {
			state[0] = append(state[0], make([]float32, n))
		}
		o.update(nil, [][]float32{p}, [][]float32{g}, state, []hyper{{&cfg, 0.1, 0.01, 0.5, 1}})
		for i := range p {
			if w := want[name](float64(before[i]), float64(g[i])*0.5); math.Abs(float64(p[i])-w) > limit {
				t.Fatalf("%s: parameter %d is %v, expected %v", name, i, p[i], w)
			}
		}
	}
}
