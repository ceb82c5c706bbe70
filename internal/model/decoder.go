package model

import (
	"fmt"
	"math"

	"tune/internal/graph"
	"tune/internal/nn"
	"tune/kernels"
)

// Trainable says what of a model is trained; a nil Trainable trains nothing. Names of modules and tensors are those of
// Hugging Face checkpoints. Every method is called while a graph is built and declares parameters of that graph.
type Trainable interface {
	// LoRA is the adapter on a module, nil for none. The random numbers of its dropout are filled in by the model.
	LoRA(g *graph.Graph, module string, out, in int) *nn.LoRA
	// Param is the parameter that takes the place of a whole tensor, nil when that tensor stays frozen. Vectors are (1, n).
	Param(g *graph.Graph, name string, s graph.Shape) *graph.Node
}

// Replacer is a Trainable that wants another frozen weight under its adapter than the stored one.
type Replacer interface {
	Frozen(tensor string) (kernels.Matrix, bool)
}

// Param is a trained tensor on the host: the graph's parameter of the same name.
type Param struct {
	Name  string
	Shape graph.Shape
	Data  []float32
	Decay bool // a matrix, which weight decay applies to; norms, biases and magnitudes are not
}

// Declare returns the parameter of that name, declaring it at the first call: a tied weight is used twice.
func Declare(g *graph.Graph, name string, s graph.Shape) *graph.Node {
	if n := g.Named(name); n != nil {
		return n
	}
	return g.Param(name, s)
}

// Batch is the integer input of n packed tokens.
type Batch struct {
	Graph  *graph.Graph
	IDs    *graph.Node // token ids
	Pos    *graph.Node // position in its document
	Start  *graph.Node // row of the first token it sees
	Labels *graph.Node // token to predict, -1: none
	Rng    *graph.Node // key of the step's random numbers, low and high word
	// Attend, when set, takes the place of causal attention within the batch (generation with a cache).
	Attend func(layer int, q, k, v *graph.Node, a kernels.Attention) *graph.Node
}

// Batch declares the inputs ids, pos, start, labels (n each) and rng (2) of a graph.
func (m *Model) Batch(g *graph.Graph, n int) Batch {
	return Batch{Graph: g, IDs: g.Ints("ids", n), Pos: g.Ints("pos", n), Start: g.Ints("start", n), Labels: g.Ints("labels", n), Rng: g.Ints("rng", 2)}
}

// Hidden is the decoder up to the final norm (N, C).
func (m *Model) Hidden(b Batch, t Trainable) *graph.Node {
	return m.Blocks(m.Embed(b, t), b, t)
}

// Embed looks the batch's tokens up (N, C).
func (m *Model) Embed(b Batch, t Trainable) *graph.Node {
	bl := builder{m, b, t}
	x := nn.Embedding(b.IDs, bl.weight(EmbedModule, m.V, m.C), bl.lora(EmbedModule, m.V, m.C))
	bl.out(EmbedModule, x)
	return x
}

// Blocks takes embeddings (N, C) through all layers and the final norm (N, C).
func (m *Model) Blocks(x *graph.Node, b Batch, t Trainable) *graph.Node {
	for l := range m.L {
		x = m.Block(l, x, b, t)
	}
	bl := builder{m, b, t}
	x = bl.norm(x, "model.norm", m.C)
	bl.out("model.norm", x)
	return bl.rounded(x, HeadModule)
}

// Block takes hidden states (N, C) through layer l (N, C).
func (m *Model) Block(l int, x *graph.Node, b Batch, t Trainable) *graph.Node {
	bl := builder{m, b, t}
	b.Graph.Layer(l)
	x = bl.mlp(l, bl.attention(l, x))
	bl.out(fmt.Sprintf("model.layers.%d", l), x)
	b.Graph.Layer(-1)
	return x
}

// Head is the projection to the vocabulary (V, C).
func (m *Model) Head(b Batch, t Trainable) nn.Proj {
	bl := builder{m, b, t}
	return nn.Proj{W: bl.weight(HeadModule, m.V, m.C), LoRA: bl.lora(HeadModule, m.V, m.C)}
}

// builder holds what is the same for all modules of one graph.
type builder struct {
	*Model
	b Batch
	t Trainable
}

func (bl builder) attention(l int, x *graph.Node) *graph.Node {
	at := func(name string) string { return layerName(l, name) }
	h := bl.norm(x, at("input_layernorm"), bl.C)
	y := nn.Linear(bl.rounded(h, at("self_attn.q_proj")), bl.Exact,
		bl.proj(h, at("self_attn.q_proj"), bl.H*bl.D, bl.C, bl.QKVBias),
		bl.proj(h, at("self_attn.k_proj"), bl.K*bl.D, bl.C, bl.QKVBias),
		bl.proj(h, at("self_attn.v_proj"), bl.K*bl.D, bl.C, bl.QKVBias))
	q, k, v := y[0], y[1], y[2]
	if bl.QKNorm {
		wq, wk := bl.normWidths()
		q, k = bl.norm(q, at("self_attn.q_norm"), wq), bl.norm(k, at("self_attn.k_norm"), wk)
	}
	if !bl.Layers[l].NoRope {
		q, k = nn.Rope(q, bl.b.Pos, bl.rope), nn.Rope(k, bl.b.Pos, bl.rope)
	}
	if bl.Rounded {
		k, v = nn.Round(k, nn.RoundF16), nn.Round(v, nn.RoundF16)
	}
	a := kernels.Attention{H: bl.H, K: bl.K, D: bl.D, Scale: float32(1 / math.Sqrt(float64(bl.D))), Window: bl.Layers[l].Window, Exact: bl.Exact}
	var o *graph.Node
	if bl.b.Attend != nil {
		o = bl.b.Attend(l, q, k, v, a)
	} else {
		o = nn.Attention(q, k, v, bl.b.Start, a)
	}
	return nn.LinearAdd(bl.rounded(o, at("self_attn.o_proj")), x, bl.Exact, bl.proj(o, at("self_attn.o_proj"), bl.C, bl.H*bl.D, bl.OutBias))
}

func (bl builder) mlp(l int, x *graph.Node) *graph.Node {
	at := func(name string) string { return layerName(l, name) }
	h := bl.norm(x, at("post_attention_layernorm"), bl.C)
	if bl.Layers[l].Sparse {
		return bl.mixture(l, x, h)
	}
	y := nn.Linear(bl.rounded(h, at("mlp.gate_proj")), bl.Exact,
		bl.proj(h, at("mlp.gate_proj"), bl.F, bl.C, bl.MLPBias),
		bl.proj(h, at("mlp.up_proj"), bl.F, bl.C, bl.MLPBias))
	f := nn.SwiGLU(y[0], y[1])
	return nn.LinearAdd(bl.rounded(f, at("mlp.down_proj")), x, bl.Exact, bl.proj(f, at("mlp.down_proj"), bl.C, bl.F, bl.MLPBias))
}

// rounded is what a module's product, and those of others with the same input, read of x.
func (bl builder) rounded(x *graph.Node, module string) *graph.Node {
	if !bl.Rounded {
		return x
	}
	w, ok := bl.Matrix(module + ".weight")
	switch {
	case !ok:
		return x
	case w.Codec == kernels.BF16:
		return nn.Round(x, nn.RoundBF16)
	case w.Codec == kernels.F16:
		return nn.Round(x, nn.RoundF16)
	case w.Codec.Block == 256:
		return nn.Round(x, nn.Round8x256)
	case w.Codec.Block > 1:
		return nn.Round(x, nn.Round8x32)
	}
	return x
}

func (bl builder) norm(x *graph.Node, name string, width int) *graph.Node {
	return nn.RMSNorm(x, bl.vector(name+".weight", width), width, bl.Eps)
}

func (bl builder) proj(x *graph.Node, module string, out, in int, bias bool) nn.Proj {
	if bl.Tap.In != nil {
		bl.Tap.In(module, x)
	}
	p := nn.Proj{W: bl.weight(module, out, in), LoRA: bl.lora(module, out, in)}
	if bias {
		v := bl.vector(module+".bias", out)
		p.Bias = &v
	}
	return p
}

func (bl builder) weight(module string, out, in int) nn.Weight {
	name := module + ".weight"
	w := nn.Weight{Name: module, Rows: out, Cols: in}
	if bl.t != nil {
		if w.Node = bl.t.Param(bl.b.Graph, name, graph.Shape{out, in}); w.Node != nil {
			return w
		}
		if r, ok := bl.t.(Replacer); ok {
			if w.Frozen, ok = r.Frozen(name); ok {
				return w
			}
		}
	}
	if w.Order = bl.orders[name]; w.Order != nil {
		w.Frozen = bl.matrices[name]
		return w
	}
	x, ok := bl.Matrix(name)
	if !ok {
		panic("model: " + name + " has neither weights nor a parameter: a model without weights must be trained whole")
	}
	w.Frozen = x
	return w
}

func (bl builder) vector(name string, n int) nn.Vector {
	if bl.t != nil {
		if p := bl.t.Param(bl.b.Graph, name, graph.Shape{1, n}); p != nil {
			return nn.Vector{Node: p}
		}
	}
	return nn.Vector{Frozen: bl.Vector(name)}
}

func (bl builder) lora(module string, out, in int) *nn.LoRA {
	if bl.t == nil {
		return nil
	}
	a := bl.t.LoRA(bl.b.Graph, module, out, in)
	if a != nil {
		a.Rng = bl.b.Rng
	}
	return a
}

func (bl builder) out(module string, x *graph.Node) {
	if bl.Tap.Out != nil {
		bl.Tap.Out(module, x)
	}
}

// Trained is a Trainable that holds its numbers.
type Trained interface {
	Trainable
	Params() []Param // in a fixed order
}

// NoDropout is t as it is used after training: without dropout.
func NoDropout(t Trainable) Trainable { return noDropout{t} }

type noDropout struct{ Trainable }

func (t noDropout) LoRA(g *graph.Graph, module string, out, in int) *nn.LoRA {
	a := t.Trainable.LoRA(g, module, out, in)
	if a != nil {
		a.Dropout = 0
	}
	return a
}

// Frozen passes a Replacer's weights through.
func (t noDropout) Frozen(tensor string) (kernels.Matrix, bool) {
	if r, ok := t.Trainable.(Replacer); ok {
		return r.Frozen(tensor)
	}
	return kernels.Matrix{}, false
}
