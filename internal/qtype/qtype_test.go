package qtype

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"tune/internal/testkit"
	"tune/kernels"
)

func readJSON(t testing.TB, path string, v any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func hash(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

func hashFloats(x []float32) string {
	b := make([]byte, 4*len(x))
	encodeF32(b, x)
	return hash(b)
}

func decode(t testing.TB, ty Type, b []byte) []float32 {
	t.Helper()
	r := ty.Row()
	if len(b)%r.Bytes != 0 {
		t.Fatalf("%s: %d bytes are not whole blocks", ty, len(b))
	}
	x := make([]float32, len(b)/r.Bytes*r.Block)
	r.Decode(x, b)
	return x
}

// checkBF16 compares a type's BF16 decoder with what Decode gives, rounded. NaN may be any NaN.
func checkBF16(t *testing.T, ty Type, b []byte) {
	t.Helper()
	f := ty.Row().DecodeBF16
	if f == nil {
		return
	}
	x := decode(t, ty, b)
	got, want := make([]uint16, len(x)), make([]uint16, len(x))
	f(got, b)
	kernels.BF16FromF32(want, x)
	for i := range got {
		if got[i] != want[i] && (x[i] == x[i] || got[i]&0x7fff <= 0x7f80) {
			t.Errorf("%s: BF16 of value %d, %g: %#04x, want %#04x", ty, i, x[i], got[i], want[i])
			return
		}
	}
}

// Random bytes, so also codes no quantizer writes: bit-equal to ggml. The BF16 decoder of each type, where it has one,
// rounds what Decode gives.
func TestDecodeRandomBlocks(t *testing.T) {
	var list []struct {
		Type          string
		Offset, Bytes int
		Decoded       string `json:"decoded_sha256"`
	}
	readJSON(t, "testdata/random_blocks.json", &list)
	data, err := os.ReadFile("testdata/random_blocks.bin")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[Type]bool{F32: true, F64: true, F8_E4M3: true, F8_E5M2: true} // tested elsewhere
	for _, e := range list {
		ty, err := ParseType(e.Type)
		if err != nil {
			t.Fatal(err)
		}
		seen[ty] = true
		b := data[e.Offset:][:e.Bytes]
		x := decode(t, ty, b)
		if hashFloats(x) != e.Decoded {
			t.Errorf("%s: decoded values differ from the reference", ty)
		}
		checkBF16(t, ty, b)
	}
	for _, ty := range All() {
		if ty.Row().Decode != nil && !seen[ty] && !memoryType(ty) {
			t.Errorf("%s: no golden blocks", ty)
		}
	}
}

// memoryType tells whether no file has a type; TestMemoryTypes is theirs.
func memoryType(ty Type) bool { return ty.Row().GGUF < 0 && ty.Row().SafeTensors == "" }

type result struct {
	Type, Case, Imp string
	Rows, Cols      int
	SHA256          string
	Decoded         string `json:"decoded_sha256"`
	File            string
	Offset, Bytes   int
}

// encode is what a caller does: the weighted encoder where there is importance and the type uses it. false: no encoder.
func encode(t testing.TB, ty Type, x, importance []float32, cols int) ([]byte, bool) {
	t.Helper()
	n, err := ty.RowBytes(cols)
	if err != nil {
		t.Fatal(err)
	}
	b, row := make([]byte, len(x)/cols*int(n)), ty.Row()
	switch {
	case importance != nil && row.EncodeWeighted != nil:
		row.EncodeWeighted(b, x, importance)
	case row.Encode != nil:
		row.Encode(b, x)
	default:
		return nil, false
	}
	return b, true
}

func (r result) check(t *testing.T, ty Type) bool {
	t.Helper()
	b, ok := encode(t, ty, generate(t, r.Case, r.Rows, r.Cols), generateImportance(t, r.Imp, r.Cols), r.Cols)
	if !ok {
		return false
	}
	if hash(b) != r.SHA256 {
		t.Errorf("%s %s %dx%d importance %q: encoded bytes differ from the reference", r.Type, r.Case, r.Rows, r.Cols, r.Imp)
	} else if r.Decoded != "" && hashFloats(decode(t, ty, b)) != r.Decoded {
		t.Errorf("%s %s %dx%d importance %q: decoded values differ from the reference", r.Type, r.Case, r.Rows, r.Cols, r.Imp)
	}
	return true
}

// Encoded bytes and what they decode to, equal to the reference for matrices of every kind.
func TestEncode(t *testing.T) {
	var list []result
	readJSON(t, "testdata/encoded.json", &list)
	seen := map[Type]bool{F32: true}
	for _, r := range list {
		ty, err := ParseType(r.Type)
		if err != nil {
			t.Fatal(err)
		}
		if r.check(t, ty) {
			seen[ty] = true
		}
	}
	for _, ty := range All() {
		if r := ty.Row(); (r.Encode != nil || r.EncodeWeighted != nil) && !seen[ty] {
			t.Errorf("%s: no golden bytes", ty)
		}
	}
}

// All results of the shared goldens: encoders on every shape, decoders on everything the reference quantized.
func TestAllRows(t *testing.T) {
	dir := testkit.Shared(t, "quant/rows")
	var index struct{ Results []result }
	readJSON(t, filepath.Join(dir, "index.json"), &index)
	files, checked := map[string][]byte{}, 0
	for _, r := range index.Results {
		ty, err := ParseType(r.Type)
		if err != nil {
			t.Fatal(err)
		}
		if !r.check(t, ty) {
			t.Errorf("%s: no encoder for importance %s", ty, r.Imp)
		}
		checked++
		if ty.Row().Decode == nil || r.File == "" {
			continue
		}
		if files[r.File] == nil {
			if files[r.File], err = os.ReadFile(filepath.Join(dir, filepath.FromSlash(r.File))); err != nil {
				t.Fatal(err)
			}
		}
		b := files[r.File][r.Offset:][:r.Bytes]
		checkBF16(t, ty, b)
		if r.Decoded != "" && hashFloats(decode(t, ty, b)) != r.Decoded {
			t.Errorf("%s %s %dx%d importance %s: decoded values differ from the reference", r.Type, r.Case, r.Rows, r.Cols, r.Imp)
		}
		checked++
	}
	if checked < 5919 { // results of the index
		t.Errorf("only %d results were compared", checked)
	}
}

// 8-bit floats by their definition.
func TestFloat8(t *testing.T) {
	for _, c := range []struct {
		t    Type
		bits byte
		want float32
	}{
		{F8_E4M3, 0x00, 0}, {F8_E4M3, 0x01, 0x1p-9}, {F8_E4M3, 0x07, 7 * 0x1p-9}, {F8_E4M3, 0x08, 0x1p-6}, {F8_E4M3, 0x38, 1}, {F8_E4M3, 0xb9, -1.125},
		{F8_E4M3, 0x7e, 448}, {F8_E5M2, 0x01, 0x1p-16}, {F8_E5M2, 0x3c, 1}, {F8_E5M2, 0xbd, -1.25}, {F8_E5M2, 0x7b, 57344}, {F8_E5M2, 0x7c, float32(math.Inf(1))},
	} {
		if got := decode(t, c.t, []byte{c.bits})[0]; got != c.want {
			t.Errorf("%s %#02x: %v, want %v", c.t, c.bits, got, c.want)
		}
	}
	if x := decode(t, F8_E4M3, []byte{0x7f, 0xff}); x[0] == x[0] || x[1] == x[1] {
		t.Errorf("%v, want NaN", x)
	}
	if x := decode(t, F64, []byte{0, 0, 0, 0, 0, 0, 0xf8, 0xbf}); x[0] != -1.5 {
		t.Errorf("%v, want -1.5", x)
	}
}

func TestTable(t *testing.T) {
	for _, ty := range All() {
		r := ty.Row()
		if r.Name == "" || r.Block == 0 || r.Bytes == 0 {
			t.Errorf("type %d: row %+v", ty, r)
		}
		if got, err := ParseType(ty.String()); err != nil || got != ty {
			t.Errorf("%s is parsed as %s, %v", ty, got, err)
		}
		if r.GGUF >= 0 {
			if got, err := FromGGUF(uint32(r.GGUF)); err != nil || got != ty {
				t.Errorf("GGUF number %d of %s is %s, %v", r.GGUF, ty, got, err)
			}
		}
		if r.SafeTensors != "" {
			if got, err := FromSafeTensors(r.SafeTensors); err != nil || got != ty {
				t.Errorf("dtype %s of %s is %s, %v", r.SafeTensors, ty, got, err)
			}
		}
		if (r.Encode == nil && r.EncodeWeighted != nil) != r.NeedsImportance {
			t.Errorf("%s: needs importance: %t", ty, r.NeedsImportance)
		}
		if c := ty.Codec(); (c == nil) != (r.Decode == nil) || c != nil && (c.Block != r.Block || c.Bytes != r.Bytes || c != ty.Codec()) {
			t.Errorf("%s: codec %+v", ty, c)
		}
	}
	if n, err := Q4_K.RowBytes(512); n != 288 || err != nil {
		t.Errorf("a Q4_K row of 512 takes %d bytes, %v", n, err)
	}
	if _, err := Q8_0.RowBytes(33); err == nil {
		t.Error("a Q8_0 row of 33 was accepted")
	}
	if _, err := FromGGUF(4); err == nil {
		t.Error("retired type 4 was accepted")
	}
}
