package graph_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"tune/internal/graph"
	"tune/internal/nn"
	"tune/internal/rng"
	"tune/kernels"
)

// Sizes of the decoder of these tests.
const (
	layers, width, heads, kv, headDim, ff, vocab, rank = 3, 16, 4, 2, 4, 24, 40, 4
)

// decoder is a small model with adapters on all projections, and the batch it reads.
type decoder struct {
	g      *graph.Graph
	n      int
	params []*graph.Node
	logp   *graph.Node
	dlogp  *graph.Node
	taps   []*graph.Node // inputs of the down projections
}

func numbers(name string, n int, scale float64) []float32 {
	x, s := make([]float32, n), rng.New(5, name)
	for i := range x {
		x[i] = float32(scale * s.Norm(uint64(i)))
	}
	return x
}

func weight(name string, rows, cols int) nn.Weight {
	x := numbers(name, rows*cols, 0.2)
	return nn.Weight{Name: name, Rows: rows, Cols: cols, Frozen: kernels.Floats(x, rows, cols)}
}

// build makes the decoder for n tokens; fused says which loss.
func build(n int, fused bool) *decoder { return buildLayers(layers, n, fused) }

func buildLayers(layers, n int, fused bool) *decoder {
	d := &decoder{g: graph.New(), n: n}
	g := d.g
	ids, pos, start, labels, key := g.Ints("ids", n), g.Ints("pos", n), g.Ints("start", n), g.Ints("labels", n), g.Ints("rng", 2)
	param := func(name string, rows, cols int) *graph.Node {
		p := g.Param(name, graph.Shape{rows, cols})
		d.params = append(d.params, p)
		return p
	}
	proj := func(l int, name string, out, in int) nn.Proj {
		name = fmt.Sprintf("%d.%s", l, name)
		a := &nn.LoRA{A: param(name+".A", rank, in), B: param(name+".B", out, rank), R: rank, Scale: 2, Salt: uint64(len(d.params))}
		if l == 1 {
			a.Dropout, a.Rng = 0.1, key
		}
		return nn.Proj{W: weight(name, out, in), LoRA: a}
	}
	norm := func(l int, x *graph.Node) *graph.Node {
		return nn.RMSNorm(x, nn.Vector{Node: param(fmt.Sprintf("%d.norm%d", l, len(d.params)), 1, width)}, width, 1e-5)
	}
	rope := nn.RopeTable{D: headDim, Inv: []float32{1, 0.1}}
	x := nn.Embedding(ids, weight("embed", vocab, width), nil)
	for l := range layers {
		g.Layer(l)
		h := norm(l, x)
		y := nn.Linear(h, true, proj(l, "q", heads*headDim, width), proj(l, "k", kv*headDim, width), proj(l, "v", kv*headDim, width))
		a := kernels.Attention{H: heads, K: kv, D: headDim, Scale: 0.5, Exact: true}
		o := nn.Attention(nn.Rope(y[0], pos, rope), nn.Rope(y[1], pos, rope), y[2], start, a)
		x = nn.LinearAdd(o, x, true, proj(l, "o", width, heads*headDim))
		y = nn.Linear(norm(l, x), true, proj(l, "gate", ff, width), proj(l, "up", ff, width))
		f := nn.SwiGLU(y[0], y[1])
		d.taps = append(d.taps, f)
		x = nn.LinearAdd(f, x, true, proj(l, "down", width, ff))
	}
	g.Layer(-1)
	head := nn.Proj{W: weight("head", vocab, width)}
	if d.dlogp = g.Input("dlogp", graph.Shape{n, 1}); fused {
		d.logp, _ = nn.LogProbFused(norm(layers, x), labels, d.dlogp, head, true)
	} else {
		d.logp, _ = nn.LogProb(norm(layers, x), labels, head, true)
	}
	return d
}

// grads accumulates the gradients of some parameters, all when none is named.
func (d *decoder) grads(t testing.TB, params ...*graph.Node) *decoder {
	t.Helper()
	if params == nil {
		params = d.params
	}
	gs, err := d.g.Backward(d.logp, d.dlogp, params...)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range params {
		d.g.Accumulate(p.Name(), gs[i])
	}
	return d
}

func (d *decoder) compile(t testing.TB, o graph.Options, outputs ...*graph.Node) *graph.Program {
	t.Helper()
	p, err := d.g.Compile(o, append([]*graph.Node{d.logp}, outputs...)...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// fill sets parameters and a batch of documents of seven tokens.
func fill(t testing.TB, s *graph.Session) {
	t.Helper()
	for _, p := range s.Program().Params {
		copy(s.Param(p.Name), numbers(p.Name, p.Ref.Len, 0.3))
	}
	s.ZeroGrads()
	fillInputs(t, s)
}

func fillInputs(t testing.TB, s *graph.Session) {
	t.Helper()
	for i := range s.Ints("ids") {
		s.Ints("ids")[i] = int32(i * 11 % vocab)
		s.Ints("pos")[i] = int32(i % 7)
		s.Ints("start")[i] = int32(i - i%7)
		s.Ints("labels")[i] = int32((i*5+3)%(vocab+1)) - 1
		if f := s.Floats("dlogp"); f != nil {
			f[i] = float32(i%4) - 1.5
		}
	}
	if s.Ints("rng") != nil {
		if err := s.SetInts("rng", []int32{3, -4}); err != nil {
			t.Fatal(err)
		}
	}
}

func bind(t testing.TB, p *graph.Program, d graph.Device) *graph.Session {
	t.Helper()
	s, err := p.Bind(d)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s)
	return s
}

func run(t testing.TB, s *graph.Session) {
	t.Helper()
	if err := s.RunAll(); err != nil {
		t.Fatal(err)
	}
}

// everything is the first output and all gradients of a session.
func everything(s *graph.Session) map[string][]float32 {
	m := map[string][]float32{"logp": slices.Clone(s.Output(0))}
	for _, g := range s.Program().Grads {
		m[g.Name] = slices.Clone(s.Grad(g.Name))
	}
	return m
}

func compare(t *testing.T, what string, got, want map[string][]float32) {
	t.Helper()
	for name, w := range want {
		if !slices.Equal(got[name], w) {
			t.Errorf("%s: %s differs", what, name)
		}
	}
}

// dirty fills memory with NaN and counts it.
type dirty struct {
	*graph.Host
	live, most int64
}

func (d *dirty) Alloc(n int) (graph.Block, error) {
	b, err := d.Host.Alloc(n)
	if err == nil {
		x := d.Map(b, 0, n)
		for i := range x {
			x[i] = float32(math.NaN())
		}
		d.live += 4 * int64(n)
		d.most = max(d.most, d.live)
	}
	return b, err
}

func (d *dirty) Free(b graph.Block) { d.live -= 4 * int64(len(b.([]float32))) }

// remote keeps its memory where no operation can reach it: each gets copies, with NaN for what it has not written.
type remote struct{ *graph.Host }

func (r remote) Prepare(i *graph.Instr, m *graph.Blocks) (func(), error) {
	view := func(x graph.Ref) []float32 {
		if x.Len == 0 {
			return nil
		}
		return r.Map(m[x.Space], x.Off, x.Len)
	}
	return func() {
		a := &graph.Args{Tmp: slices.Repeat([]float32{float32(math.NaN())}, i.Tmp.Len), Add: i.Add}
		for _, x := range i.In {
			c := slices.Clone(view(x))
			a.In, a.Int = append(a.In, c), append(a.Int, graph.AsInts(c))
		}
		for k, x := range i.Out {
			c := slices.Clone(view(x))
			for j := range c {
				if !i.Add[k] {
					c[j] = float32(math.NaN())
				}
			}
			a.Out = append(a.Out, c)
		}
		i.Op.Host(a)()
		for k, x := range i.Out {
			copy(view(x), a.Out[k])
		}
	}, nil
}

// Any recomputation, an arena full of NaN, and a device whose memory operations cannot see give the same bits.
func TestSameBits(t *testing.T) {
	var want map[string][]float32
	for stage := range 2 * layers {
		p := build(40, true).grads(t).compile(t, graph.Options{Recompute: stage})
		for what, dev := range map[string]graph.Device{"host": graph.NewHost(nil), "dirty": &dirty{Host: graph.NewHost(nil)}, "remote": remote{graph.NewHost(nil)}} {
			s := bind(t, p, dev)
			run(t, s)
			got := everything(s)
			if want == nil {
				want = got
				for name, x := range got {
					if !slices.ContainsFunc(x, func(v float32) bool { return v != 0 }) || slices.ContainsFunc(x, func(v float32) bool { return v != v }) {
						t.Errorf("%s is zero or NaN", name)
					}
				}
			}
			compare(t, fmt.Sprintf("stage %d on %s", stage, what), got, want)
		}
		r := p.Report
		t.Logf("stage %d: arena %d, saved %d, work %d, scratch %d, kept %d; %d instructions, %d kFLOP, %d again", stage, r.Arena, r.Saved, r.Work,
			r.Scratch, r.Kept, len(p.Instrs), r.FLOPs/1000, r.Again/1000)
	}
}

// The gradient of one parameter alone, when most outputs of the backward are unwanted, is that of all together.
func TestOneParameter(t *testing.T) {
	s := bind(t, build(40, true).grads(t).compile(t, graph.Options{}), graph.NewHost(nil))
	run(t, s)
	want := everything(s)
	for i := range build(40, true).params {
		d := build(40, true)
		p := d.params[i]
		s := bind(t, d.grads(t, p).compile(t, graph.Options{Recompute: i % (2 * layers)}), graph.NewHost(nil))
		run(t, s)
		compare(t, "alone", everything(s), map[string][]float32{p.Name(): want[p.Name()]})
	}
}

// Two losses on one graph, the second through the first's values.
func TestSecondGradients(t *testing.T) {
	g := graph.New()
	x := g.Input("x", graph.Shape{1, 1})
	sq := graph.Mul(x, x)
	g1, err1 := g.Gradients(graph.Sum(sq), x)
	g2, err2 := g.Gradients(graph.Scale(graph.Sum(graph.Mul(sq, x)), 2), x)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	p, err := g.Compile(graph.Options{}, g1[0], g2[0])
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Bind(graph.NewHost(nil))
	if err != nil {
		t.Fatal(err)
	}
	s.Floats("x")[0] = 3
	run(t, s)
	if s.Output(0)[0] != 6 || s.Output(1)[0] != 54 {
		t.Errorf("d(x²) and d(2x³) at 3: got %g and %g, want 6 and 54", s.Output(0)[0], s.Output(1)[0])
	}
}

// Gradients are added where they are wanted: no instruction only sums.
func TestFold(t *testing.T) {
	for _, i := range build(40, true).grads(t).compile(t, graph.Options{}).Instrs {
		if name := i.Op.Info().Name; name == "add" || name == "accumulate" {
			t.Errorf("an instruction %q is left", name)
		}
	}
}

// Cheap recomputation repeats norms and activations, whose inputs are kept for their own backward, but not rotations, whose
// inputs would have to be kept for that alone; the whole recomputation of a layer repeats what the backward reads.
func TestCheap(t *testing.T) {
	for stage, want := range map[int]string{layers: "rmsnorm rmsnorm swiglu", layers + 1: "rmsnorm linear rope rope attention linear rmsnorm linear swiglu linear"} {
		var got []string
		for _, i := range build(40, true).grads(t).compile(t, graph.Options{Recompute: stage}).Instrs {
			if i.Again && i.Layer == 0 {
				name, _, _ := strings.Cut(i.Op.Info().Name, " ")
				got = append(got, name)
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("stage %d repeats %q, want %q", stage, s, want)
		}
	}
}

// A budget is kept with as little recomputation as possible, and what cannot be is an error that says how much is missing.
func TestBudget(t *testing.T) {
	const n = 200
	all := build(n, true).grads(t).compile(t, graph.Options{})
	least := all
	for stage := range 2 * layers {
		if p := build(n, true).grads(t).compile(t, graph.Options{Recompute: stage}); p.Total() < least.Total() {
			least = p
		}
	}
	if least.Total() >= all.Total() {
		t.Fatalf("recomputation saves nothing: %d and %d bytes", least.Total(), all.Total())
	}
	for k := range int64(9) {
		budget := least.Total() + (all.Total()-least.Total())*k/8
		p := build(n, true).grads(t).compile(t, graph.Options{Budget: budget})
		if p.Total() > budget {
			t.Errorf("budget %d: the plan takes %d", budget, p.Total())
		}
		if stage := p.Report.Cheap + 2*p.Report.Full; stage > 0 {
			q := build(n, true).grads(t).compile(t, graph.Options{Recompute: p.Report.Cheap + p.Report.Full - 1})
			if q.Total() <= budget {
				t.Errorf("budget %d: %d cheap and %d full layers recomputed where fewer fit", budget, p.Report.Cheap, p.Report.Full)
			}
		}
	}
	d := build(n, true).grads(t)
	_, err := d.g.Compile(graph.Options{Budget: least.Total() - 100}, d.logp)
	if err == nil || !strings.Contains(err.Error(), "100 bytes are missing") {
		t.Errorf("budget 100 bytes below the least: error %v", err)
	}
}

// Memory is what the program says, and a second program of the store adds its inputs and what its arena is larger.
func TestBytes(t *testing.T) {
	small, large := build(20, true).grads(t).compile(t, graph.Options{}), build(40, true).grads(t).compile(t, graph.Options{})
	dev := &dirty{Host: graph.NewHost(nil)}
	s := bind(t, small, dev)
	if dev.live != small.Total() || dev.most != small.Total() {
		t.Errorf("memory %d, at most %d; the program says %d", dev.live, dev.most, small.Total())
	}
	if _, err := s.Store.Bind(large); err != nil {
		t.Fatal(err)
	}
	if want := large.Total() + small.Bytes[graph.Inputs]; dev.live != want {
		t.Errorf("memory of both %d, want %d", dev.live, want)
	}
	s.Close()
	if want := large.Total(); dev.live != want {
		t.Errorf("memory after closing the first %d, want %d", dev.live, want)
	}
}

// Programs of different sizes share parameters and gradients; the arena may grow between runs of a session.
func TestStore(t *testing.T) {
	alone := bind(t, build(20, true).grads(t).compile(t, graph.Options{}), graph.NewHost(nil))
	run(t, alone)
	run(t, alone)
	want := everything(alone)
	s := bind(t, build(20, true).grads(t).compile(t, graph.Options{}), graph.NewHost(nil))
	run(t, s)
	before := s.Bytes()
	score, err := s.Store.Bind(build(300, true).compile(t, graph.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	if s.Bytes() <= before {
		t.Fatal("the second program is too small to replace the arena")
	}
	fillInputs(t, score)
	run(t, score)
	run(t, s)
	compare(t, "two runs with another program between", everything(s), want)
	other := build(20, true)
	other.g.Accumulate("unknown", other.logp)
	if _, err := s.Store.Bind(other.compile(t, graph.Options{})); err == nil || !strings.Contains(err.Error(), `"unknown"`) {
		t.Errorf("a gradient the store lacks: error %v", err)
	}
}

// The gradient of logp may come from the host between the phases; known before, it gives the same but for the order of sums in the head.
func TestPhases(t *testing.T) {
	s := bind(t, build(40, true).grads(t).compile(t, graph.Options{}), graph.NewHost(nil))
	run(t, s)
	want := everything(s)
	d := build(40, false)
	d.g.Split()
	s = bind(t, d.grads(t).compile(t, graph.Options{Recompute: 4}), graph.NewHost(nil))
	dlogp := slices.Clone(s.Floats("dlogp"))
	clear(s.Floats("dlogp"))
	if s.Run(1) == nil {
		t.Error("phase 1 ran first")
	}
	if err := s.Run(0); err != nil {
		t.Fatal(err)
	}
	compare(t, "phase 0", everything(s), map[string][]float32{"logp": want["logp"]})
	if err := s.SetFloats("dlogp", dlogp); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(1); err != nil {
		t.Fatal(err)
	}
	for name, got := range everything(s) {
		most := float32(0)
		for _, w := range want[name] {
			most = max(most, w, -w)
		}
		for i, w := range want[name] {
			if d := got[i] - w; !(max(d, -d) <= 1e-5*most) {
				t.Errorf("both phases: %s[%d] is %v, want %v", name, i, got[i], w)
				break
			}
		}
	}
	if s.Run(1) == nil {
		t.Error("phase 1 ran twice")
	}
}

// Observers are outputs like any other and change nothing; Before sees each instruction.
func TestObservers(t *testing.T) {
	d := build(40, true).grads(t)
	var sums []*graph.Node
	for _, x := range d.taps {
		sums = append(sums, graph.Sum(graph.Mul(x, x)))
	}
	s := bind(t, d.compile(t, graph.Options{Recompute: 2 * layers}, sums...), graph.NewHost(nil))
	seen := 0
	want := make([]float64, len(d.taps))
	s.Before = func(i *graph.Instr) {
		seen++
		if strings.HasSuffix(i.Op.Info().Name, ".down") && !i.Again {
			for _, v := range s.Map(i.In[0]) {
				want[i.Layer] += float64(v) * float64(v)
			}
		}
	}
	run(t, s)
	if seen != len(s.Program().Instrs) {
		t.Errorf("Before saw %d of %d instructions", seen, len(s.Program().Instrs))
	}
	for l, w := range want {
		const tol = 1e-6 // float32 squares
		if got := float64(s.Output(1 + l)[0]); math.Abs(got/w-1) > tol {
			t.Errorf("layer %d: sum of squares %g, Before saw %g", l, got, w)
		}
	}
}

func TestErrors(t *testing.T) {
	d := build(20, true)
	lone := d.g.Param("lone", graph.Shape{1, 1})
	if _, err := d.g.Backward(d.logp, d.dlogp, lone); err == nil || !strings.Contains(err.Error(), `"lone"`) {
		t.Errorf("a parameter nothing depends on: error %v", err)
	}
	if _, err := d.g.Gradients(d.logp, d.params[0]); err == nil {
		t.Error("a loss that is no scalar was differentiated")
	}
	s := bind(t, d.grads(t).compile(t, graph.Options{}), graph.NewHost(nil))
	for _, err := range []error{s.SetInts("ids", make([]int32, 19)), s.SetFloats("none", []float32{1}), s.SetInts("none", []int32{1})} {
		if err == nil {
			t.Error("an input of another length or name was accepted")
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a second input of one name was accepted")
		}
	}()
	d.g.Input("ids", graph.Shape{1, 1})
}

// BenchmarkCompile differentiates and plans the decoder of these tests with 80 layers.
func BenchmarkCompile(b *testing.B) {
	for _, budget := range []int64{0, 40 << 20} {
		b.Run(fmt.Sprint("budget=", budget), func(b *testing.B) {
			var p *graph.Program
			for b.Loop() {
				d := buildLayers(80, 1000, true).grads(b)
				p = d.compile(b, graph.Options{Budget: budget})
			}
			b.ReportMetric(float64(len(p.Instrs)), "instructions")
			b.ReportMetric(float64(p.Total())/(1<<20), "MiB")
			b.Logf("%+v", p.Report)
		})
	}
}
