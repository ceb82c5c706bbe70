package packed

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/internal/qtype"
	"tune/internal/tensor"
	"tune/internal/testkit"
)

// libraryFolders are the formats of the goldens that round to nearest, and the schemes that write them.
var libraryFolders = map[string]string{"w4a16_g128": "W4A16", "w4a16_asym_g128": "W4A16_ASYM", "w8a8_int8": "W8A8", "fp8_dynamic": "FP8_DYNAMIC",
	"fp8_block": "FP8_BLOCK", "nvfp4a16": "NVFP4A16", "mxfp4a16": "MXFP4A16"}

func rowsOf(t testing.TB, x tensor.Tensor) (Rows, float32) {
	f, err := tensor.Floats(x)
	if err != nil {
		t.Fatal(err)
	}
	return func(dst []float32, o int) error { copy(dst, f[o*len(dst):]); return nil }, qtype.Magnitude(f)
}

// sameParts encodes a weight and compares all tensors with those of a file.
func sameParts(t *testing.T, scheme string, source tensor.Tensor, shared float32, file tensor.Source, module string) {
	t.Helper()
	s, err := ParseScheme(Options{Format: "compressed-tensors", Scheme: scheme, DType: qtype.BF16})
	if err != nil {
		t.Fatal(err)
	}
	rows, _ := rowsOf(t, source)
	out, in := source.Shape[0], source.Shape[1]
	parts, err := s.Encode(out, in, rows, &Shared{Max: shared})
	if err != nil {
		t.Fatal(err)
	}
	infos := s.Parts(module, out, in)
	if len(infos) != len(parts) {
		t.Fatalf("%s: %d parts, announced %d", scheme, len(parts), len(infos))
	}
	for i, x := range parts {
		if want := infos[i]; module+"."+x.Name != want.Name || x.Type != want.Type || !slices.Equal(x.Shape, want.Shape) || int64(len(x.Data)) != want.Bytes() {
			t.Errorf("%s: %v, announced as %v", scheme, x.Info, want)
		}
		want, err := file.Tensor(module + "." + x.Name)
		if err != nil {
			t.Fatal(err)
		}
		if x.Type != want.Type || !slices.Equal(x.Shape, want.Shape) {
			t.Errorf("%s %s: %s %v, the library's is %s %v", scheme, want.Name, x.Type, x.Shape, want.Type, want.Shape)
		} else if n := differ(x.Data, want.Data); n > 0 {
			t.Errorf("%s %s: %d of %d bytes differ from the library's", scheme, want.Name, n, len(x.Data))
		}
	}
}

func differ(a, b []byte) (n int) {
	if bytes.Equal(a, b) {
		return 0
	}
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

// Rounding to nearest gives the library's codes and scales, bit for bit.
func TestRoundLikeLibrary(t *testing.T) {
	stored := open(t, "testdata/k_proj.safetensors")
	source := get(t, stored, "source.k_proj.weight")
	const fused = 0.98046875 // q_proj is the largest of q, k and v
	for folder, scheme := range libraryFolders {
		sameParts(t, scheme, source, fused, stored, "ct."+folder+".k_proj")
	}
}

// The same for all projections.
func TestRoundLikeLibraryAll(t *testing.T) {
	root := testkit.Shared(t, "gptqgold")
	source := open(t, filepath.Join(root, "tiny/source"))
	max := func(modules ...string) (top float32) {
		for _, m := range modules {
			_, x := rowsOf(t, get(t, source, m+".weight"))
			if top < x {
				top = x
			}
		}
		return top
	}
	const layer = "model.layers.0."
	for folder, scheme := range libraryFolders {
		file := open(t, filepath.Join(root, "ct", folder))
		for _, fused := range []string{"self_attn.q_proj self_attn.k_proj self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj mlp.up_proj", "mlp.down_proj"} {
			var modules []string
			for _, m := range strings.Fields(fused) {
				modules = append(modules, layer+m)
			}
			for _, m := range modules {
				sameParts(t, scheme, get(t, source, m+".weight"), max(modules...), file, m)
			}
		}
	}
}
