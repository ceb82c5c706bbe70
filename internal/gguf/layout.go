package gguf

import (
	"fmt"

	"tune/internal/tensor"
)

// A Layout says where everything of a file lies before a tensor is there, for writers that place tensors themselves.
type Layout struct {
	Head    []byte  // everything before the first tensor, padded
	Offsets []int64 // of each tensor, from the beginning of the file
	Size    int64   // of the file; what no tensor covers is zero
}

// Plan lays out a version 3 file of these tensors in this order, as Write does.
func Plan(meta *Meta, infos []tensor.Info) (*Layout, error) {
	probe := File{meta: *meta}
	if err := probe.align(); err != nil {
		return nil, err
	}
	src := planned{infos: map[string]tensor.Info{}}
	for _, i := range infos {
		if _, ok := src.infos[i.Name]; ok {
			return nil, fmt.Errorf("%w: %q appears twice", ErrName, i.Name)
		}
		src.names, src.infos[i.Name] = append(src.names, i.Name), i
	}
	checked, err := layout(src)
	if err != nil {
		return nil, err
	}
	align := uint64(probe.Alignment)
	l := &Layout{Offsets: make([]int64, len(infos))}
	l.Head, _ = header(meta, checked, align)
	at := uint64(len(l.Head))
	for i, info := range checked {
		l.Offsets[i] = int64(at)
		at += roundUp(uint64(info.Bytes()), align)
	}
	l.Size = int64(at)
	return l, nil
}

// planned is a Source without data.
type planned struct {
	names []string
	infos map[string]tensor.Info
}

func (p planned) Names() []string                               { return p.names }
func (p planned) Info(name string) (tensor.Info, error)         { return p.infos[name], nil }
func (p planned) Tensor(name string) (t tensor.Tensor, _ error) { return t, tensor.Missing(name) }
