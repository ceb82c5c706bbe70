package model

import (
	"tune/internal/qtype"
	"tune/internal/tensor"
)

// GGUFArch is general.architecture of files of this model and of adapters for it.
func (s *Spec) GGUFArch() string { return s.ggufArch() }

// TitleOf is the general.name that follows from a file's or folder's name: its words, capitalised.
func TitleOf(path string) string { return (&Checkpoint{Path: path}).title() }

// GGUFRows moves the rows of what is added to a module's weight, such as the factor B (out, R) of an adapter, from the order
// of Hugging Face files to that of GGUF files, or back. Modules whose rows have one order everywhere are returned as they are.
func (s *Spec) GGUFRows(module string, t tensor.Tensor, toGGUF bool) (tensor.Tensor, error) {
	if heads := movedHeads(module+".weight", s); heads > 0 {
		return moveRows(t, heads, toGGUF)
	}
	return t, nil
}

// GGUFMatrixType is the type a matrix of a width gets in a file of matrices of type as: F16 where its blocks do not divide
// the width.
func GGUFMatrixType(as qtype.Type, width int) qtype.Type {
	if width%as.Row().Block != 0 {
		return qtype.F16
	}
	return as
}
