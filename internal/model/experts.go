package model

import (
	"fmt"

	"tune/internal/graph"
	"tune/internal/nn"
	"tune/internal/tensor"
)

// Experts describes the feed-forward part of sparse layers: a router sends each token to some of many small networks. In GGUF files
// and in newer checkpoints the matrices of all experts are one tensor; here each has a name of its own.
type Experts struct {
	N, Used        int    // experts, and how many of them a token sees; N 0: the model has none
	F              int    // feed-forward width of one
	Normalize      bool   // the weights of the experts of a token are made to sum to 1
	Block          string // module of the mixture in a layer
	Gate, Up, Down string // projections of an expert
}

// maxExperts is far above every published model.
const maxExperts = 1 << 14

// mlpExperts are the experts of the families that call the mixture mlp.
func (c *config) mlpExperts(n, used, width int, normalize bool) Experts {
	return Experts{N: c.int("num_experts", n, 1, maxExperts), Used: c.int("num_experts_per_tok", used, 1, maxExperts), F: width,
		Normalize: c.bool("norm_topk_prob", normalize), Block: "mlp", Gate: "gate_proj", Up: "up_proj", Down: "down_proj"}
}

// routerTraining reads the keys that matter when routers are trained from nothing, with a loss of their own.
func (c *config) routerTraining() {
	want(c, "output_router_logits", false)
	c.float("router_aux_loss_coef", 0)
	c.float("router_jitter_noise", 0)
}

// modules of a mixture, without the name of the layer.
func (x *Experts) modules(l, c int) []Module {
	ms := []Module{{x.router(), Router, x.N, c, l, false}}
	for e := range x.N {
		ms = append(ms, Module{x.module(e, x.Gate), Expert, x.F, c, l, false}, Module{x.module(e, x.Up), Expert, x.F, c, l, false},
			Module{x.module(e, x.Down), Expert, c, x.F, l, false})
	}
	return ms
}

func (x *Experts) router() string { return x.Block + ".gate" }

func (x *Experts) module(e int, proj string) string {
	return fmt.Sprintf("%s.experts.%d.%s", x.Block, e, proj)
}

// mixture adds the answers of the experts to x (N, C); h (N, C) is x normed.
func (bl builder) mixture(l int, x, h *graph.Node) *graph.Node {
	s := &bl.Experts
	const exact = true // a router that rounds sends tokens elsewhere
	logits := nn.Linear(h, exact, bl.proj(h, layerName(l, s.router()), s.N, bl.C, false))[0]
	r := nn.Route(logits, s.Used, s.Normalize)
	rows := nn.Gather(h, r)
	first := func(proj string) string { return layerName(l, s.module(0, proj)) }
	y := nn.Grouped(bl.rounded(rows, first(s.Gate)), r, bl.Exact, bl.experts(l, rows, r, s.Gate, s.F, bl.C), bl.experts(l, rows, r, s.Up, s.F, bl.C))
	f := nn.SwiGLU(y[0], y[1])
	return nn.Combine(x, nn.Grouped(bl.rounded(f, first(s.Down)), r, bl.Exact, bl.experts(l, f, r, s.Down, bl.C, s.F))[0], r)
}

// experts is one projection of all experts of a layer; x is what they read.
func (bl builder) experts(l int, x *graph.Node, r nn.Routing, proj string, out, in int) []nn.Proj {
	var ps []nn.Proj
	var names []string
	for e := range bl.Experts.N {
		m := layerName(l, bl.Experts.module(e, proj))
		names = append(names, m)
		ps = append(ps, nn.Proj{W: bl.weight(m, out, in), LoRA: bl.lora(m, out, in)})
	}
	if bl.Tap.Experts != nil {
		bl.Tap.Experts(names, x, r)
	}
	return ps
}

// part is a run of rows of one matrix of a tensor of several: what one expert has of it.
type part struct {
	from                string
	matrix, first, rows int
}

// take cuts the part out of its tensor (matrices, rows, columns).
func (p part) take(t tensor.Tensor) (tensor.Tensor, error) {
	if len(t.Shape) != 3 || p.matrix >= t.Shape[0] || p.first+p.rows > t.Shape[1] {
		return t, fmt.Errorf("tensor %s: expected matrices of at least %d rows, %d or more of them, found shape %v", t.Name, p.first+p.rows, p.matrix+1, t.Shape)
	}
	row, err := t.Type.RowBytes(t.Shape[2])
	if err != nil {
		return t, fmt.Errorf("tensor %s: %w", t.Name, err)
	}
	at := int64(p.matrix*t.Shape[1]+p.first) * row
	t.Data, t.Shape = t.Data[at:at+int64(p.rows)*row], []int{p.rows, t.Shape[2]}
	return t, nil
}

// info is that of the part of a tensor.
func (p part) info(i tensor.Info) tensor.Info {
	if len(i.Shape) == 3 {
		i.Shape = []int{p.rows, i.Shape[2]}
	}
	return i
}

// splitExperts shows a checkpoint whose experts are joined (experts.gate_up_proj, experts.down_proj, as transformers 5 writes them)
// with a tensor for each matrix. Others are returned as they are.
func splitExperts(s *Spec, w tensor.Source) tensor.Source {
	v := &split{Source: w, parts: map[string]part{}}
	joined := map[string]bool{}
	for l, layer := range s.Layers {
		if !layer.Sparse {
			continue
		}
		x := &s.Experts
		both, down := layerName(l, x.Block+".experts.gate_up_proj"), layerName(l, x.Block+".experts.down_proj")
		if _, err := w.Info(both); err != nil {
			continue
		}
		joined[both], joined[down] = true, true
		for e := range x.N {
			for proj, p := range map[string]part{x.Gate: {both, e, 0, x.F}, x.Up: {both, e, x.F, x.F}, x.Down: {down, e, 0, s.C}} {
				v.parts[layerName(l, x.module(e, proj))+".weight"] = p
			}
		}
	}
	if len(joined) == 0 {
		return w
	}
	for _, n := range w.Names() {
		if !joined[n] {
			v.names = append(v.names, n)
		}
	}
	for _, t := range s.Tensors() {
		if _, ok := v.parts[t.Name]; ok {
			v.names = append(v.names, t.Name)
		}
	}
	return v
}

// split is a Source some of whose tensors are parts of others.
type split struct {
	tensor.Source
	names []string
	parts map[string]part
}

// Names lists the tensors.
func (v *split) Names() []string { return v.names }

// Info describes a tensor.
func (v *split) Info(name string) (tensor.Info, error) {
	p, ok := v.parts[name]
	if !ok {
		return v.Source.Info(name)
	}
	i, err := v.Source.Info(p.from)
	i = p.info(i)
	i.Name = name
	return i, err
}

// Tensor returns a tensor, a view where it is a part.
func (v *split) Tensor(name string) (tensor.Tensor, error) {
	p, ok := v.parts[name]
	if !ok {
		return v.Source.Tensor(name)
	}
	t, err := v.Source.Tensor(p.from)
	if err == nil {
		t, err = p.take(t)
	}
	t.Name = name
	return t, err
}
