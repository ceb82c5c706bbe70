package nn

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"tune/internal/graph"
	"tune/internal/rng"
	"tune/kernels"
)

// Sizes of SmolLM2-135M, four documents of 512 tokens, adapters of rank 16 on all projections.
const stepLayers, stepN, stepDoc = 30, 2048, 512
const stepC, stepF, stepH, stepK, stepD, stepV, stepR = 576, 1536, 9, 3, 64, 49152, 16

// stepProgram is a training step with bf16 weights.
func stepProgram(b *testing.B, dropout float32, stage int) *graph.Program {
	const c, h, kv, d, f, v, n = stepC, stepH, stepK, stepD, stepF, stepV, stepN
	g := graph.New()
	ids, pos, start, labels, key := g.Ints("ids", n), g.Ints("pos", n), g.Ints("start", n), g.Ints("labels", n), g.Ints("rng", 2)
	frozen := stored(v * c)
	weight := func(rows, cols int) Weight {
		return Weight{Name: fmt.Sprint(rows, "x", cols), Rows: rows, Cols: cols,
			Frozen: kernels.Matrix{Rows: rows, Cols: cols, Data: frozen[:2*rows*cols], Codec: kernels.BF16}}
	}
	var params []*graph.Node
	proj := func(out, in int) Proj {
		A := g.Param(fmt.Sprint("A", len(params)), graph.Shape{stepR, in})
		B := g.Param(fmt.Sprint("B", len(params)), graph.Shape{out, stepR})
		params = append(params, A, B)
		return Proj{W: weight(out, in), LoRA: &LoRA{A: A, B: B, R: stepR, Scale: 2, Dropout: dropout, Rng: key, Salt: uint64(len(params))}}
	}
	norm := func(x *graph.Node) *graph.Node {
		return RMSNorm(x, Vector{Frozen: slices.Repeat([]float32{1}, c)}, c, 1e-5)
	}
	rope := RopeTable{D: d, Inv: slices.Repeat([]float32{0.1}, d/2)}
	x := Embedding(ids, weight(v, c), nil)
	for l := range stepLayers {
		g.Layer(l)
		y := Linear(norm(x), false, proj(h*d, c), proj(kv*d, c), proj(kv*d, c))
		o := Attention(Rope(y[0], pos, rope), Rope(y[1], pos, rope), y[2], start, kernels.Attention{H: h, K: kv, D: d, Scale: 0.125})
		x = LinearAdd(o, x, false, proj(c, h*d))
		y = Linear(norm(x), false, proj(f, c), proj(f, c))
		x = LinearAdd(SwiGLU(y[0], y[1]), x, false, proj(c, f))
	}
	g.Layer(-1)
	dlogp := g.Input("dlogp", graph.Shape{n, 1})
	logp, hit := LogProbFused(norm(x), labels, dlogp, Proj{W: weight(v, c)}, false)
	grads, err := g.Backward(logp, dlogp, params...)
	if err != nil {
		b.Fatal(err)
	}
	for i, p := range params {
		g.Accumulate(p.Name(), grads[i])
	}
	began := time.Now()
	p, err := g.Compile(graph.Options{Recompute: stage}, logp, hit)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("planned in %v: %d instructions, %+v", time.Since(began), len(p.Instrs), p.Report)
	return p
}

// stepFill sets the inputs and small random parameters.
func stepFill(s *graph.Session) {
	for i := range stepN {
		s.Ints("ids")[i], s.Ints("pos")[i], s.Ints("start")[i] = int32(i*37%stepV), int32(i%stepDoc), int32(i-i%stepDoc)
		s.Ints("labels")[i], s.Floats("dlogp")[i] = int32(i*37%stepV), -1.0/stepN
	}
	for _, q := range s.Program().Params {
		stream := rng.New(1, q.Name)
		for i := range s.Param(q.Name) {
			s.Param(q.Name)[i] = float32(0.02 * stream.Norm(uint64(i)))
		}
	}
}

// BenchmarkStep reports the plan and the time of each kind of operation, without recomputation, with that of cheap operations,
// and with that of all layers but the last; -benchtime 3x is enough.
func BenchmarkStep(b *testing.B) {
	for _, dropout := range []float32{0, 0.05} {
		for _, stage := range []int{0, stepLayers, 2*stepLayers - 1} {
			b.Run(fmt.Sprintf("dropout=%g/stage=%d", dropout, stage), func(b *testing.B) { timeStep(b, stepProgram(b, dropout, stage)) })
		}
	}
}

func timeStep(b *testing.B, p *graph.Program) {
	pool := kernels.NewPool(0)
	defer pool.Close()
	s, err := p.Bind(graph.NewHost(pool))
	if err != nil {
		b.Fatal(err)
	}
	stepFill(s)
	spent := map[string]time.Duration{}
	var name string
	var since time.Time
	count := func(next string) {
		now := time.Now()
		spent[name] += now.Sub(since)
		name, since = next, now
	}
	s.Before = func(i *graph.Instr) {
		kind, _, _ := strings.Cut(i.Op.Info().Name, " ")
		if strings.HasSuffix(i.Op.Info().Name, "'") && !strings.HasSuffix(kind, "'") {
			kind += "'"
		}
		count(kind)
	}
	if err := s.RunAll(); err != nil {
		b.Fatal(err)
	}
	clear(spent)
	since = time.Now()
	for b.Loop() {
		if err := s.RunAll(); err != nil {
			b.Fatal(err)
		}
		count("rest")
	}
	b.ReportMetric(float64(p.Report.FLOPs)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
	b.ReportMetric(float64(p.Total())/(1<<20), "MiB")
	for _, k := range slices.Sorted(maps.Keys(spent)) {
		b.ReportMetric(spent[k].Seconds()*1e3/float64(b.N), k+"-ms")
	}
}

// stored is n values of bf16, standard deviation 0.02.
func stored(n int) []byte {
	s, data := rng.New(1, "weights"), make([]byte, 2*n)
	x, y := make([]float32, 4096), make([]uint16, 4096)
	for i := range x {
		x[i] = float32(0.02 * s.Norm(uint64(i)))
	}
	kernels.BF16FromF32(y, x)
	for i := range n {
		u := y[(i*31+i/4096)%4096]
		data[2*i], data[2*i+1] = byte(u), byte(u>>8)
	}
	return data
}
