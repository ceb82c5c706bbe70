package nn

import (
	"math"
	"testing"
)

// A mask drops the share it should, everywhere in a row, and masks of other salts, keys and rows are independent of it.
func TestMask(t *testing.T) {
	const rows, width = 400, 501
	draw := func(p float32, salt uint64, key []int32) []float32 {
		x := make([]float32, rows*width)
		m := dropout{p, salt, 0}.mask(key)
		for i := range rows {
			row := x[i*width : (i+1)*width]
			for k := range row {
				row[k] = 1
			}
			m.row(i, row, row)
		}
		return x
	}
	for _, p := range []float32{0.05, 0.5, 0.9} {
		a := draw(p, 1, []int32{1, 2})
		// five standard errors of a share of n draws
		bound := func(n int, p float64) float64 { return 5 * math.Sqrt(p*(1-p)/float64(n)) }
		column := make([]int, width)
		dropped := 0
		for i, v := range a {
			switch {
			case v == 0:
				dropped++
				column[i%width]++
			case math.Abs(float64(v)*(1-float64(p))-1) > 1e-3: // p is rounded
				t.Fatalf("p %g: a kept 1 became %g", p, v)
			}
		}
		if d := math.Abs(float64(dropped)/float64(len(a)) - float64(p)); d > bound(len(a), float64(p)) {
			t.Errorf("p %g: the share dropped is off by %g", p, d)
		}
		for k, n := range column {
			if d := math.Abs(float64(n)/rows - float64(p)); d > bound(rows, float64(p)) {
				t.Errorf("p %g: the share dropped in column %d is off by %g", p, k, d)
			}
		}
		shifted := append(a[width:len(a):len(a)], a[:width]...)
		for what, b := range map[string][]float32{"salt": draw(p, 2, []int32{1, 2}), "low key": draw(p, 1, []int32{3, 2}), "high key": draw(p, 1, []int32{1, 3}), "row": shifted} {
			both := 0
			for i := range a {
				if a[i] == 0 && b[i] == 0 {
					both++
				}
			}
			q := float64(p) * float64(p)
			if d := math.Abs(float64(both)/float64(len(a)) - q); d > bound(len(a), q) {
				t.Errorf("p %g: masks of another %s are dependent: joint share off by %g", p, what, d)
			}
		}
	}
}
