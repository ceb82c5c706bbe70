package model

import (
	"math"
	"testing"

	"tune/internal/graph"
	"tune/internal/nn"
)

// Limits of the goldens' README.
const (
	gradientLimit = 5e-5 // of the greatest value
	normLimit     = 1e-4 // relative
	lossLimit     = 1e-5
)

// Every gradient of full training, element by element where the goldens have them, else by its norm.
func TestGradients(t *testing.T) {
	for _, name := range []string{"llama", "llama3", "mistral", "mixtral", "qwen2", "qwen3"} {
		m, gold := load(t, name, true), golden(t, "models/"+name+"/gradients.safetensors")
		ids := ints(t, golden(t, "models/"+name+"/goldens.safetensors"), "doc1.input_ids")
		var info struct {
			Whole []string
			L2    map[string]float64
			Loss  float64 `json:"mean_nll"`
		}
		readJSON(t, "models/"+name+"/gradients.json", &info)
		full := NewFull(m, 0)
		g := graph.New()
		b := m.Batch(g, len(ids))
		x := m.Embed(b, full)
		logp, _ := nn.LogProb(m.Blocks(x, b, full), b.Labels, m.Head(b, full), true)
		loss := graph.Scale(graph.Sum(logp), -1/float32(len(ids)-1))
		wrt := []*graph.Node{x}
		for _, p := range full.Params() {
			wrt = append(wrt, g.Named(p.Name))
		}
		grads, err := g.Gradients(loss, wrt...)
		if err != nil {
			t.Fatal(err)
		}
		p, err := g.Compile(graph.Options{}, append(grads, loss)...)
		if err != nil {
			t.Fatal(err)
		}
		s := run(t, p, documents(ids), full.Params())
		check(t, name+" mean nll", math.Abs(float64(s.Output(len(grads))[0])-info.Loss), lossLimit)
		check(t, name+" embedding output", ofLargest(s.Output(0), floats(t, gold, "embedding_output")), gradientLimit)
		var worstNorm float64
		got := map[string][]float32{}
		for i, q := range full.Params() {
			got[q.Name] = s.Output(i + 1)
			worstNorm = max(worstNorm, math.Abs(norm(got[q.Name])/info.L2[q.Name]-1))
		}
		if len(got) != len(info.L2) {
			t.Errorf("%s: %d gradients, want %d", name, len(got), len(info.L2))
		}
		check(t, name+" norm of each gradient (relative)", worstNorm, normLimit)
		for _, w := range info.Whole {
			check(t, name+" "+w, ofLargest(got[w], floats(t, gold, w)), gradientLimit)
		}
	}
}

// Three documents in one row do not see each other; the gradient of a packed row is that of its documents.
func TestPacked(t *testing.T) {
	m, gold := load(t, "mistral", true), golden(t, "packed/mistral/packed.safetensors")
	var info struct {
		Mean  float64            `json:"mean_loss"`
		Count int                `json:"supervised_tokens"`
		L2    map[string]float64 `json:"gradient_l2"`
	}
	readJSON(t, "packed/mistral/packed.json", &info)
	ids, labels, cu := ints(t, gold, "input_ids"), ints(t, gold, "labels"), ints(t, gold, "cu_seqlens")
	var docs [][]int32
	for i := 1; i < len(cu); i++ {
		docs = append(docs, ids[cu[i-1]:cu[i]])
	}
	in := documents(docs...)
	for i := range in["labels"] {
		if i+1 == len(labels) || labels[i+1] < 0 {
			in["labels"][i] = -1
		}
	}
	full := NewFull(m, 0)
	g := graph.New()
	b := m.Batch(g, len(ids))
	h := m.Hidden(b, full)
	logits := nn.Linear(h, true, m.Head(b, full))[0]
	logp, _ := nn.LogProb(h, b.Labels, m.Head(b, full), true)
	loss := graph.Scale(graph.Sum(logp), -1/float32(info.Count))
	var wrt []*graph.Node
	for _, p := range full.Params() {
		wrt = append(wrt, g.Named(p.Name))
	}
	grads, err := g.Gradients(loss, wrt...)
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(graph.Options{}, append(grads, logits, loss)...)
	if err != nil {
		t.Fatal(err)
	}
	s := run(t, p, in, full.Params())
	check(t, "packed logits", worst(s.Output(len(grads)), floats(t, gold, "logits")), logitsLimit)
	check(t, "packed mean loss", math.Abs(float64(s.Output(len(grads) + 1)[0])-info.Mean), lossLimit)
	for i, q := range full.Params() {
		check(t, "packed "+q.Name, math.Abs(norm(s.Output(i))/info.L2[q.Name]-1), normLimit)
	}
}
