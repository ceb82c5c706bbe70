package kernels

// matMulPlain is the loop MatMul replaces: the reference of the tests, one output element after the other.
func matMulPlain(x *Product) {
	for i := range x.Outs {
		o := &x.Outs[i]
		b, v := expand(&o.B, o.Rowwise), []float32(nil)
		if o.R > 0 {
			v = expand(&o.V, o.Rowwise)
		}
		for m := range x.M {
			for n := range o.N {
				s := float32(0)
				for k := range x.K {
					if x.TransA {
						s += x.A[k*x.M+m] * b[n*x.K+k]
					} else {
						s += x.A[m*x.K+k] * b[n*x.K+k]
					}
				}
				s *= o.scale()
				for r := range o.R {
					s += o.U[m*o.R+r] * v[n*o.R+r]
				}
				if o.Add != nil {
					s += o.Add[m*o.N+n]
				}
				if o.Bias != nil {
					s += o.Bias[n]
				}
				o.C[m*o.N+n] = s
			}
		}
	}
}

// expand decodes m to float32, transposed when asked.
func expand(m *Matrix, transpose bool) []float32 {
	x := make([]float32, m.Rows*m.Cols)
	row := make([]float32, m.Cols+m.Block)
	for r := range m.Rows {
		src, skip := m.span(r, 0, m.Cols)
		d := row[:(m.Cols+m.Block-1)/m.Block*m.Block]
		m.F32(d, src)
		for c, e := range d[skip : skip+m.Cols] {
			if transpose {
				x[c*m.Rows+r] = e
			} else {
				x[r*m.Cols+c] = e
			}
		}
	}
	return x
}
