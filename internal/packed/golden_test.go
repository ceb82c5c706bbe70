package packed

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/internal/grouped"
	"tune/internal/qtype"
	"tune/internal/safetensors"
	"tune/internal/tensor"
	"tune/internal/testkit"
)

func open(t testing.TB, path string) *safetensors.Dir {
	t.Helper()
	d, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func get(t testing.TB, s tensor.Source, name string) tensor.Tensor {
	t.Helper()
	x, err := s.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func readJSON(t testing.TB, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// decoded is the SHA-256 of a weight's numbers as float32.
func decoded(t testing.TB, x tensor.Tensor) string {
	t.Helper()
	f, err := tensor.Floats(x)
	if err != nil {
		t.Fatal(err)
	}
	if x.Type == qtype.MXFP4 { // ggml's type has no negative zero, the library's has: take it from the codes
		for i := range f {
			b := x.Data[i/32*17+1+i%16] >> (i % 32 / 16 * 4) & 15
			if b == 8 && f[i] == 0 {
				f[i] = float32(math.Copysign(0, -1))
			}
		}
	}
	b := make([]byte, 4*len(f))
	qtype.F32.Row().Encode(b, f)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// One matrix of each format of the goldens, as the libraries stored it, gives their numbers bit for bit.
func TestFormats(t *testing.T) {
	var gold map[string]struct {
		Config json.RawMessage
		SHA256 string
	}
	readJSON(t, "testdata/k_proj.json", &gold)
	stored := open(t, "testdata/k_proj.safetensors")
	types := map[qtype.Type]int{}
	for _, format := range slices.Sorted(maps.Keys(gold)) {
		c, err := ParseConfig(gold[format].Config)
		if err != nil {
			t.Errorf("%s: %v", format, err)
			continue
		}
		one := &tensor.Map{}
		for _, name := range stored.Names() {
			if rest, ok := strings.CutPrefix(name, format+"."); ok {
				x := get(t, stored, name)
				x.Name = rest
				one.Add(x)
			}
		}
		s := NewSource(one, c)
		if want := []string{"k_proj.weight"}; !slices.Equal(s.Names(), want) {
			t.Errorf("%s: names %v, want %v", format, s.Names(), want)
			continue
		}
		info, err := s.Info("k_proj.weight")
		if err != nil {
			t.Errorf("%s: %v", format, err)
			continue
		}
		x := get(t, s, "k_proj.weight")
		if x.Type != info.Type || !slices.Equal(x.Shape, info.Shape) || !slices.Equal(x.Shape, []int{64, 256}) {
			t.Errorf("%s: %v, announced as %v", format, x.Info, info)
		}
		if got := decoded(t, x); got != gold[format].SHA256 {
			t.Errorf("%s (%s): values differ from the library's", format, x.Type)
		}
		types[x.Type]++
		t.Logf("%s: %s", format, x.Type)
	}
	if types[qtype.Q4_0] == 0 || types[qtype.INT4] == 0 {
		t.Errorf("types in memory: %v", types)
	}
}

// Every projection of every tiny model of the shared goldens.
func TestFormatsAll(t *testing.T) {
	for _, kind := range []string{"ct", "tiny"} {
		root := testkit.Shared(t, "gptqgold/"+kind)
		var gold map[string]struct {
			Dequantized map[string]struct{ SHA256 string } `json:"dequantized_f32"`
		}
		readJSON(t, filepath.Join(root, "tensors.json"), &gold)
		n := 0
		for format, g := range gold {
			var config struct {
				Q json.RawMessage `json:"quantization_config"`
			}
			readJSON(t, filepath.Join(root, format, "config.json"), &config)
			c, err := ParseConfig(config.Q)
			if err != nil {
				t.Fatal(format, err)
			}
			s := NewSource(open(t, filepath.Join(root, format)), c)
			for name, want := range g.Dequantized {
				n++
				if got := decoded(t, get(t, s, strings.TrimSuffix(name, ".weight")+".weight")); got != want.SHA256 {
					t.Errorf("%s: %s differs from the library's", format, name)
				}
			}
		}
		t.Logf("%s: %d matrices", kind, n)
	}
}

// packing reads the layer of the goldens: codes and zeros are stored inputs first, ours outputs first.
func packing(t testing.TB, s tensor.Source, bits int) *grouped.Linear {
	b := fmt.Sprintf("b%d.", bits)
	codes, zeros, scales := get(t, s, b+"codes"), get(t, s, b+"zeros"), get(t, s, "scales")
	in, out, groups := codes.Shape[0], codes.Shape[1], zeros.Shape[0]
	f, err := tensor.Floats(scales)
	if err != nil {
		t.Fatal(err)
	}
	return &grouped.Linear{Out: out, In: in, Bits: bits, Group: in / groups, Codes: transpose(codes.Data, in, out),
		Zero: transpose(zeros.Data, groups, out), Scale: transpose(f, groups, out)}
}

// One layer in every layout, written and read.
func TestPacking(t *testing.T) {
	s := open(t, "testdata/packing.safetensors")
	for _, bits := range []int{2, 3, 4, 8} {
		l := packing(t, s, bits)
		for _, c := range []struct {
			prefix string
			names  map[string]string // of the golden, by part
			pack   func() ([]tensor.Tensor, error)
			unpack func(p parts) (*grouped.Linear, error)
			bits   []int
		}{
			{"gptq", map[string]string{"qweight": "qweight", "qzeros": "qzeros_v1"}, func() ([]tensor.Tensor, error) { return packGPTQ(l, false) },
				func(p parts) (*grouped.Linear, error) { return (&Config{Bits: bits}).unpackGPTQ(p, true) }, []int{2, 3, 4, 8}},
			{"gptq", map[string]string{"qweight": "qweight", "qzeros": "qzeros_v2"}, func() ([]tensor.Tensor, error) { return packGPTQ(l, true) },
				func(p parts) (*grouped.Linear, error) { return (&Config{Bits: 4, V2: true}).unpackGPTQ(p, true) }, []int{2, 3, 4, 8}},
			{"awq", map[string]string{"qweight": "qweight", "qzeros": "qzeros"}, func() ([]tensor.Tensor, error) { return packAWQ(l) },
				func(p parts) (*grouped.Linear, error) { return unpackAWQ(p, true) }, []int{4}},
			{"ct", map[string]string{"weight_packed": "weight_packed", "weight_zero_point": "weight_zero_point"},
				func() ([]tensor.Tensor, error) { return packCompressed(l, qtype.F16) },
				func(p parts) (*grouped.Linear, error) { return unpackCompressed(p, true) }, []int{2, 4, 8}},
		} {
			if !slices.Contains(c.bits, bits) {
				continue
			}
			written, err := c.pack()
			if err != nil {
				t.Fatal(err)
			}
			p, found := parts{}, 0
			for _, x := range written {
				if p[x.Name] = x; c.names[x.Name] == "" {
					continue
				}
				found++
				want := get(t, s, fmt.Sprintf("b%d.%s.%s", bits, c.prefix, c.names[x.Name]))
				if !slices.Equal(x.Shape, want.Shape) || !bytes.Equal(x.Data, want.Data) {
					t.Errorf("%d bits: %s %s %v differs from the library's %v", bits, c.prefix, x.Name, x.Shape, want.Shape)
				}
			}
			if found != len(c.names) {
				t.Errorf("%d bits: %s: wrote %d of %d tensors", bits, c.prefix, found, len(c.names))
			}
			back, err := c.unpack(p)
			if err != nil {
				t.Fatalf("%d bits: %s: %v", bits, c.prefix, err)
			}
			if back.Bits != bits || back.Group != l.Group || !bytes.Equal(back.Codes, l.Codes) || !bytes.Equal(back.Zero, l.Zero) || !slices.Equal(back.Scale, l.Scale) {
				t.Errorf("%d bits: %s: another matrix came back", bits, c.prefix)
			}
			y, err := tensor.Floats(must(ofLinear(back).tensor("w")))
			x := make([]float32, back.In)
			for o := range back.Out {
				if back.Decode(x, o); err != nil || !slices.Equal(y[o*back.In:][:back.In], x) {
					t.Fatalf("%d bits: in memory row %d differs from its formula (%v)", bits, o, err)
				}
			}
		}
	}
}

func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}
