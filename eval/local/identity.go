package local

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"math"

	"tune/internal/graph"
	"tune/internal/model"
	"tune/kernels"
)

// generation changes when the same inputs may get other answers from this package than before.
const generation = 1

// Identity is a hash of all that answers depend on: weights, what was trained on them, tokenizer, chat template, the arithmetic
// and the settings. It is "" when the weights cannot be read.
func (x *Model) Identity() string {
	id, err := x.identity()
	if err != nil {
		return ""
	}
	return id
}

func (x *Model) hash() (string, error) {
	weights, err := x.c.Hash()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "local %d\nweights %s\nspec %+v\n", generation, weights, x.m.Spec)
	fmt.Fprintf(h, "kernels %s exact %v context %d truncate %v day %s\n", kernels.Level(), x.o.Exact, x.o.Context, x.o.Truncate, x.o.Day.Format("2006-01-02"))
	if x.o.Int8 {
		fmt.Fprintln(h, "int8")
	}
	for _, part := range [][]byte{x.tok.JSON(), x.tok.ConfigJSON(), []byte(x.c.ChatTemplate())} {
		fmt.Fprintf(h, "%d\n", len(part))
		h.Write(part)
	}
	fmt.Fprintf(h, "stops %v\n", x.stops)
	if x.t != nil {
		hashTrained(h, x.t, x.m.Modules())
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// hashTrained adds every trained number, the scale of every adapter, and the frozen weights that were put under one.
func hashTrained(h hash.Hash, t model.Trained, modules []model.Module) {
	buf := make([]byte, 0, 1<<16)
	for _, p := range t.Params() {
		fmt.Fprintf(h, "%s %v\n", p.Name, p.Shape)
		for at := 0; at < len(p.Data); {
			buf = buf[:0]
			for ; at < len(p.Data) && len(buf) < 1<<16; at++ {
				buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(p.Data[at]))
			}
			h.Write(buf)
		}
	}
	g := graph.New()
	replacer, replaces := t.(model.Replacer)
	for _, m := range modules {
		if a := t.LoRA(g, m.Name, m.Out, m.In); a != nil {
			fmt.Fprintf(h, "%s rank %d scale %v\n", m.Name, a.R, a.Scale)
		}
		if !replaces {
			continue
		}
		if w, ok := replacer.Frozen(m.Name + ".weight"); ok {
			h.Write(w.Data)
		}
	}
}
