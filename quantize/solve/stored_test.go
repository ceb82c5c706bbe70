package solve

import (
	"testing"

	"tune/internal/qtype"
)

// TestStored: for every type with codes of its own, error feedback on the type's grid leaves less error in the outputs than the
// type's encoder, weighted by the same activations, and than the codes nearest to the weights.
func TestStored(t *testing.T) {
	const out, in, rows = 24, 512, 700
	w, x := generate(11, out, in, rows)
	g := NewGram(in)
	g.AddExact(x, rows, nil)
	importance := make([]float32, in)
	for i, v := range g.Diagonal() {
		importance[i] = float32(v / rows)
	}
	errorOf := func(q qtype.Type, data []byte) (sum float64) {
		y := make([]float32, out*in)
		q.Row().Decode(y, data)
		for r := range out {
			for n := range rows {
				d := 0.0
				for i, v := range x[n*in : (n+1)*in] {
					d += v * (float64(w[r*in+i]) - float64(y[r*in+i]))
				}
				sum += d * d
			}
		}
		return sum
	}
	for _, q := range qtype.All() {
		if !Storable(q, in) {
			continue
		}
		s := NewStored(q, out, in, importance)
		f, err := NewFactor(g, ByGroup(g.Diagonal(), q.Row().Block), 0.01, nil)
		if err != nil {
			t.Fatal(err)
		}
		f.Solve(w, out, s, Current, 0, nil)
		encoded := make([]byte, len(s.Data))
		if e := q.Row().EncodeWeighted; e != nil {
			e(encoded, w, importance)
		} else {
			q.Row().Encode(encoded, w)
		}
		plain := NewStored(q, out, in, importance)
		Nearest(w, out, in, plain, nil)
		a, b, c := errorOf(q, s.Data), errorOf(q, encoded), errorOf(q, plain.Data)
		t.Logf("%-7s feedback %.5f encoder %.5f nearest %.5f", q, a, b, c)
		if a > 0.8*b || a > 0.8*c {
			t.Errorf("%s: expected less than the encoder's error of %v and %v with the nearest codes, found %v", q, b, c, a)
		}
	}
}
