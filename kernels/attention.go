package kernels

// Attention is causal softmax attention inside documents: query row i is key row first+i and sees the key rows
// max(start[i], first+i-Window+1) ... first+i. Layouts: queries and outputs (N, H, D), keys and values (Nk, K, D),
// log-sum-exps (N, H); query head h reads key head h/(H/K). For one head and row
//
//	S_j = Scale·q·k_j        L = log Σ_j exp S_j        o = Σ_j exp(S_j - L)·v_j
//
// No matrix of queries by keys is ever stored (Dao et al. 2022). A NaN or infinity in a row of k or v may also reach queries that
// do not see the row: the products are taken in blocks and what is hidden is multiplied by zero.
type Attention struct {
	H, K, D int     // query heads, key/value heads (H a multiple of K), width of a head
	Scale   float32 // usually 1/√D
	Window  int     // keys a query sees at most; 0: all
	Exact   bool    // float32 arithmetic; else products of bfloat16 inputs where the CPU has them
}

// low returns the first key row that the query at key row i sees.
func (a Attention) low(start int32, i int) int {
	lo := int(start)
	if a.Window > 0 {
		lo = max(lo, i-a.Window+1)
	}
	return max(0, min(lo, i))
}

// check panics unless the slices, where not nil, hold n query rows and keys key rows.
func (a Attention) check(n, keys int, o, q, lse, k, v []float32) {
	if a.H <= 0 || a.K <= 0 || a.D <= 0 || a.H%a.K != 0 {
		panic("kernels: Attention: H must be a positive multiple of K, and D positive")
	}
	short := func(x []float32, n int) bool { return x != nil && len(x) < n }
	if short(o, n*a.H*a.D) || short(q, n*a.H*a.D) || short(lse, n*a.H) || short(k, keys*a.K*a.D) || short(v, keys*a.K*a.D) {
		panic("kernels: Attention: a slice is shorter than its shape")
	}
}

// Scratch is the number of float32 values of scratch Forward needs for n queries and the given number of key rows.
func (a Attention) Scratch(n, keys int) int {
	if n <= rowsAlone {
		return a.cachedScratch(n, keys)
	}
	b := a.blocks(nil, n, keys-n)
	return b.forwardScratch()
}

// BackwardScratch is the number of float32 values of scratch Backward needs for n tokens.
func (a Attention) BackwardScratch(n int) int {
	b := a.blocks(nil, n, 0)
	return b.backwardScratch()
}

// Forward computes o (N, H, D) and, if not nil, lse (N, H) from q (N, H, D), k and v (Nk, K, D) with N = len(start)
// and Nk >= first+N. A row sees at least itself, whatever start says. Blocks of keys that no row of a block sees cost
// nothing, so packed documents cost the sum of the squares of their lengths. Outputs do not depend on the number of workers.
func (a Attention) Forward(p *Pool, o, lse, q, k, v []float32, start []int32, first int, scratch []float32) {
	a.check(len(start), first+len(start), o, q, lse, k, v)
	if len(start) == 0 {
		return
	}
	x := a.begin(p, start, first)
	defer x.end()
	x.q, x.k, x.v, x.o, x.lse = q, k, v, o, lse
	if len(start) <= rowsAlone {
		x.forwardCached(scratch)
	} else {
		x.forward(scratch)
	}
}

// Backward computes dq (N, H, D), dk and dv (N, K, D), each written and each optional (nil), from the inputs and
// outputs of Forward with first = 0 and the gradient do (N, H, D) of o. With P = exp(S - L), Δ = Σ_d do·o:
//
//	dv_j = Σ_i P_ij·do_i        dS_ij = P_ij·(do_i·v_j - Δ_i)
//	dq_i = Scale·Σ_j dS_ij·k_j        dk_j = Scale·Σ_i dS_ij·q_i
func (a Attention) Backward(p *Pool, dq, dk, dv, q, k, v, o, lse, do []float32, start []int32, scratch []float32) {
	a.check(len(start), len(start), o, q, lse, k, v)
	a.check(len(start), len(start), dq, do, nil, dk, dv)
	if len(start) == 0 {
		return
	}
	x := a.begin(p, start, 0)
	defer x.end()
	x.q, x.k, x.v, x.o, x.lse = q, k, v, o, lse
	x.do, x.dq, x.dk, x.dv = do, dq, dk, dv
	x.backward(scratch)
}
