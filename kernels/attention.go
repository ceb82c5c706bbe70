package kernels

import "math"

// Attention is causal softmax attention inside documents: query row i is key row first+i and sees the key rows
// max(start[i], first+i-Window+1) ... first+i. Layouts: queries and outputs (N, H, D), keys and values (Nk, K, D),
// log-sum-exps (N, H); query head h reads key head h/(H/K). For one head and row
//
//	S_j = Scale·q·k_j        L = log Σ_j exp S_j        o = Σ_j exp(S_j - L)·v_j
//
// No matrix of queries by keys is ever stored (Dao 2022, 2023).
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
	return lo
}

// rowsAlone is the number of queries up to which Forward takes them one by one: packing the keys would cost more.
const rowsAlone = 8

// Scratch is the number of float32 values of scratch Forward needs for n queries and the given number of key rows.
func (a Attention) Scratch(n, keys int) int {
	if n <= rowsAlone {
		return 0
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
// and Nk >= first+N. A row must see at least itself: start[i] <= first+i. Blocks of keys that no row of a block sees cost
// nothing, so packed documents cost the sum of the squares of their lengths. Outputs do not depend on the number of workers.
func (a Attention) Forward(p *Pool, o, lse, q, k, v []float32, start []int32, first int, scratch []float32) {
	if len(start) <= rowsAlone {
		a.forwardRows(p, o, lse, q, k, v, start, first)
		return
	}
	b := a.blocks(start, len(start), first)
	b.forward(p, o, lse, q, k, v, scratch)
}

// rowBlock is the number of keys whose scores are kept at a time for one query row.
const rowBlock = 128

// forwardRows is Forward for few queries: every (row, key head) is a task and its query heads share the keys.
func (a Attention) forwardRows(p *Pool, o, lse, q, k, v []float32, start []int32, first int) {
	group := a.H / a.K
	p.Run(len(start)*a.K, func(_, task int) {
		i, kv := task/a.K, task%a.K
		for h := kv * group; h < (kv+1)*group; h++ {
			at := (i*a.H + h) * a.D
			l := a.row(o[at:at+a.D], q[at:at+a.D], k, v, kv, a.low(start[i], first+i), first+i+1)
			if lse != nil {
				lse[i*a.H+h] = l
			}
		}
	})
}

// row computes one output row over the keys lo ... hi-1 of one key head and returns its log-sum-exp.
func (a Attention) row(o, q, k, v []float32, kv, lo, hi int) float32 {
	var s [rowBlock]float32
	clear(o)
	m, sum := float32(math.Inf(-1)), 0.0
	for ; lo < hi; lo += rowBlock {
		s := s[:min(rowBlock, hi-lo)]
		for j := range s {
			at := ((lo+j)*a.K + kv) * a.D
			s[j] = a.Scale * Dot(q, k[at:at+a.D])
		}
		if mb := maxNum(s); mb > m {
			c := exp(m - mb)
			sum *= float64(c)
			Scale(o, c, o)
			m = mb
		}
		scaleExp(s, m, 1)
		for j, e := range s {
			at := ((lo+j)*a.K + kv) * a.D
			sum += float64(e)
			Axpy(o, e, v[at:at+a.D])
		}
	}
	Scale(o, float32(1/sum), o)
	return m + float32(math.Log(sum))
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
	b := a.blocks(start, len(start), 0)
	b.backward(p, dq, dk, dv, q, k, v, o, lse, do, scratch)
}
