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

// A training step of SmolLM2-135M's shape in bf16 with rank-16 adapters on all projections, on four documents of 512 tokens.
// Reports the plan and the share of each kind of operation; -benchtime 3x is enough.
func BenchmarkStep(b *testing.B) {
	const layers, n, doc = 30, 2048, 512
	const c, f, h, kv, d, v, r = 576, 1536, 9, 3, 64, 49152, 16
	for _, dropout := range []float32{0, 0.05} {
		for _, stage := range []int{0, layers, 2*layers - 1} {
			b.Run(fmt.Sprintf("dropout=%g/stage=%d", dropout, stage), func(b *testing.B) {
				g := graph.New()
				ids, pos, start, labels, key := g.Ints("ids", n), g.Ints("pos", n), g.Ints("start", n), g.Ints("labels", n), g.Ints("rng", 2)
				frozen := stored(v * c)
				weight := func(rows, cols int) Weight {
					return Weight{Name: fmt.Sprint(rows, "x", cols), Rows: rows, Cols: cols,
						Frozen: kernels.Matrix{Rows: rows, Cols: cols, Data: frozen[:2*rows*cols], Codec: kernels.BF16}}
				}
				var params []*graph.Node
				proj := func(out, in int) Proj {
					A, B := g.Param(fmt.Sprint("A", len(params)), graph.Shape{r, in}), g.Param(fmt.Sprint("B", len(params)), graph.Shape{out, r})
					params = append(params, A, B)
					return Proj{W: weight(out, in), LoRA: &LoRA{A: A, B: B, R: r, Scale: 2, Dropout: dropout, Rng: key, Salt: uint64(len(params))}}
				}
				ones := slices.Repeat([]float32{1}, c)
				rope := RopeTable{D: d, Inv: slices.Repeat([]float32{0.1}, d/2)}
				x := Embedding(ids, weight(v, c), nil)
				for l := range layers {
					g.Layer(l)
					y := Linear(RMSNorm(x, Vector{Frozen: ones}, c, 1e-5), false, proj(h*d, c), proj(kv*d, c), proj(kv*d, c))
					o := Attention(Rope(y[0], pos, rope), Rope(y[1], pos, rope), y[2], start, kernels.Attention{H: h, K: kv, D: d, Scale: 0.125})
					x = LinearAdd(o, x, false, proj(c, h*d))
					y = Linear(RMSNorm(x, Vector{Frozen: ones}, c, 1e-5), false, proj(f, c), proj(f, c))
					x = LinearAdd(SwiGLU(y[0], y[1]), x, false, proj(c, f))
				}
				g.Layer(-1)
				dlogp := g.Input("dlogp", graph.Shape{n, 1})
				logp, hit := LogProbFused(RMSNorm(x, Vector{Frozen: ones}, c, 1e-5), labels, dlogp, Proj{W: weight(v, c)}, false)
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
				planned := time.Since(began)
				pool := kernels.NewPool(0)
				defer pool.Close()
				s, err := p.Bind(graph.NewHost(pool))
				if err != nil {
					b.Fatal(err)
				}
				for i := range n {
					s.Ints("ids")[i], s.Ints("pos")[i], s.Ints("start")[i] = int32(i*37%v), int32(i%doc), int32(i-i%doc)
					s.Ints("labels")[i], s.Floats("dlogp")[i] = int32(i*37%v), -1/float32(n)
				}
				for _, q := range params {
					stream := rng.New(1, q.Name())
					for i := range s.Param(q.Name()) {
						s.Param(q.Name())[i] = float32(0.02 * stream.Norm(uint64(i)))
					}
				}
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
				b.Logf("planned in %v: %d instructions, %+v", planned, len(p.Instrs), p.Report)
				var table strings.Builder
				for _, k := range slices.Sorted(maps.Keys(spent)) {
					fmt.Fprintf(&table, "\n%-16s %8.1f ms", k, spent[k].Seconds()*1e3/float64(b.N))
				}
				b.Log(table.String())
			})
		}
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
