package packed

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"tune/internal/qtype"
	"tune/internal/tensor"
)

// parts are the tensors of one weight by the ending of their names, "qweight" or "weight_scale".
type parts map[string]tensor.Tensor

// words reads I32 or U32 values in the order of the file.
func words(t tensor.Tensor) []uint32 {
	out := make([]uint32, len(t.Data)/4)
	for i := range out {
		out[i] = binary.LittleEndian.Uint32(t.Data[4*i:])
	}
	return out
}

// ints makes an I32 tensor of words.
func ints(name string, shape []int, w []uint32) tensor.Tensor {
	t := tensor.Tensor{Info: tensor.Info{Name: name, Type: qtype.I32, Shape: shape}, Data: make([]byte, 4*len(w))}
	for i, v := range w {
		binary.LittleEndian.PutUint32(t.Data[4*i:], v)
	}
	return t
}

// raw makes a tensor of one byte a value.
func raw(name string, ty qtype.Type, shape []int, data []byte) tensor.Tensor {
	return tensor.Tensor{Info: tensor.Info{Name: name, Type: ty, Shape: shape}, Data: data}
}

// floats makes a tensor of a float type.
func floats(name string, ty qtype.Type, shape []int, x []float32) tensor.Tensor {
	t := tensor.Tensor{Info: tensor.Info{Name: name, Type: ty, Shape: shape}, Data: make([]byte, ty.Row().Bytes*len(x))}
	ty.Row().Encode(t.Data, x)
	return t
}

// expect fails unless a part has a type of the list and as many dimensions as shape, whose -1 stand for any size. Numbers of
// the file decide no allocation: a part's bytes were held against its shape when the file was read.
func (p parts) expect(name string, shape []int, types ...qtype.Type) error {
	t, ok := p[name]
	switch {
	case !ok:
		return fmt.Errorf("expected a tensor .%s, found none", name)
	case !slices.Contains(types, t.Type):
		return fmt.Errorf("%s: expected %v, found %s", name, types, t.Type)
	}
	bad := len(t.Shape) != len(shape)
	for i := 0; !bad && i < len(shape); i++ {
		bad = shape[i] >= 0 && t.Shape[i] != shape[i]
	}
	if bad {
		return fmt.Errorf("%s: expected shape %v, found %v", name, shape, t.Shape)
	}
	return nil
}

// scales reads a part of floats and refuses what is not finite.
func (p parts) scales(name string) ([]float32, error) {
	x, err := tensor.Floats(p[name])
	if err != nil {
		return nil, err
	}
	for i, v := range x {
		if v-v != 0 {
			return nil, fmt.Errorf("%s: expected finite numbers, found %g at %d", name, v, i)
		}
	}
	return x, nil
}

var floatTypes = []qtype.Type{qtype.F16, qtype.BF16, qtype.F32}

// maxSide bounds a dimension, so that products of two fit an int.
const maxSide = 1 << 30

func checkSides(out, in int) error {
	if out < 1 || in < 1 || out > maxSide || in > maxSide || out > math.MaxInt/in {
		return fmt.Errorf("expected a matrix, found %d x %d", out, in)
	}
	return nil
}
