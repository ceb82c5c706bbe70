package quantize

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// An independent reader of the formats, from their description alone: no code of the packages that write them. Slow: value by
// value, bit by bit.

type rawTensor struct {
	DType   string `json:"dtype"`
	Shape   []int  `json:"shape"`
	Offsets [2]int `json:"data_offsets"`
	data    []byte
}

type rawFile map[string]*rawTensor

func readRaw(t testing.TB, dir string) rawFile {
	t.Helper()
	all := rawFile{}
	files, _ := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		n := binary.LittleEndian.Uint64(b)
		var head map[string]json.RawMessage
		if err := json.Unmarshal(b[8:8+n], &head); err != nil {
			t.Fatal(err)
		}
		for name, text := range head {
			x := &rawTensor{}
			if name == "__metadata__" {
				continue
			}
			if err := json.Unmarshal(text, x); err != nil {
				t.Fatal(err)
			}
			x.data = b[8+n:][x.Offsets[0]:x.Offsets[1]]
			all[name] = x
		}
	}
	return all
}

func (x *rawTensor) float(i int) float64 {
	switch x.DType {
	case "F32":
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(x.data[4*i:])))
	case "BF16":
		return float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(x.data[2*i:])) << 16))
	case "F16":
		return small(int(binary.LittleEndian.Uint16(x.data[2*i:])), 5, 10, true)
	case "F8_E4M3":
		return small(int(x.data[i]), 4, 3, false)
	}
	panic("dtype " + x.DType)
}

// small is a float of a sign, some exponent and some mantissa bits.
func small(bits, exp, man int, ieee bool) float64 {
	sign := 1.0
	if bits>>(exp+man) != 0 {
		sign = -1
	}
	e, m := bits>>man&(1<<exp-1), float64(bits&(1<<man-1))/float64(int(1)<<man)
	bias := 1<<(exp-1) - 1
	if e == 0 {
		return sign * m * math.Exp2(float64(1-bias))
	}
	if ieee && e == 1<<exp-1 {
		panic("not finite")
	}
	return sign * (1 + m) * math.Exp2(float64(e-bias))
}

// bits reads n bits from bit at of the words base, base+step, base+2·step ...
func (x *rawTensor) bits(base, step, at, n int) (v int) {
	for k := range n {
		word := base + (at+k)/32*step
		v |= int(binary.LittleEndian.Uint32(x.data[4*word:])>>((at+k)%32)&1) << k
	}
	return v
}

// value is W[o][i] of a module.
type valueFunc func(f rawFile, module string, out, in, o, i int) float64

func gptqValue(bits, group, plus int) valueFunc {
	return func(f rawFile, m string, out, in, o, i int) float64 {
		q := f[m+".qweight"].bits(o, out, i*bits, bits)
		g := int(binary.LittleEndian.Uint32(f[m+".g_idx"].data[4*i:]))
		if g != i/group {
			panic(fmt.Sprintf("g_idx %d of input %d", g, i))
		}
		words := f[m+".qzeros"].Shape[1]
		z := f[m+".qzeros"].bits(g*words, 1, o*bits, bits) + plus
		return float64(q-z) * f[m+".scales"].float(g*out+o)
	}
}

func awqValue(f rawFile, m string, out, in, o, i int) float64 {
	nibble := []int{0, 4, 1, 5, 2, 6, 3, 7}[o%8]
	q := f[m+".qweight"].bits(i*out/8+o/8, 1, 4*nibble, 4)
	g := i * f[m+".scales"].Shape[0] / in
	z := f[m+".qzeros"].bits(g*out/8+o/8, 1, 4*nibble, 4)
	return float64(q-z) * f[m+".scales"].float(g*out+o)
}

func packValue(bits int) valueFunc {
	return func(f rawFile, m string, out, in, o, i int) float64 {
		p, s := f[m+".weight_packed"], f[m+".weight_scale"]
		shape := f[m+".weight_shape"].data
		if binary.LittleEndian.Uint64(shape) != uint64(out) || binary.LittleEndian.Uint64(shape[8:]) != uint64(in) {
			panic("weight_shape")
		}
		g := i * s.Shape[1] / in
		z := 1 << (bits - 1)
		if zp := f[m+".weight_zero_point"]; zp != nil {
			z = zp.bits(g, zp.Shape[1], o*bits, bits)
		}
		return float64(p.bits(o*p.Shape[1], 1, i*bits, bits)-z) * s.float(o*s.Shape[1]+g)
	}
}

func int8Value(f rawFile, m string, out, in, o, i int) float64 {
	return float64(int8(f[m+".weight"].data[o*in+i])) * f[m+".weight_scale"].float(o)
}

func fp8Value(f rawFile, m string, out, in, o, i int) float64 {
	s := f[m+".weight_scale"]
	k := o
	if s.Shape[1] > 1 || s.Shape[0] != out {
		k = o/128*s.Shape[1] + i/128
	}
	return f[m+".weight"].float(o*in+i) * s.float(k)
}

func e2m1(x *rawTensor, at int) float64 {
	return small(int(x.data[at/2]>>(4*(at%2))&15), 2, 1, false)
}

func nvfp4Value(f rawFile, m string, out, in, o, i int) float64 {
	return e2m1(f[m+".weight_packed"], o*in+i) * f[m+".weight_scale"].float((o*in+i)/16) / f[m+".weight_global_scale"].float(0)
}

func mxfp4Value(f rawFile, m string, out, in, o, i int) float64 {
	return e2m1(f[m+".weight_packed"], o*in+i) * math.Exp2(float64(f[m+".weight_scale"].data[(o*in+i)/32])-127)
}

func nf4Value(f rawFile, m string, out, in, o, i int) float64 {
	var state struct {
		Shape  []int   `json:"shape"`
		Offset float64 `json:"nested_offset"`
	}
	if err := json.Unmarshal(f[m+".weight.quant_state.bitsandbytes__nf4"].data, &state); err != nil || state.Shape[0] != out || state.Shape[1] != in {
		panic(fmt.Sprint("quant_state ", state, err))
	}
	at := o*in + i
	code := f[m+".weight"].data[at/2] >> (4 * (1 - at%2)) & 15
	block := at / 64
	absmax := f[m+".weight.nested_quant_map"].float(int(f[m+".weight.absmax"].data[block]))*f[m+".weight.nested_absmax"].float(block/256) + state.Offset
	return f[m+".weight.quant_map"].float(int(code)) * absmax
}
