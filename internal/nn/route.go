package nn

import (
	"fmt"
	"math"

	"tune/internal/graph"
)

// Routing says which rows go to which expert: N tokens with k experts each make M = N·k rows, sorted by expert, then token.
type Routing struct {
	Weights *graph.Node // (N, k): what the answers of a token's experts are multiplied with
	Order   *graph.Node // M integers: row i of the sorted ones is choice Order[i]%k of token Order[i]/k
	Place   *graph.Node // M integers: choice j of token n is row Place[n·k+j]
	Ends    *graph.Node // E integers: the rows of expert e end before Ends[e]
	K, E    int
}

// Route chooses the k experts of largest logit for each token; logits (N, E), ties go to the lower number:
//
//	p = softmax(logits)    w_j = p_j of the chosen, divided by their sum when normalize is set
//
// Backward, dw (N, k): the gradient of the formula with the choice as it is (the choice itself has none).
func Route(logits *graph.Node, k int, normalize bool) Routing {
	s := logits.Shape()
	if k < 1 || k > s[1] {
		panic(fmt.Sprintf("nn: route: expected 1 to %d experts for a token, found %d", s[1], k))
	}
	out := logits.Graph().Apply(&route{s[0], s[1], k, normalize}, logits)
	return Routing{out[0], out[1], out[2], out[3], k, s[1]}
}

// route: outputs weights, then order, place and ends, which are integers.
type route struct {
	n, e, k   int
	normalize bool
}

func (o *route) Info() graph.Info {
	return graph.Info{Name: "route", Out: []graph.Shape{{o.n, o.k}, {1, o.n * o.k}, {1, o.n * o.k}, {1, o.e}},
		FLOPs: []int64{4 * int64(o.n*o.e), 0, 0, 0}, Scratch: sized(o.n * o.k)}
}

// choose writes the experts of a token to chosen (k), the largest first.
func choose(logits []float32, chosen []int32) {
	for j := range chosen {
		best := int32(-1)
		for e, v := range logits {
			taken := false
			for _, c := range chosen[:j] {
				taken = taken || c == int32(e)
			}
			if !taken && (best < 0 || v > logits[best]) {
				best = int32(e)
			}
		}
		chosen[j] = best
	}
}

// softmax of x is exp(x_i - most)/total.
func softmax(x []float32) (most, total float64) {
	most = math.Inf(-1)
	for _, v := range x {
		most = max(most, float64(v))
	}
	for _, v := range x {
		total += math.Exp(float64(v) - most)
	}
	return most, total
}

// shares are the softmax of the logits at the chosen ones, and its sum over them.
func shares(logits []float32, chosen []int32, p []float64) (sum float64) {
	most, total := softmax(logits)
	for j, c := range chosen {
		p[j] = math.Exp(float64(logits[c])-most) / total
		sum += p[j]
	}
	return sum
}

func (o *route) Host(a *graph.Args) func() {
	logits, weights := a.In[0], a.Out[0]
	chosen := graph.AsInts(a.Tmp[:o.n*o.k])
	m := o.n * o.k
	order, place, ends := make([]int32, m), make([]int32, m), make([]int32, o.e)
	for i, own := range []*[]int32{&order, &place, &ends} {
		if a.Out[i+1] != nil { // else nobody reads it
			*own = graph.AsInts(a.Out[i+1])
		}
	}
	p := make([]float64, o.k)
	return func() {
		clear(ends)
		for n := range o.n {
			row, mine := logits[n*o.e:(n+1)*o.e], chosen[n*o.k:(n+1)*o.k]
			choose(row, mine)
			for _, c := range mine {
				ends[c]++
			}
			if weights == nil {
				continue
			}
			sum := shares(row, mine, p)
			for j := range mine {
				if w := p[j]; o.normalize {
					weights[n*o.k+j] = float32(w / sum)
				} else {
					weights[n*o.k+j] = float32(w)
				}
			}
		}
		at := int32(0)
		for e, n := range ends { // where each expert's rows begin
			ends[e], at = at, at+n
		}
		for i, c := range chosen {
			order[ends[c]], place[i] = int32(i), ends[c]
			ends[c]++
		}
	}
}

func (o *route) Grad(in, _, dout []*graph.Node) []*graph.Node {
	if dout[0] == nil {
		return []*graph.Node{nil}
	}
	return in[0].Graph().Apply(&routeGrad{f: o}, in[0], dout[0])
}

// routeGrad: inputs logits, dw; output dlogits.
type routeGrad struct {
	graph.NoGrad
	f *route
}

func (o *routeGrad) Info() graph.Info {
	return graph.Info{Name: "route'", Out: []graph.Shape{{o.f.n, o.f.e}}, FLOPs: []int64{6 * int64(o.f.n*o.f.e)}}
}

func (o *routeGrad) Host(a *graph.Args) func() {
	f, logits, dw, d := o.f, a.In[0], a.In[1], a.Out[0]
	return rowsOf(a.Pool, f.n, f.e, func(lo, hi int) {
		chosen, p, dp := make([]int32, f.k), make([]float64, f.k), make([]float64, f.k)
		for n := lo; n < hi; n++ {
			row, g := logits[n*f.e:(n+1)*f.e], dw[n*f.k:(n+1)*f.k]
			choose(row, chosen)
			sum := shares(row, chosen, p)
			dot := 0.0
			for j := range chosen {
				dp[j] = float64(g[j])
				dot += dp[j] * p[j] / sum
			}
			back := 0.0 // Σ p·dp
			for j := range chosen {
				if f.normalize {
					dp[j] = (dp[j] - dot) / sum
				}
				back += p[j] * dp[j]
			}
			out := d[n*f.e : (n+1)*f.e]
			most, total := softmax(row)
			for e, v := range row {
				out[e] = float32(-math.Exp(float64(v)-most) / total * back)
			}
			for j, c := range chosen {
				out[c] += float32(p[j] * dp[j])
			}
		}
	})
}
