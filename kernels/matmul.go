package kernels

// A Product is one or more matrix products that share A (queries, keys and values of one input; gate and up):
//
//	C_i = Scale_i·A·B_iᵀ + Add_i + Bias_i + U_i·V_iᵀ
//
// Operands are rounded to bf16 and sums kept in float32 where the CPU multiplies bf16, unless Exact; elsewhere all is float32.
type Product struct {
	M, K   int
	A      []float32 // (M, K), or (K, M) with TransA
	TransA bool
	Exact  bool // float32 arithmetic
	// Blocked keeps few rows from going the way of generation, which adds up in another order: a row of C has the same bits however
	// many rows there are.
	Blocked bool
	// Kept is a product of the same A, unchanged since, whose scratch is as its MatMul left it; it may be this one. A is not packed
	// again where both go the same way. nil: none.
	Kept *Product
	Outs []Out

	packed packing // what MatMul left in scratch
}

// An Out is one product of a Product.
type Out struct {
	N       int
	C       []float32 // (M, N)
	B       Matrix    // (N, K): C = A·Bᵀ. With Rowwise (K, N): C = A·B
	Rowwise bool
	Scale   float32   // of A·B alone; 0 means 1
	Add     []float32 // (M, N), may be C itself (to accumulate); nil: none
	Bias    []float32 // (N) or nil
	// Low-rank term: + U·Vᵀ with U (M, R) and V (N, R), or U·V with V (R, N) when Rowwise. R 0: none.
	U []float32
	V Matrix
	R int
}

// scale is Scale with its default.
func (o *Out) scale() float32 {
	if o.Scale == 0 {
		return 1
	}
	return o.Scale
}

// check panics when the slices of x do not fit its sizes.
func (x *Product) check() {
	if x.M < 0 || x.K < 0 || len(x.A) < x.M*x.K {
		panic("kernels: MatMul: A shorter than M x K")
	}
	for i := range x.Outs {
		o := &x.Outs[i]
		if o.N < 0 || len(o.C) < x.M*o.N {
			panic("kernels: MatMul: C shorter than M x N")
		}
		if o.Add != nil && len(o.Add) < x.M*o.N || o.Bias != nil && len(o.Bias) < o.N {
			panic("kernels: MatMul: Add or Bias too short")
		}
		rows, cols := o.N, x.K
		if o.Rowwise {
			rows, cols = cols, rows
		}
		o.B.check("MatMul: B", rows, cols)
		if o.R == 0 {
			continue
		}
		if len(o.U) < x.M*o.R {
			panic("kernels: MatMul: U shorter than M x R")
		}
		rows, cols = o.N, o.R
		if o.Rowwise {
			rows, cols = cols, rows
		}
		o.V.check("MatMul: V", rows, cols)
	}
}
