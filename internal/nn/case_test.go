package nn

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"tune/internal/graph"
	"tune/internal/rng"
	"tune/kernels"
)

type values = map[string][]float64

// result is what a case builds: the outputs, the same from a float64 reference, and where differentiation starts if not at
// every output. grad, when set, corrects what the differences cannot see (norms that are constants by definition).
type result struct {
	y    []*graph.Node
	dy   *graph.Node
	ref  func(v values) [][]float64
	grad func(name string, v values, d []float64)
}

// cases has one row for each variant of each op.
var cases = []struct {
	name  string
	build func(b *bench) result
}{
	{"linear frozen", func(b *bench) result { return linearCase(b, variant{}) }},
	{"linear frozen bias", func(b *bench) result { return linearCase(b, variant{bias: true}) }},
	{"linear trained", func(b *bench) result { return linearCase(b, variant{trained: true, bias: true}) }},
	{"linear lora", func(b *bench) result { return linearCase(b, variant{lora: true}) }},
	{"linear lora trained bias", func(b *bench) result { return linearCase(b, variant{lora: true, trained: true, bias: true}) }},
	{"linear lora dropout", func(b *bench) result { return linearCase(b, variant{lora: true, drop: 0.25}) }},
	{"linear add", func(b *bench) result { return linearCase(b, variant{lora: true, add: true}) }},
	{"linear add dropout", func(b *bench) result { return linearCase(b, variant{lora: true, add: true, drop: 0.5}) }},
	{"linear in an order", func(b *bench) result { return linearCase(b, variant{lora: true, bias: true, order: true}) }},
	{"linear add in an order", func(b *bench) result { return linearCase(b, variant{lora: true, add: true, order: true}) }},
	{"linear of three", func(b *bench) result { return threeCase(b, 0, false) }},
	{"linear of three dropout", func(b *bench) result { return threeCase(b, 0.25, false) }},
	{"linear of three, one dora", func(b *bench) result { return threeCase(b, 0, true) }},
	{"linear of three, one in an order", func(b *bench) result {
		n, in := b.size(5, 150), b.size(6, 72)
		x := b.param("x", n, in, 1)
		q, qr := b.proj("q", b.size(7, 96), in, variant{lora: true, order: true})
		k, kr := b.proj("kk", 4, in, variant{bias: true})
		v, vr := b.proj("vvv", 4, in, variant{lora: true, order: true})
		return result{y: Linear(x, b.exact, q, k, v), ref: func(v values) [][]float64 {
			return [][]float64{qr(v, v["x"]), kr(v, v["x"]), vr(v, v["x"])}
		}}
	}},
	{"dora in an order", func(b *bench) result { return linearCase(b, variant{lora: true, dora: true, order: true}) }},
	{"dora", func(b *bench) result { return linearCase(b, variant{lora: true, dora: true}) }},
	{"dora bias", func(b *bench) result { return linearCase(b, variant{lora: true, dora: true, bias: true}) }},
	{"dora trained bias dropout", func(b *bench) result {
		return linearCase(b, variant{lora: true, dora: true, bias: true, trainedBias: true, drop: 0.25})
	}},
	{"dora add", func(b *bench) result { return linearCase(b, variant{lora: true, dora: true, add: true}) }},
	{"embedding trained", func(b *bench) result { return embeddingCase(b, true, false) }},
	{"embedding lora", func(b *bench) result { return embeddingCase(b, false, true) }},
	{"embedding trained lora", func(b *bench) result { return embeddingCase(b, true, true) }},
	{"rmsnorm frozen", func(b *bench) result { return normCase(b, false, 1) }},
	{"rmsnorm trained", func(b *bench) result { return normCase(b, true, 1) }},
	{"rmsnorm heads", func(b *bench) result { return normCase(b, true, 3) }},
	{"rope", func(b *bench) result { return ropeCase(b, 0) }},
	{"rope partial with factor", func(b *bench) result { return ropeCase(b, 1.25) }},
	{"attention", func(b *bench) result { return attentionCase(b, 4, 4, 0) }},
	{"attention groups window", func(b *bench) result { return attentionCase(b, 4, 2, 3) }},
	{"swiglu", swigluCase},
	{"swiglu of one", func(b *bench) result {
		x := b.param("x", b.size(5, 400), 7, 1)
		return result{y: []*graph.Node{SwiGLU(x, x)}, ref: func(v values) [][]float64 { return [][]float64{swigluRef(v["x"], v["x"])} }}
	}},
	{"experts frozen", func(b *bench) result { return expertsCase(b, variant{}, true) }},
	{"experts trained", func(b *bench) result { return expertsCase(b, variant{trained: true}, false) }},
	{"experts lora", func(b *bench) result { return expertsCase(b, variant{lora: true}, true) }},
	{"experts lora trained", func(b *bench) result { return expertsCase(b, variant{lora: true, trained: true}, true) }},
	{"add", func(b *bench) result {
		n := b.size(5, 400)
		y := Add(b.param("a", n, 7, 1), b.param("b", n, 7, 1))
		return result{y: []*graph.Node{y}, ref: func(v values) [][]float64 { return [][]float64{plus(v["a"], v["b"])} }}
	}},
	{"logprob frozen", func(b *bench) result { return headCase(b, variant{}, false) }},
	{"logprob trained bias", func(b *bench) result { return headCase(b, variant{trained: true, bias: true}, false) }},
	{"logprob lora", func(b *bench) result { return headCase(b, variant{lora: true}, false) }},
	{"logprob lora dropout", func(b *bench) result { return headCase(b, variant{lora: true, drop: 0.25}, false) }},
	{"logprob fused frozen", func(b *bench) result { return headCase(b, variant{}, true) }},
	{"logprob fused frozen in tiles", func(b *bench) result { return headCase(b, variant{tile: 4}, true) }},
	{"logprob fused frozen bias in tiles", func(b *bench) result { return headCase(b, variant{bias: true, tile: 2}, true) }},
	{"logprob fused trained lora dropout", func(b *bench) result {
		return headCase(b, variant{trained: true, bias: true, lora: true, drop: 0.25}, true)
	}},
	{"logprob fused lora", func(b *bench) result { return headCase(b, variant{lora: true}, true) }},
	{"logprob in tiles", func(b *bench) result {
		return headCase(b, variant{trained: true, bias: true, lora: true, tile: 3}, false)
	}},
	{"logprob fused in tiles", func(b *bench) result {
		return headCase(b, variant{trained: true, bias: true, lora: true, drop: 0.25, tile: 3}, true)
	}},
}

// variant says what a projection has.
type variant struct {
	trained, trainedBias, bias, lora, dora, add bool
	order                                       bool // the frozen weight's columns stand in another order
	drop                                        float32
	tile                                        int // rows of a tile of logits; 0: as tileBytes says
}

// mm is x (n, k) times the transpose of w (m, k).
func mm(x, w []float64, k int) []float64 {
	n, m := len(x)/k, len(w)/k
	y := make([]float64, n*m)
	for i := range n {
		for j := range m {
			for l := range k {
				y[i*m+j] += x[i*k+l] * w[j*k+l]
			}
		}
	}
	return y
}

func plus(a, b []float64) []float64 {
	y := slices.Clone(a)
	for i, v := range b {
		y[i] += v
	}
	return y
}

func times(a []float64, s float64) []float64 {
	y := slices.Clone(a)
	for i := range y {
		y[i] *= s
	}
	return y
}

var key = []int32{-12345, 678}

// drop is the documented mask: 15 bits for each value, four values for each number of SplitMix64, rows padded to four.
func drop(x []float64, width int, p float64, salt uint64) []float64 {
	if p == 0 {
		return x
	}
	s := rng.FromKey(uint64(uint32(key[0])) | uint64(uint32(key[1]))<<32).Sub(salt).Key()
	limit := math.Round(p * 32768)
	y := make([]float64, len(x))
	for at, v := range x {
		i, c := at/width, at%width
		state := s
		for range i*((width+3)/4) + c/4 + 1 {
			state += 0x9e3779b97f4a7c15
		}
		z := (state ^ state>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
		if float64(z>>(c%4*16)&0x7fff) >= limit {
			y[at] = v * 32768 / (32768 - limit)
		}
	}
	return y
}

// proj builds a projection named name, (out, in), and its float64 reference on x.
func (b *bench) proj(name string, out, in int, o variant) (Proj, func(v values, x []float64) []float64) {
	const r, scale = 3, 1.5
	salt := uint64(len(name) + 7)
	var p Proj
	if o.trained {
		p.W = b.trained(name+".w", out, in)
	} else {
		p.W = b.frozen(name+".w", out, in)
	}
	if o.order {
		sorted := make([]float32, out*in)
		for j := range in {
			k := (5*j + 2) % in // 5 divides neither 6 nor 72
			p.W.Order = append(p.W.Order, int32(k))
			for r := range out {
				sorted[r*in+j] = float32(b.values[name+".w"][r*in+k])
			}
		}
		p.W.Frozen = kernels.Floats(sorted, out, in)
	}
	if o.bias {
		p.Bias = b.vector(name+".bias", out, o.trained || o.trainedBias)
	}
	if o.lora {
		p.LoRA = &LoRA{A: b.param(name+".A", r, in, 0.5), B: b.param(name+".B", out, r, 0.5), R: r, Scale: scale, Dropout: o.drop, Salt: salt}
		if o.drop > 0 {
			if p.LoRA.Rng = b.g.Named("rng"); p.LoRA.Rng == nil {
				p.LoRA.Rng = b.int("rng", key)
			}
		}
	}
	if o.dora {
		p.LoRA.Magnitude = b.param(name+".m", out, 1, 1)
	}
	norms := make([]float64, out) // constants for the gradient: of the values before any is moved
	if o.dora {
		full := plus(b.values[name+".w"], times(mm(b.values[name+".B"], transpose(b.values[name+".A"], in), r), scale))
		for j := range norms {
			for _, v := range full[j*in : (j+1)*in] {
				norms[j] += v * v
			}
			norms[j] = math.Sqrt(norms[j])
		}
	}
	return p, func(v values, x []float64) []float64 {
		y := mm(x, v[name+".w"], in)
		if o.lora {
			xd := drop(x, in, float64(o.drop), salt)
			low := times(mm(mm(xd, v[name+".A"], in), v[name+".B"], r), scale)
			if o.dora {
				zd := mm(xd, v[name+".w"], in)
				for k := range y {
					g := v[name+".m"][k%out] / norms[k%out]
					y[k] += (g-1)*zd[k] + g*low[k]
				}
			} else {
				y = plus(y, low)
			}
		}
		if o.bias {
			for k := range y {
				y[k] += v[name+".bias"][k%out]
			}
		}
		return y
	}
}

func transpose(x []float64, cols int) []float64 {
	rows := len(x) / cols
	y := make([]float64, len(x))
	for i := range rows {
		for j := range cols {
			y[j*rows+i] = x[i*cols+j]
		}
	}
	return y
}

func linearCase(b *bench, o variant) result {
	n, in, out := b.size(5, 150), b.size(6, 72), b.size(7, 100)
	x := b.param("x", n, in, 1)
	p, ref := b.proj("p", out, in, o)
	if !o.add {
		return result{y: Linear(x, b.exact, p), ref: func(v values) [][]float64 { return [][]float64{ref(v, v["x"])} }}
	}
	res := b.param("residual", n, out, 1)
	return result{
		y:   []*graph.Node{LinearAdd(x, res, b.exact, p)},
		ref: func(v values) [][]float64 { return [][]float64{plus(v["residual"], ref(v, v["x"]))} },
	}
}

func threeCase(b *bench, d float32, dora bool) result {
	n, in := b.size(5, 150), b.size(6, 72)
	x := b.param("x", n, in, 1)
	q, qr := b.proj("q", b.size(7, 96), in, variant{lora: true, drop: d})
	k, kr := b.proj("kk", 4, in, variant{bias: true})
	v, vr := b.proj("vvv", 4, in, variant{lora: true, drop: d, dora: dora})
	return result{y: Linear(x, b.exact, q, k, v), ref: func(v values) [][]float64 {
		return [][]float64{qr(v, v["x"]), kr(v, v["x"]), vr(v, v["x"])}
	}}
}

func embeddingCase(b *bench, trained, lora bool) result {
	const r, scale = 3, 2
	vocab, c := 6, b.size(5, 200)
	w := b.frozen("frozen", vocab, c)
	name := "frozen"
	if trained {
		name = "w"
		w = b.trained("w", vocab, c)
	}
	ids := []int32{3, 0, 3, 5, 1}
	for len(ids) < b.size(5, 90) {
		ids = append(ids, int32(len(ids)%vocab))
	}
	var l *LoRA
	if lora {
		l = &LoRA{A: b.param("A", r, vocab, 0.5), B: b.param("B", c, r, 0.5), R: r, Scale: scale}
	}
	return result{y: []*graph.Node{Embedding(b.int("ids", ids), w, l)}, ref: func(v values) [][]float64 {
		var y []float64
		for _, id := range ids {
			row := slices.Clone(v[name][int(id)*c : (int(id)+1)*c])
			if lora {
				for k := range row {
					for j := range r {
						row[k] += scale * v["A"][j*vocab+int(id)] * v["B"][k*r+j]
					}
				}
			}
			y = append(y, row...)
		}
		return [][]float64{y}
	}}
}

func normCase(b *bench, trained bool, groups int) result {
	const eps = 1e-2
	n, d := b.size(5, 120), b.size(6, 64)
	x := b.param("x", n, groups*d, 1)
	w := b.vector("w", d, trained)
	return result{y: []*graph.Node{RMSNorm(x, *w, d, eps)}, ref: func(v values) [][]float64 {
		y := slices.Clone(v["x"])
		for g := 0; g < len(y); g += d {
			s := 0.0
			for _, u := range y[g : g+d] {
				s += u * u
			}
			for k := range d {
				y[g+k] *= v["w"][k] / math.Sqrt(s/float64(d)+float64(float32(eps)))
			}
		}
		return [][]float64{y}
	}}
}

func ropeCase(b *bench, factor float64) result {
	const heads, d = 2, 6
	n := b.size(5, 200)
	inv := []float32{1, 0.25, 0.0625}
	if factor != 0 {
		inv = inv[:2]
	}
	pos := make([]int32, n)
	for i := range pos {
		pos[i] = int32(i * 3 % 17)
	}
	t := RopeTable{D: d, Inv: inv, Factor: float32(factor)}
	p := b.int("pos", pos)
	y := []*graph.Node{Rope(b.param("x", n, heads*d, 1), p, t), Rope(b.param("k", n, d, 1), p, t)}
	rotate := func(x []float64, heads int) []float64 {
		y, h := slices.Clone(x), len(inv)
		for g := 0; g < len(x); g += d {
			for j, f := range inv {
				s, c := math.Sincos(float64(float32(pos[g/d/heads]) * f))
				if factor != 0 {
					s, c = s*factor, c*factor
				}
				y[g+j], y[g+j+h] = x[g+j]*c-x[g+j+h]*s, x[g+j+h]*c+x[g+j]*s
			}
		}
		return y
	}
	return result{y: y, ref: func(v values) [][]float64 { return [][]float64{rotate(v["x"], heads), rotate(v["k"], 1)} }}
}

func attentionCase(b *bench, h, kv, window int) result {
	n, d := b.size(7, 90), b.size(3, 16)
	start := []int32{0, 0, 0, 3, 3, 3, 3}
	for len(start) < n {
		start = append(start, int32(len(start)/40*40))
	}
	a := kernels.Attention{H: h, K: kv, D: d, Scale: float32(1 / math.Sqrt(float64(d))), Window: window, Exact: b.exact}
	y := Attention(b.param("q", n, h*d, 1), b.param("k", n, kv*d, 1), b.param("v", n, kv*d, 1), b.int("start", start), a)
	return result{y: []*graph.Node{y}, ref: func(v values) [][]float64 {
		o := make([]float64, n*h*d)
		for i := range n {
			lo := int(start[i])
			if window > 0 {
				lo = max(lo, i-window+1)
			}
			for head := range h {
				g, sum := head/(h/kv), 0.0
				out := o[(i*h+head)*d:][:d]
				for j := lo; j <= i; j++ {
					s := 0.0
					for k := range d {
						s += v["q"][(i*h+head)*d+k] * v["k"][(j*kv+g)*d+k]
					}
					e := math.Exp(s * float64(a.Scale))
					sum += e
					for k := range d {
						out[k] += e * v["v"][(j*kv+g)*d+k]
					}
				}
				for k := range d {
					out[k] /= sum
				}
			}
		}
		return [][]float64{o}
	}}
}

func swigluRef(gate, up []float64) []float64 {
	y := slices.Clone(gate)
	for i, g := range gate {
		y[i] = g / (1 + math.Exp(-g)) * up[i]
	}
	return y
}

func swigluCase(b *bench) result {
	n := b.size(5, 400)
	y := SwiGLU(b.param("gate", n, 70, 2), b.param("up", n, 70, 1))
	return result{y: []*graph.Node{y}, ref: func(v values) [][]float64 { return [][]float64{swigluRef(v["gate"], v["up"])} }}
}

func headCase(b *bench, o variant, fused bool) result {
	n, c, vocab := b.size(6, 90), b.size(5, 40), b.size(9, 150)
	x := b.param("x", n, c, 1)
	p, ref := b.proj("head", vocab, c, o)
	ids := make([]int32, n)
	for i := range ids {
		if ids[i] = int32((i*5 + 2) % vocab); i%3 == 1 {
			ids[i] = -1
		}
	}
	labels := b.int("labels", ids)
	r := result{ref: func(v values) [][]float64 {
		z := ref(v, v["x"])
		y := make([]float64, n)
		for i, label := range ids {
			if label < 0 {
				continue
			}
			s := 0.0
			for _, e := range z[i*vocab : (i+1)*vocab] {
				s += math.Exp(e)
			}
			y[i] = z[i*vocab+int(label)] - math.Log(s)
		}
		return [][]float64{y}
	}}
	r.dy = b.input("dy0", n, 1)
	var logp *graph.Node
	switch in := (ins{x, labels}); {
	case o.tile > 0 && fused:
		in = append(in, r.dy)
		h := newHead(&in, x, labels, p, b.exact)
		var op graph.Op
		if len(h.params()) == 1 {
			f := newFrozen(h)
			f.tile, f.columns = o.tile, min(o.tile, vocab)
			op = f
		} else {
			h.tile = o.tile
			op = &logProbFused{h}
		}
		logp = b.g.Apply(op, in...)[0]
	case o.tile > 0:
		h := newHead(&in, x, labels, p, b.exact)
		h.tile = o.tile
		logp = b.g.Apply(&logProb{h}, in...)[0]
	case fused:
		logp, _ = LogProbFused(x, labels, r.dy, p, b.exact)
	default:
		logp, _ = LogProb(x, labels, p, b.exact)
	}
	r.y = []*graph.Node{logp}
	return r
}

// expertsCase is the feed-forward part of a mixture: routing, experts, and what is added to the residual. Nobody chooses the last
// expert.
func expertsCase(b *bench, o variant, normalize bool) result {
	const c, f, experts, k = 7, 6, 4, 2
	n := b.size(5, 300)
	x, logits, residual := b.param("x", n, c, 1), b.param("logits", n, experts, 1), b.param("residual", n, c, 1)
	for i := experts - 1; i < n*experts; i += experts {
		b.values["logits"][i] = -8
	}
	r := Route(logits, k, normalize)
	type network struct {
		gate, up, down func(v values, x []float64) []float64
	}
	var refs []network
	var gate, up, down []Proj
	for e := range experts {
		var p [3]Proj
		var w network
		p[0], w.gate = b.proj(fmt.Sprintf("gate%d", e), f, c, o)
		p[1], w.up = b.proj(fmt.Sprintf("up%d", e), f, c, o)
		p[2], w.down = b.proj(fmt.Sprintf("down%d", e), c, f, o)
		gate, up, down, refs = append(gate, p[0]), append(up, p[1]), append(down, p[2]), append(refs, w)
	}
	h := Grouped(Gather(x, r), r, b.exact, gate, up)
	y := Combine(residual, Grouped(SwiGLU(h[0], h[1]), r, b.exact, down)[0], r)
	return result{y: []*graph.Node{y}, ref: func(v values) [][]float64 {
		out := slices.Clone(v["residual"])
		for i := range n {
			row, l := v["x"][i*c:(i+1)*c], v["logits"][i*experts:(i+1)*experts]
			order, total, chosen := []int{0, 1, 2, 3}, 0.0, 0.0
			slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(l[b], l[a]) })
			for _, z := range l {
				total += math.Exp(z)
			}
			for _, e := range order[:k] {
				chosen += math.Exp(l[e])
			}
			if !normalize {
				chosen = total
			}
			for _, e := range order[:k] {
				w := refs[e]
				for j, z := range w.down(v, swigluRef(w.gate(v, row), w.up(v, row))) {
					out[i*c+j] += math.Exp(l[e]) / chosen * z
				}
			}
		}
		return [][]float64{out}
	}}
}
