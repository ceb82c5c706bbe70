package nn

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"tune/internal/graph"
	"tune/internal/rng"
	"tune/kernels"
)

// Largest differences allowed, relative to the largest value of the tensor compared.
const (
	// Exact forward: float32 sums of at most a hundred terms against float64.
	tolValue = 3e-6
	// Exact gradients: a few such sums one after the other. The central differences themselves are good to 1e-8.
	tolGrad = 1e-5
	// With operands rounded to bf16 (relative error 2⁻⁹ each) errors of products average out, those of single ones do not.
	tolBF16 = 3e-2
)

// step of the central differences, in float64: error about step² and 1e-16/step.
const step = 1e-5

// bench is one op under test: its graph, the float inputs to differentiate, and the values of everything.
type bench struct {
	g      *graph.Graph
	exact  bool
	big    bool
	names  []string
	nodes  map[string]*graph.Node
	values map[string][]float64 // float32 values, in float64
	ints   map[string][]int32
	draws  uint64
}

func newBench(exact, big bool) *bench {
	return &bench{g: graph.New(), exact: exact, big: big, nodes: map[string]*graph.Node{}, values: map[string][]float64{}, ints: map[string][]int32{}}
}

// size is a small dimension, or a larger one for the tests of bits.
func (b *bench) size(small, big int) int {
	if b.big {
		return big
	}
	return small
}

// random values of standard deviation scale that float32 and bf16 hold exactly.
func (b *bench) random(n int, scale float64) []float64 {
	x := make([]float64, n)
	for i := range x {
		b.draws++
		f := math.Float32bits(float32(scale * rng.New(1, "nn test").Norm(b.draws)))
		x[i] = float64(math.Float32frombits(f &^ 0xffff))
	}
	return x
}

// param is a float input that gets a gradient.
func (b *bench) param(name string, rows, cols int, scale float64) *graph.Node {
	n := b.g.Param(name, graph.Shape{rows, cols})
	b.names, b.nodes[name], b.values[name] = append(b.names, name), n, b.random(rows*cols, scale)
	return n
}

// input is a float input without a gradient.
func (b *bench) input(name string, rows, cols int) *graph.Node {
	b.values[name] = b.random(rows*cols, 1)
	return b.g.Input(name, graph.Shape{rows, cols})
}

func (b *bench) int(name string, x []int32) *graph.Node {
	b.ints[name] = x
	return b.g.Ints(name, len(x))
}

// frozen is a weight in bf16.
func (b *bench) frozen(name string, rows, cols int) Weight {
	x := b.random(rows*cols, 0.5)
	b.values[name] = x
	data := make([]byte, 0, 2*len(x))
	for _, v := range x {
		u := math.Float32bits(float32(v)) >> 16
		data = append(data, byte(u), byte(u>>8))
	}
	return Weight{Name: name, Rows: rows, Cols: cols, Frozen: kernels.Matrix{Rows: rows, Cols: cols, Data: data, Codec: kernels.BF16}}
}

func (b *bench) trained(name string, rows, cols int) Weight {
	return Weight{Name: name, Rows: rows, Cols: cols, Node: b.param(name, rows, cols, 0.5)}
}

func (b *bench) vector(name string, n int, trained bool) *Vector {
	if trained {
		return &Vector{Node: b.param(name, 1, n, 1)}
	}
	b.values[name] = b.random(n, 1)
	return &Vector{Frozen: narrow(b.values[name])}
}

func narrow(x []float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}

// run binds a program, sets what it has, and runs it; add runs it twice onto zeroed gradients.
func (b *bench) run(t testing.TB, pool *kernels.Pool, o graph.Options, outputs ...*graph.Node) *graph.Session {
	t.Helper()
	p, err := b.g.Compile(o, outputs...)
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Bind(graph.NewHost(pool))
	if err != nil {
		t.Fatal(err)
	}
	b.fill(s)
	if err := s.RunAll(); err != nil {
		t.Fatal(err)
	}
	return s
}

func (b *bench) fill(s *graph.Session) {
	for name, x := range b.values {
		if f := s.Floats(name); f != nil {
			copy(f, narrow(x))
		}
		if f := s.Param(name); f != nil {
			copy(f, narrow(x))
		}
	}
	for name, x := range b.ints {
		if f := s.Ints(name); f != nil {
			copy(f, x)
		}
	}
}

// differentiate returns the gradients of Σ dy·y over the results of a case, one for each parameter.
func (b *bench) differentiate(t testing.TB, r result, wrt ...string) []*graph.Node {
	t.Helper()
	var nodes []*graph.Node
	for _, n := range wrt {
		nodes = append(nodes, b.nodes[n])
	}
	var grads []*graph.Node
	var err error
	if r.dy != nil {
		grads, err = b.g.Backward(r.y[0], r.dy, nodes...)
	} else {
		var loss *graph.Node
		for i, y := range r.y {
			name := fmt.Sprintf("dy%d", i)
			dy := b.g.Named(name)
			if dy == nil {
				dy = b.input(name, y.Shape()[0], y.Shape()[1])
			}
			l := graph.Sum(graph.Mul(y, dy))
			if loss == nil {
				loss = l
			} else {
				loss = graph.Add(loss, l)
			}
		}
		grads, err = b.g.Gradients(loss, nodes...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return grads
}

// loss is Σ dy·y of the float64 reference.
func (b *bench) loss(r result) (s float64) {
	for i, y := range r.ref(b.values) {
		dy := b.values[fmt.Sprintf("dy%d", i)]
		for k, v := range y {
			s += v * dy[k]
		}
	}
	return s
}

func worst[T float32 | float64](got []float32, want []T) (d float64) {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	largest := 1e-30
	for i, w := range want {
		if e := math.Abs(float64(got[i]) - float64(w)); !(e <= d) {
			d = e
		}
		largest = max(largest, math.Abs(float64(w)))
	}
	return d / largest
}

func check(t *testing.T, what string, got, limit float64) {
	t.Helper()
	if !(got <= limit) {
		t.Errorf("%s: relative difference %.2g, limit %.2g", what, got, limit)
	}
}

// Every op, in every variant: values against a float64 reference, gradients against its central differences, exact and with
// bf16 operands.
func TestGradients(t *testing.T) {
	for _, c := range cases {
		for _, exact := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/exact=%v", c.name, exact), func(t *testing.T) {
				b := newBench(exact, false)
				r := c.build(b)
				grads := b.differentiate(t, r, b.names...)
				s := b.run(t, nil, graph.Options{}, append(slices.Clone(r.y), grads...)...)
				value, grad := tolValue, tolGrad
				if !exact {
					value, grad = tolBF16, tolBF16
				}
				for i, want := range r.ref(b.values) {
					check(t, fmt.Sprintf("value %d", i), worst(s.Output(i), want), value)
				}
				for i, name := range b.names {
					x, want := b.values[name], make([]float64, len(b.values[name]))
					for k, v := range x {
						x[k] = v + step
						up := b.loss(r)
						x[k] = v - step
						want[k] = (up - b.loss(r)) / (2 * step)
						x[k] = v
					}
					if r.grad != nil {
						r.grad(name, b.values, want)
					}
					check(t, "gradient of "+name, worst(s.Output(len(r.y)+i), want), grad)
				}
			})
		}
	}
}

// Gradients of all parameters together, of each alone, and by any number of workers have the same bits; added twice onto
// zero they double.
func TestSameBits(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var first [][]float32
			for workers := 1; workers <= 3; workers++ {
				pool := kernels.NewPool(workers)
				defer pool.Close()
				b := newBench(false, true)
				r := c.build(b)
				outs := append(slices.Clone(r.y), b.differentiate(t, r, b.names...)...)
				s := b.run(t, pool, graph.Options{}, outs...)
				for i := range outs {
					x := slices.Clone(s.Output(i))
					if workers == 1 {
						first = append(first, x)
					} else if !slices.Equal(first[i], x) {
						t.Errorf("%d workers: output %d differs by %g", workers, i, worst(x, first[i]))
					}
				}
			}
			pool := kernels.NewPool(2)
			defer pool.Close()
			b := newBench(false, true)
			r := c.build(b)
			for i, name := range b.names {
				alone := b.run(t, pool, graph.Options{}, b.differentiate(t, r, name)...)
				want := first[len(r.y)+i]
				if !slices.Equal(alone.Output(0), want) {
					t.Errorf("%s alone differs by %g", name, worst(alone.Output(0), want))
				}
			}
			b = newBench(false, true)
			r = c.build(b)
			for i, d := range b.differentiate(t, r, b.names...) {
				b.g.Accumulate(b.names[i], d)
			}
			s := b.run(t, pool, graph.Options{})
			if err := s.RunAll(); err != nil {
				t.Fatal(err)
			}
			for i, name := range b.names {
				want := slices.Clone(first[len(r.y)+i])
				kernels.Scale(want, 2, want)
				check(t, name+" accumulated twice", worst(s.Grad(name), want), tolGrad)
			}
		})
	}
}

// attentionAllocs bounds what kernels.Attention allocates in a forward and a backward for its tasks, which is not decided here.
const attentionAllocs = 40

// A step allocates nothing after the first.
func TestAllocations(t *testing.T) {
	pool := kernels.NewPool(2)
	defer pool.Close()
	for _, c := range cases {
		b := newBench(false, true)
		r := c.build(b)
		for i, d := range b.differentiate(t, r, b.names...) {
			b.g.Accumulate(b.names[i], d)
		}
		s := b.run(t, pool, graph.Options{}, r.y...)
		limit := 0.0
		if strings.HasPrefix(c.name, "attention") {
			limit = attentionAllocs
		}
		if n := testing.AllocsPerRun(5, func() {
			if err := s.RunAll(); err != nil {
				t.Fatal(err)
			}
		}); n > limit {
			t.Errorf("%s: %v allocations in a step", c.name, n)
		}
	}
}
