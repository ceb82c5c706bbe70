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

// check panics unless the slices fit n query rows, keys key rows and each other.
func (a Attention) check(n, keys int, queries, rows, heads [][]float32) {
	if a.H <= 0 || a.K <= 0 || a.D <= 0 || a.H%a.K != 0 {
		panic("kernels: Attention: H must be a positive multiple of K, and D positive")
	}
	for size, set := range map[int][][]float32{n * a.H * a.D: queries, keys * a.K * a.D: rows, n * a.H: heads} {
		for _, x := range set {
			if x != nil && len(x) < size {
				panic("kernels: Attention: a slice is shorter than its shape")
			}
		}
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
	a.check(len(start), first+len(start), [][]float32{o, q}, [][]float32{k, v}, [][]float32{lse})
	if len(start) <= rowsAlone {
		a.forwardCached(p, o, lse, q, k, v, start, first, scratch)
		return
	}
	b := a.blocks(start, len(start), first)
	b.forward(p, o, lse, q, k, v, scratch)
}

// Backward computes dq (N, H, D), dk and dv (N, K, D), each written and each optional (nil), from the inputs and
// outputs of Forward with first = 0 and the gradient do (N, H, D) of o. With P = exp(S - L), Δ = Σ_d do·o:
//
//	dv_j = Σ_i P_ij·do_i        dS_ij = P_ij·(do_i·v_j - Δ_i)
//	dq_i = Scale·Σ_j dS_ij·k_j        dk_j = Scale·Σ_i dS_ij·q_i
func (a Attention) Backward(p *Pool, dq, dk, dv, q, k, v, o, lse, do []float32, start []int32, scratch []float32) {
	if len(start) == 0 {
		return
	}
	a.check(len(start), len(start), [][]float32{dq, q, o, do}, [][]float32{dk, dv, k, v}, [][]float32{lse})
	b := a.blocks(start, len(start), 0)
	b.backward(p, dq, dk, dv, q, k, v, o, lse, do, scratch)
}
