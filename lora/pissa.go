package lora

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"tune/internal/rng"
	"tune/kernels"
)

// Rounds of the subspace iteration. A new adapter does not need the exact singular vectors, because what its A and B hold is
// taken out of the base whatever they are; reading another program's adapter needs the base that program had.
const (
	pissaRounds = 4
	exactRounds = 500
)

// pissa puts the strongest directions of each adapted weight into A and B and leaves the rest in the base:
// W = U S Vt, B = U_r sqrt(S_r / scale), A = sqrt(S_r / scale) V_r^T, base = W - scale B A.
func (a *Adapter) pissa(rounds int) error {
	a.frozen = map[string]kernels.Matrix{}
	work := make(chan *attached)
	rest := make([][]float32, len(a.order))
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) { // each module is computed by one goroutine: the number of them changes nothing
		wg.Go(func() {
			for x := range work {
				w, _ := a.model.Matrix(x.Name + ".weight")
				rest[slices.Index(a.order, x.Name)] = x.split(floats(w), a.Data(x.a), a.Data(x.b), rounds)
			}
		})
	}
	var err error
	for _, name := range a.order {
		x := a.modules[name]
		if x.rank > min(x.Out, x.In) {
			err = fmt.Errorf("lora: rank: %s: expected at most %d for pissa, found %d", name, min(x.Out, x.In), x.rank)
			break
		}
		if _, ok := a.model.Matrix(name + ".weight"); !ok {
			err = fmt.Errorf("lora: the model has no weights %s", name)
			break
		}
		work <- x
	}
	close(work)
	wg.Wait()
	if err != nil {
		return err
	}
	for i, name := range a.order {
		x := a.modules[name]
		x.a0, x.b0 = slices.Clone(a.Data(x.a)), slices.Clone(a.Data(x.b))
		a.frozen[name+".weight"] = kernels.Floats(rest[i], x.Out, x.In)
	}
	return nil
}

// split fills A (R, in) and B (out, R) from w (out, in) and returns w - scale B A.
func (x *attached) split(w, first, second []float32, rounds int) []float32 {
	s, u, v := topSVD(w, x.Out, x.In, x.rank, rounds)
	for r := range x.rank {
		f := math.Sqrt(s[r] / x.scale)
		for i := range x.In {
			first[r*x.In+i] = float32(f * v[r][i])
		}
		for o := range x.Out {
			second[o*x.rank+r] = float32(f * u[r][o])
		}
	}
	for o := range x.Out {
		row := w[o*x.In:][:x.In]
		for i := range row {
			var d float64
			for r := range x.rank {
				d += float64(second[o*x.rank+r]) * float64(first[r*x.In+i])
			}
			row[i] = float32(float64(row[i]) - x.scale*d)
		}
	}
	return w
}

// topSVD returns the r greatest singular values of w (m, n) with their left (m) and right (n) vectors, by subspace iteration
// with Rayleigh-Ritz (Halko, Martinsson and Tropp 2011, "Finding structure with randomness", section 4.5). It ends early
// when the values no longer change.
func topSVD(w []float32, m, n, r, rounds int) (s []float64, u, v [][]float64) {
	b := min(m, n, r+max(r, 16))
	random := rng.New(0, "subspace")
	q := make([][]float64, b) // b rows of n
	for k := range q {
		q[k] = make([]float64, n)
		for i := range q[k] {
			q[k][i] = random.Norm(uint64(k*n + i))
		}
	}
	orthonormal(q)
	const settled = 1e-15 // relative change of the sum of squares; the angle's error is its square root
	for last := 0.0; ; rounds-- {
		y := apply(w, m, n, q)
		orthonormal(y)
		q = applyT(w, m, n, y)
		values, rotation := eigen(gram(q)) // q rows are W^T y: q q^T = R diag(s^2) R^T
		var sum float64
		for _, x := range values[:r] {
			sum += x
		}
		if rounds <= 1 || math.Abs(sum-last) <= settled*sum {
			return ritz(values[:r], rotation, y, q)
		}
		last = sum
		orthonormal(q)
	}
}

// ritz turns a subspace's basis into singular vectors.
func ritz(values []float64, rotation, y, q [][]float64) (s []float64, u, v [][]float64) {
	for k, x := range values {
		s = append(s, math.Sqrt(max(x, 0)))
		u = append(u, combine(rotation[k], y))
		row := combine(rotation[k], q)
		if s[k] > 0 {
			for i := range row {
				row[i] /= s[k]
			}
		}
		v = append(v, row)
	}
	return s, u, v
}

// fourRows calls f with rows o to o+3 of w (m, n) widened to float64; rows beyond the end are zero. Working on four rows at a
// time gives the loops below independent sums and a quarter of the memory traffic.
func fourRows(w []float32, m, n int, f func(o int, r *[4][]float64)) {
	var r [4][]float64
	for k := range r {
		r[k] = make([]float64, n)
	}
	for o := 0; o < m; o += 4 {
		for k := range r {
			if o+k >= m {
				clear(r[k])
				continue
			}
			for i, v := range w[(o+k)*n:][:n] {
				r[k][i] = float64(v)
			}
		}
		f(o, &r)
	}
}

// apply gives w x for each row x (n) of q, as rows of m.
func apply(w []float32, m, n int, q [][]float64) [][]float64 {
	y := make([][]float64, len(q))
	for k := range y {
		y[k] = make([]float64, (m+3)/4*4)
	}
	fourRows(w, m, n, func(o int, r *[4][]float64) {
		a, b, c, d := r[0], r[1], r[2], r[3]
		for k, x := range q {
			var s [4]float64
			x = x[:n] // with the lengths known to be equal no index is checked
			a, b, c, d := a[:len(x)], b[:len(x)], c[:len(x)], d[:len(x)]
			for i, v := range x {
				s[0] += a[i] * v
				s[1] += b[i] * v
				s[2] += c[i] * v
				s[3] += d[i] * v
			}
			copy(y[k][o:], s[:])
		}
	})
	for k := range y {
		y[k] = y[k][:m]
	}
	return y
}

// applyT gives wT x for each row x (m) of y, as rows of n.
func applyT(w []float32, m, n int, y [][]float64) [][]float64 {
	q := make([][]float64, len(y))
	for k := range q {
		q[k] = make([]float64, n)
	}
	fourRows(w, m, n, func(o int, r *[4][]float64) {
		a, b, c, d := r[0], r[1], r[2], r[3]
		for k, x := range y {
			var f [4]float64
			copy(f[:], x[o:])
			dst := q[k]
			a, b, c, d := a[:len(dst)], b[:len(dst)], c[:len(dst)], d[:len(dst)]
			for i := range dst {
				dst[i] += f[0]*a[i] + f[1]*b[i] + f[2]*c[i] + f[3]*d[i]
			}
		}
	})
	return q
}

func dot(x, y []float64) (s float64) {
	for i := range x {
		s += x[i] * y[i]
	}
	return s
}

// orthonormal makes the rows orthonormal (Gram and Schmidt, twice; a row without a direction of its own becomes zero).
func orthonormal(q [][]float64) {
	for k, x := range q {
		before := math.Sqrt(dot(x, x))
		for range 2 {
			for _, y := range q[:k] {
				f := dot(x, y)
				for i := range x {
					x[i] -= f * y[i]
				}
			}
		}
		f := 0.0
		if norm := math.Sqrt(dot(x, x)); norm > 1e-14*before {
			f = 1 / norm
		}
		for i := range x {
			x[i] *= f
		}
	}
}

func gram(q [][]float64) [][]float64 {
	g := make([][]float64, len(q))
	for i := range q {
		g[i] = make([]float64, len(q))
		for j := range i + 1 {
			g[i][j] = dot(q[i], q[j])
			g[j][i] = g[i][j]
		}
	}
	return g
}

func combine(f []float64, rows [][]float64) []float64 {
	out := make([]float64, len(rows[0]))
	for k, row := range rows {
		for i := range row {
			out[i] += f[k] * row[i]
		}
	}
	return out
}

// eigen gives the eigenvalues of a symmetric matrix, greatest first, and their vectors as rows (cyclic Jacobi rotations).
// It uses g as its work space.
func eigen(g [][]float64) ([]float64, [][]float64) {
	n := len(g)
	v := make([][]float64, n)
	for i := range v {
		v[i] = make([]float64, n)
		v[i][i] = 1
	}
	for range 30 { // sweeps; convergence is quadratic and takes about six
		var off, diag float64
		for i := range n {
			diag += g[i][i] * g[i][i]
			for j := range i {
				off += g[i][j] * g[i][j]
			}
		}
		if off <= 1e-34*diag {
			break
		}
		for p := range n {
			for q := range p {
				rotate(g, v, p, q)
			}
		}
	}
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case g[a][a] > g[b][b]:
			return -1
		case g[a][a] < g[b][b]:
			return 1
		}
		return 0
	})
	values, vectors := make([]float64, n), make([][]float64, n)
	for i, k := range order {
		values[i], vectors[i] = g[k][k], v[k]
	}
	return values, vectors
}

// rotate makes g[p][q] zero.
func rotate(g, v [][]float64, p, q int) {
	if g[p][q] == 0 {
		return
	}
	theta := (g[q][q] - g[p][p]) / (2 * g[p][q])
	t := 1 / (math.Abs(theta) + math.Sqrt(theta*theta+1))
	if theta < 0 {
		t = -t
	}
	c := 1 / math.Sqrt(t*t+1)
	s := t * c
	for k := range g {
		a, b := g[k][p], g[k][q]
		g[k][p], g[k][q] = c*a-s*b, s*a+c*b
	}
	for k := range g {
		a, b := g[p][k], g[q][k]
		g[p][k], g[q][k] = c*a-s*b, s*a+c*b
		a, b = v[p][k], v[q][k]
		v[p][k], v[q][k] = c*a-s*b, s*a+c*b
	}
}
