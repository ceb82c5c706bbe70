package bench

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"tune/data"
	"tune/internal/infer"
	"tune/internal/model"
	"tune/internal/qtype"
	"tune/internal/tensor"
	"tune/lora"
	"tune/train"
)

// smolLM2 is the shape of SmolLM2-135M.
const smolLM2 = `{"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
"num_key_value_heads": 3, "head_dim": 64, "vocab_size": 49152, "max_position_embeddings": 8192, "rms_norm_eps": 1e-05, "rope_theta": 100000.0,
"hidden_act": "silu", "tie_word_embeddings": true, "torch_dtype": "bfloat16"}`

// Synthetic is a model of the shape of SmolLM2-135M with random weights: matrices stored as t, norms 1.
func Synthetic(t qtype.Type) (*model.Checkpoint, error) {
	c, err := model.Fresh([]byte(smolLM2), "synthetic "+t.String(), nil)
	if err != nil {
		return nil, err
	}
	m := &tensor.Map{}
	for _, i := range c.Spec.Tensors() {
		if len(i.Shape) == 1 {
			m.Add(tensor.FromFloats(i.Name, i.Shape, slices.Repeat([]float32{1}, i.Shape[0])))
			continue
		}
		x := tensor.Tensor{Info: tensor.Info{Name: i.Name, Type: t, Shape: i.Shape}}
		if x.Data, err = weights(t, i.Shape[0]*i.Shape[1]); err != nil {
			return nil, err
		}
		m.Add(x)
	}
	c.Weights = m
	return c, nil
}

// fresh gives unused memory back, so that the peak of what follows is its own. Where the system cannot forget the former peak
// the larger of both is reported.
func fresh() {
	debug.FreeOSMemory()
	if f, err := os.OpenFile("/proc/self/clear_refs", os.O_WRONLY, 0); err == nil {
		f.WriteString("5")
		f.Close()
	}
}

// packs is a stream of equal packs without end: one document each, every token supervised.
type packs struct {
	pack data.Pack
	n    int
}

func newPacks(length, vocab int) *packs {
	p := data.Pack{Docs: 1, Keys: []string{"bench"}, Supervised: length - 1}
	for i := range length {
		p.IDs, p.Pos = append(p.IDs, token(i, vocab)), append(p.Pos, int32(i))
		p.Start, p.Doc, p.Labels = append(p.Start, 0), append(p.Doc, 0), append(p.Labels, token(i+1, vocab))
	}
	p.Labels[length-1] = -1
	return &packs{pack: p}
}

// token is a token of a text that means nothing.
func token(i, vocab int) int32 { return int32(i * 7919 % vocab) }

func (p *packs) Next(context.Context) (*data.Pack, error) {
	p.n++
	x := p.pack
	return &x, nil
}

func (p *packs) State() data.State       { return data.State{Packs: p.n} }
func (p *packs) Seek(s data.State) error { p.n = s.Packs; return nil }

// train measures optimizer steps: adapters of rank 16 on all linears, and for small models all weights.
func (b *bencher) train(x Model, m *model.Model) error {
	short := min(512, m.Positions)
	for _, s := range [][2]int{{4, short}, {1, 2048}} {
		if s[1] > m.Positions {
			continue
		}
		a, err := lora.Attach(m, lora.Default(), 1)
		if err != nil {
			return err
		}
		if err := b.step("train/lora", x, m, a, s[0], s[1]); err != nil {
			return err
		}
	}
	if !x.Full {
		return nil
	}
	return b.step("train/full", x, m, model.NewFull(m, 1), 4, short)
}

// step measures steps of batch sequences of so many tokens.
func (b *bencher) step(name string, x Model, m *model.Model, t model.Trained, batch, seq int) error {
	b.raise(arithmetic)
	fresh()
	c := train.Defaults()
	c.Batch, c.Steps = batch, fewest+1
	began := time.Now()
	var took []float64
	last := 0.0
	j := train.Job{Model: m, Trainable: t, Config: c, Eval: train.EvalDefaults(), Seed: 1, Seq: seq, Pool: b.Pool, Train: newPacks(seq, m.V),
		Now: func() float64 { return time.Since(began).Seconds() },
		AfterStep: func(s train.Metric) {
			took = append(took, s.Seconds-last)
			last = s.Seconds
		}}
	p, err := j.Plan()
	if err != nil {
		return err
	}
	if _, err := j.Run(b.ctx); err != nil {
		return err
	}
	took = took[1:] // the first one compiles and warms up
	slices.Sort(took)
	b.add(fmt.Sprintf("%s/%dx%d%s", name, batch, seq, x.Suffix), "tokens/s", took, float64(batch*seq), float64(p.FLOPs), arithmetic, train.PeakMemory())
	return nil
}

// prefill measures the reading of a prompt up to the logits of what follows it.
func (b *bencher) prefill(x Model, m *model.Model) error {
	n := min(512, m.Positions)
	b.raise(products(m))
	fresh()
	e, err := infer.New(m, nil, b.Pool)
	if err != nil {
		return err
	}
	defer e.Close()
	ids, turn := make([]int32, n), 0
	for i := range ids {
		ids[i] = token(i, m.V)
	}
	took, err := b.repeat(func() error {
		turn++
		ids[0] = int32(turn % 2) // another beginning: nothing is reused
		_, err := e.Next(ids)
		return err
	})
	if err != nil {
		return err
	}
	var linear, head float64
	for _, p := range m.Modules() {
		switch p.Kind {
		case model.Linear:
			linear += 2 * float64(p.Out) * float64(p.In)
		case model.Head:
			head = 2 * float64(p.Out) * float64(p.In)
		}
	}
	pairs := float64(n) * float64(n+1) / 2
	work := float64(n)*linear + head + float64(m.L)*4*pairs*float64(m.H*m.D)
	b.add(fmt.Sprintf("prefill/%d%s", n, x.Suffix), "tokens/s", took, float64(n), work, products(m), train.PeakMemory())
	return nil
}

// decode measures tokens one after another behind a prompt of 64; each reads all weights once, a table of embeddings of its own left out.
func (b *bencher) decode(x Model, m *model.Model) error {
	const prompt, answer = 64, 16
	b.raise(reading)
	fresh()
	e, err := infer.New(m, nil, b.Pool)
	if err != nil {
		return err
	}
	defer e.Close()
	ids := make([]int32, prompt+answer)
	for i := range ids {
		ids[i] = token(i, m.V)
	}
	if _, err := e.Next(ids[:prompt]); err != nil {
		return err
	}
	took, err := b.repeat(func() error {
		for i := range answer {
			if _, err := e.Next(ids[:prompt+i+1]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	bytes := float64(m.WeightBytes())
	if w, ok := m.Matrix(model.EmbedModule + ".weight"); ok && !m.Tied {
		bytes -= float64(len(w.Data))
	}
	b.add("decode/1"+x.Suffix, "tokens/s", took, answer, answer*bytes, reading, train.PeakMemory())
	return nil
}

// decodeMany measures answers that grow together behind prompts of 64 tokens, from when all of them have been read on, as decode does.
func (b *bencher) decodeMany(x Model, m *model.Model) error {
	const prompt, answer, sequences = 64, 64, 16
	b.raise(products(m))
	fresh()
	e, err := infer.NewBatch(m, nil, b.Pool)
	if err != nil {
		return err
	}
	defer e.Close()
	var prompts []infer.Prompt
	for i := range sequences {
		p := infer.Prompt{Options: infer.Options{MaxTokens: answer}}
		for j := range prompt - 1 {
			p.IDs = append(p.IDs, token(j, m.V))
		}
		prompts = append(prompts, infer.Prompt{IDs: append(p.IDs, token(1000+i, m.V)), Options: p.Options})
	}
	took, err := b.repeatPart(func() (began time.Time, err error) {
		tokens := 0
		for i := range prompts {
			prompts[i].More = func(int32) bool {
				if tokens++; tokens == sequences { // every prompt has led to one
					began = time.Now()
				}
				return true
			}
		}
		err = e.Generate(b.ctx, prompts, func(int, infer.Answer) error { return nil })
		return began, err
	})
	if err != nil {
		return err
	}
	var ops float64
	for _, p := range m.Modules() {
		if p.Kind != model.Embedding {
			ops += 2 * float64(p.Out) * float64(p.In)
		}
	}
	b.add(fmt.Sprintf("decode/%d%s", sequences, x.Suffix), "tokens/s", took, sequences*(answer-1), sequences*(answer-1)*ops, products(m), train.PeakMemory())
	return nil
}
