package solve

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"tune/internal/grouped"
	"tune/internal/safetensors"
	"tune/internal/testkit"
	"tune/kernels"
)

// variant is what the reference found.
type variant struct {
	Err    float64 `json:"err"`
	Loss   float64 `json:"loss"`
	Margin float64 `json:"smallest_distance_to_a_rounding_boundary"`
}

// sizes of a problem of solver.json, and where its numbers come from.
type sizes struct {
	Name  string `json:"name"`
	Seed  uint64 `json:"seed"`
	Out   int    `json:"out"`
	In    int    `json:"in"`
	Rows  int    `json:"rows_x"`
	Group int    `json:"group"`
}

// problem for GPTQ.
type problem struct {
	sizes
	Bits   int       `json:"bits"`
	Block  int       `json:"block"`
	Damp   float64   `json:"damp"`
	Scale  string    `json:"scale"`
	Ref    float64   `json:"ref_norm"`
	WSum   float64   `json:"W_sum"`
	XSum   float64   `json:"X_sum"`
	UFirst []float64 `json:"U_row0_first"`
	USum   float64   `json:"U_diag_sum"`

	RTN     variant `json:"rtn"`
	Current variant `json:"gptq_current"`
	Lazy    variant `json:"gptq_lazy"`
	Static  variant `json:"gptq_static"`
	Act     variant `json:"gptq_actorder_static"`
	ActRuns variant `json:"gptq_actorder_group"`
}

type awqProblem struct {
	sizes
	Duo    bool      `json:"duo_scaling"`
	Plain  float64   `json:"rtn_asym_loss"`
	Losses []float64 `json:"losses"`
	Best   int       `json:"best_index"`
}

// Tolerances. Codes are compared where the reference came no nearer to a rounding boundary than decidable; otherwise errors are,
// within tolObjective. Scales are float32 here and float64 there.
const (
	decidable    = 1e-7
	tolObjective = 1e-6
	tolScale     = 1e-7
	tolFactor    = 1e-9
	mostTies     = 2
)

// uniform is splitmix64's k-th number, k from 1, as exact multiples of 2^-20.
func uniform(seed uint64, n int) []float64 {
	x := make([]float64, n)
	for k := range x {
		z := seed + uint64(k+1)*0x9E3779B97F4A7C15
		z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
		z = (z ^ z>>27) * 0x94D049BB133111EB
		z ^= z >> 31
		x[k] = float64(z>>44)/(1<<20) - 0.5
	}
	return x
}

// generate makes the weights (out, in) and inputs (rows, in) of a problem.
func generate(seed uint64, out, in, rows int) (w []float32, x []float64) {
	u := uniform(seed, out*in*4)
	w = make([]float32, out*in)
	for i := range w {
		v := (u[4*i] + u[4*i+1] + u[4*i+2] + u[4*i+3]) / 16
		if i%in%37 == 5 {
			v *= 4
		}
		w[i] = float32(v)
	}
	z := uniform(seed+1, rows*(in+3))
	x = make([]float64, rows*in)
	for n := range rows {
		r := z[n*(in+3):]
		for i := range in {
			x[n*in+i] = (r[i+3] + 0.75*r[i+2] + 0.5*r[i+1] + 0.25*r[i]) * math.Pow(2, math.Floor(float64(7*i%13-6)/2))
		}
	}
	return w, x
}

// outputError is the sum of the squares of X·(W-Q)ᵀ.
func outputError(w []float32, l *grouped.Linear, x []float64, rows int) (sum float64) {
	q := make([]float32, l.In)
	for o := range l.Out {
		if l.Scale != nil {
			l.Decode(q, o)
		}
		for n := range rows {
			y := 0.0
			for i, v := range x[n*l.In : (n+1)*l.In] {
				y += v * (float64(w[o*l.In+i]) - float64(q[i]))
			}
			sum += y * y
		}
	}
	return sum
}

func relative(a, b float64) float64 { return math.Abs(a-b) / math.Max(math.Abs(b), 1e-300) }

// open reads what the reference found and generates weights (Out, In) and inputs (Rows, In). Goldens are in the shared folder, some
// of them here too.
func (p *sizes) open(t *testing.T) (found *safetensors.File, w []float32, x []float64) {
	name := p.Name + ".safetensors"
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if errors.Is(err, fs.ErrNotExist) {
		data, err = os.ReadFile(testkit.Shared(t, "gptqgold/solver/"+name))
	}
	if err != nil {
		t.Fatal(err)
	}
	if found, err = safetensors.Parse(p.Name, data); err != nil {
		t.Fatal(err)
	}
	w, x = generate(p.Seed, p.Out, p.In, p.Rows)
	return found, w, x
}

func readProblems(t *testing.T, v any) {
	b, err := os.ReadFile("testdata/solver.json")
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func bytesOf(t *testing.T, f *safetensors.File, name string) []byte {
	x, err := f.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	return x.Data
}

func float64sOf(t *testing.T, f *safetensors.File, name string) []float64 {
	b := bytesOf(t, f, name)
	x := make([]float64, len(b)/8)
	for i := range x {
		x[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
	}
	return x
}

func TestSolverGoldens(t *testing.T) {
	var all struct{ GPTQ []problem }
	readProblems(t, &all)
	pool := kernels.NewPool(0)
	defer pool.Close()
	for _, p := range all.GPTQ {
		t.Run(p.Name, func(t *testing.T) {
			file, w, x := p.open(t)
			sum := 0.0
			for _, v := range x {
				sum += v
			}
			if math.Abs(sum-p.XSum) > 1e-9 {
				t.Fatalf("the generator differs: expected a sum of X of %v, found %v", p.XSum, sum)
			}
			g := NewGram(p.In)
			g.AddExact(x, p.Rows, pool)
			if e := relative(outputError(w, &grouped.Linear{Out: p.Out, In: p.In, Bits: 4, Group: p.Group}, x, p.Rows), p.Ref); e > tolFactor {
				t.Fatalf("norm of the outputs differs by %g", e)
			}
			act := ByActivation(g.Diagonal())
			f, err := NewFactor(g, nil, p.Damp, pool)
			if err != nil {
				t.Fatal(err)
			}
			diag := 0.0
			for i := range p.In {
				diag += f.pivot(p.In - 1 - i)
			}
			if e := relative(diag, p.USum); e > tolFactor {
				t.Errorf("sum of U's diagonal: expected %v, found %v", p.USum, diag)
			}
			for i, want := range p.UFirst {
				if got := f.x[(p.In-1)*f.ld+p.In-1-i]; math.Abs(got-want) > tolFactor {
					t.Errorf("U[0][%d]: expected %v, found %v", i, want, got)
				}
			}
			sorted, err := NewFactor(g, act, p.Damp, pool)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range []struct {
				name   string
				f      *Factor
				when   When
				static bool
				sorted []int32
				want   variant
			}{
				{"rtn", nil, Current, false, nil, p.RTN},
				{"gptq_current", f, Current, false, nil, p.Current},
				{"gptq_lazy", f, Lazy, false, nil, p.Lazy},
				{"gptq_static", f, Current, true, nil, p.Static},
				{"gptq_actorder_static", sorted, Current, true, nil, p.Act},
				{"gptq_actorder_group", sorted, Current, false, act, p.ActRuns},
			} {
				grid := NewInts(p.Out, p.In, IntsOptions{Bits: p.Bits, Group: p.Group, Symmetric: true, Static: v.static, Sorted: v.sorted})
				if p.Scale != "2*max|w|/(2^bits-1)" {
					grid.fit = tieFree(p.Bits)
				}
				if v.static {
					grid.Fix(w)
				}
				loss := 0.0
				if v.f == nil {
					Nearest(w, p.Out, p.In, grid, pool)
				} else {
					loss = v.f.Solve(w, p.Out, grid, v.when, p.Block, pool) / 2
				}
				l := grid.Linear()
				e := outputError(w, l, x, p.Rows)
				different := 0
				codes := bytesOf(t, file, v.name+".codes")
				for i, c := range codes {
					if c != l.Codes[i] {
						different++
					}
				}
				t.Logf("%s: error %.6f, reference %.6f (%.1e), %d other codes, margin %.1e", v.name, e, v.want.Err, relative(e, v.want.Err), different, v.want.Margin)
				order := natural(p.In)
				if v.f == sorted {
					order = act
				}
				ties := 0
				if v.f != nil && v.want.Margin <= decidable {
					ties = tiedRows(t, v.name, l.Codes, codes, order)
				}
				if ties == 0 && (relative(e, v.want.Err) > tolObjective || v.f != nil && relative(loss, v.want.Loss) > tolObjective) {
					t.Errorf("%s: expected error %v and loss %v, found %v and %v", v.name, v.want.Err, v.want.Loss, e, loss)
				}
				if ties == 0 && different > 0 {
					t.Errorf("%s: %d codes differ", v.name, different)
				}
				for i, s := range float64sOf(t, file, v.name+".scales") {
					if ties == 0 && relative(float64(l.Scale[i]), s) > tolScale {
						t.Errorf("%s: scale %d: expected %v, found %v", v.name, i, s, l.Scale[i])
						break
					}
				}
			}
			if !slices.Equal(act, int32sOf(bytesOf(t, file, "perm"))) {
				t.Error("another order of the columns")
			}
		})
	}
}

// tiedRows counts the rows that differ because a weight lay on the boundary of the two lowest codes within the last bit: there,
// and only there, the first code in the order of rounding is 0 in one and 1 in the other. More than mostTies are no accident.
func tiedRows(t *testing.T, name string, got, want []uint8, order []int32) (ties int) {
	in := len(order)
	for r := range len(got) / in {
		a, b := got[r*in:(r+1)*in], want[r*in:(r+1)*in]
		first := slices.IndexFunc(order, func(c int32) bool { return a[c] != b[c] })
		if first < 0 {
			continue
		}
		if c := order[first]; a[c]+b[c] != 1 {
			t.Errorf("%s: row %d: the first other code is %d, expected %d", name, r, a[c], b[c])
		}
		ties++
	}
	if ties > mostTies {
		t.Errorf("%s: %d rows differ", name, ties)
	}
	return ties
}

func int32sOf(b []byte) []int32 {
	x := make([]int32, len(b)/4)
	for i := range x {
		x[i] = int32(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return x
}

// tieFree scales put the largest weight on a code.
func tieFree(bits int) func(w, weight []float64) (float64, float64) {
	return func(w, _ []float64) (float64, float64) {
		most := 0.0
		for _, v := range w {
			most = max(most, math.Abs(v))
		}
		return most / float64(int(1)<<(bits-1)-1), float64(int(1) << (bits - 1))
	}
}

func TestAWQGoldens(t *testing.T) {
	var all struct{ AWQ []awqProblem }
	readProblems(t, &all)
	pool := kernels.NewPool(0)
	defer pool.Close()
	for _, p := range all.AWQ {
		kind := map[bool]string{true: "duo", false: "plain"}[p.Duo]
		t.Run(p.Name+" "+kind, func(t *testing.T) {
			file, w, x := p.open(t)
			g := NewGram(p.In)
			g.AddExact(x, p.Rows, pool)
			mean := make([]float64, p.In)
			for i, v := range x {
				mean[i%p.In] += math.Abs(v) / float64(p.Rows)
			}
			grid := IntsOptions{Bits: 4, Group: p.Group}
			s := SearchScale([]Weights{{w, p.Out}}, g, mean, ScaleOptions{Grid: grid, Plain: !p.Duo, Exact: true}, pool)
			if s.Best != p.Best || relative(s.Identity, p.Plain) > tolObjective {
				t.Errorf("expected point %d and loss %v of the identity, found %d and %v", p.Best, p.Plain, s.Best, s.Identity)
			}
			for i, want := range p.Losses {
				if relative(s.Losses[i], want) > tolObjective {
					t.Errorf("loss %d: expected %v, found %v (%.1e)", i, want, s.Losses[i], relative(s.Losses[i], want))
				}
			}
			for i, want := range float64sOf(t, file, kind+".awq_scales") {
				if relative(s.Scale[i], want) > tolFactor {
					t.Fatalf("scale of input %d: expected %v, found %v", i, want, s.Scale[i])
				}
			}
			for i := range w {
				w[i] = float32(float64(w[i]) * s.Scale[i%p.In])
			}
			ints := NewInts(p.Out, p.In, grid)
			Nearest(w, p.Out, p.In, ints, pool)
			l := ints.Linear()
			if !slices.Equal(l.Codes, bytesOf(t, file, kind+".codes")) || !slices.Equal(l.Zero, bytesOf(t, file, kind+".zeros")) {
				t.Error("codes or zeros of the scaled weights differ")
			}
		})
	}
}
