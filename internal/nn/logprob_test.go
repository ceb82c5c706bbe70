package nn

import (
	"testing"

	"tune/internal/graph"
	"tune/kernels"
)

// hit is 1 where the label has the greatest logit, 0 elsewhere and where there is no label; both variants agree.
func TestHit(t *testing.T) {
	const n, c, v = 5, 2, 4
	g := graph.New()
	x, labels, dlogp := g.Input("x", graph.Shape{n, c}), g.Ints("labels", n), g.Input("dlogp", graph.Shape{n, 1})
	w := []float32{1, 0, 0, 1, -1, 0, 0, -1} // the greatest logit is the direction x points to
	p := Proj{W: Weight{Name: "head", Rows: v, Cols: c, Frozen: kernels.Floats(w, v, c)}}
	_, hit := LogProb(x, labels, p, true)
	_, fused := LogProbFused(x, labels, dlogp, p, true)
	prog, err := g.Compile(graph.Options{}, hit, fused)
	if err != nil {
		t.Fatal(err)
	}
	s, err := prog.Bind(graph.NewHost(nil))
	if err != nil {
		t.Fatal(err)
	}
	copy(s.Floats("x"), []float32{2, 1, 1, 2, -2, 1, 1, -2, 2, 1})
	copy(s.Ints("labels"), []int32{0, 0, 2, 3, -1})
	if err := s.RunAll(); err != nil {
		t.Fatal(err)
	}
	for i, want := range []float32{1, 0, 1, 1, 0} {
		if s.Output(0)[i] != want || s.Output(1)[i] != want {
			t.Errorf("row %d: hits %g and %g, want %g", i, s.Output(0)[i], s.Output(1)[i], want)
		}
	}
}

// A tile is never larger than its bound, and whole blocks of 16 rows where it can be.
func TestTileRows(t *testing.T) {
	for _, c := range []struct{ v, n, want int }{{49152, 2048, 512}, {49152, 512, 512}, {49152, 700, 352}, {49152, 7, 7}, {128256, 2048, 256}, {1 << 22, 2048, 8}, {1 << 25, 2048, 1}} {
		g := graph.New()
		in := ins{}
		w := Weight{Name: "w", Rows: c.v, Cols: 1, Node: g.Param("w", graph.Shape{c.v, 1})}
		h := newHead(&in, g.Input("x", graph.Shape{c.n, 1}), g.Ints("labels", c.n), Proj{W: w}, true)
		if h.tile != c.want {
			t.Errorf("vocabulary of %d, %d rows: tiles of %d rows, want %d", c.v, c.n, h.tile, c.want)
		}
	}
}
