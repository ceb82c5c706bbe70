package model

import (
	"fmt"
	"strings"

	"tune/internal/gguf"
	"tune/internal/tensor"
)

// Renamed is a GGUF file seen as a checkpoint: Hugging Face names, and rows of q_proj and k_proj in the order in which the
// rotation pairs i with i+D/2. Tensors that the table of names does not have keep their name. What the Spec absorbs
// (rope_freqs.weight) is left out. Rows are moved in their stored type; tensors that need no moving are views of the file.
type Renamed struct {
	file  *gguf.File
	names []string          // Hugging Face names in the order of the file
	from  map[string]string // their names in the file
	heads map[string]int    // heads of the tensors whose rows are moved
	parts map[string]part   // what is part of the tensor of all experts
}

// NewRenamed makes the view of a file that s describes.
func NewRenamed(f *gguf.File, s *Spec) *Renamed {
	r := &Renamed{file: f, from: map[string]string{}, heads: map[string]int{}, parts: map[string]part{}}
	for _, name := range f.Names() {
		if name == ropeFreqs {
			continue
		}
		names := s.hfNames(name)
		if names == nil {
			names = []string{name}
			if isHF(name) {
				names[0] = "gguf/" + name // or it would hide the tensor of that name
			}
		}
		for e, hf := range names {
			r.names, r.from[hf] = append(r.names, hf), name
			if _, _, expert := ExpertOf(hf); expert {
				r.parts[hf] = part{name, e, 0, s.stackRows(name)}
			}
			if n := movedHeads(hf, s); n > 0 {
				r.heads[hf] = n
			}
		}
	}
	return r
}

func isHF(name string) bool { _, ok := GGUFName(name); return ok }

// ropeFreqs divides the frequencies of the rotation; it belongs to the Spec.
const ropeFreqs = "rope_freqs.weight"

// movedHeads is the number of heads of a tensor whose rows GGUF files have in another order, 0 for all other tensors.
// Files of llama and smollm3 pair neighbouring rows.
func movedHeads(hf string, s *Spec) int {
	switch module, _, _ := takeApart(hf); {
	case s.ggufArch() != "llama" && s.Arch != "smollm3":
		return 0
	case strings.HasSuffix(module, ".self_attn.q_proj"):
		return s.H
	case strings.HasSuffix(module, ".self_attn.k_proj"):
		return s.K
	}
	return 0
}

// ggufArch is general.architecture of a family's files.
func (s *Spec) ggufArch() string {
	switch s.Arch {
	case "mistral", "mixtral":
		return "llama"
	case "qwen3_moe":
		return "qwen3moe"
	}
	return s.Arch
}

// Names lists the tensors in the order of the file.
func (r *Renamed) Names() []string { return r.names }

// Info describes a tensor.
func (r *Renamed) Info(name string) (tensor.Info, error) {
	from, ok := r.from[name]
	if !ok {
		return tensor.Info{}, fmt.Errorf("%s: %w", r.file.Name(), tensor.Missing(name))
	}
	i, err := r.file.Info(from)
	if p, ok := r.parts[name]; ok {
		i = p.info(i)
	}
	i.Name = name
	return i, err
}

// Tensor returns a tensor.
func (r *Renamed) Tensor(name string) (tensor.Tensor, error) {
	from, ok := r.from[name]
	if !ok {
		return tensor.Tensor{}, fmt.Errorf("%s: %w", r.file.Name(), tensor.Missing(name))
	}
	t, err := r.file.Tensor(from)
	if p, ok := r.parts[name]; ok && err == nil {
		t, err = p.take(t)
	}
	t.Name = name
	if heads := r.heads[name]; err == nil && heads > 0 {
		return moveRows(t, heads, false)
	}
	return t, err
}

// moveRows reorders the rows (of a vector: the elements) of each head: row 2i+p of a head in GGUF order is row p·D/2+i in
// Hugging Face order, D rows a head, p 0 or 1.
func moveRows(t tensor.Tensor, heads int, toGGUF bool) (tensor.Tensor, error) {
	if len(t.Shape) == 0 || t.Shape[0]%(2*heads) != 0 || t.Type.Row().Block > 1 && len(t.Shape) < 2 {
		return t, fmt.Errorf("tensor %s: expected an even number of rows in each of %d heads, found shape %v", t.Name, heads, t.Shape)
	}
	if t.Shape[0] == 0 {
		return t, nil
	}
	row, half := len(t.Data)/t.Shape[0], t.Shape[0]/heads/2
	moved := make([]byte, len(t.Data))
	for h := range heads {
		for i := range half {
			for p := range 2 {
				hf, packed := (h*2*half+p*half+i)*row, (h*2*half+2*i+p)*row
				if toGGUF {
					copy(moved[packed:packed+row], t.Data[hf:])
				} else {
					copy(moved[hf:hf+row], t.Data[packed:])
				}
			}
		}
	}
	t.Data = moved
	return t, nil
}
