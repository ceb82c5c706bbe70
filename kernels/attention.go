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

// Scratch is the number of float32 values of scratch Forward needs for n queries and the given number of keys.
func (a Attention) Scratch(n, keys int) int { return 0 }

// BackwardScratch is the number of float32 values of scratch Backward needs for n tokens.
func (a Attention) BackwardScratch(n int) int { return n * a.H }

// Forward computes o (N, H, D) and, if not nil, lse (N, H) from q (N, H, D), k and v (Nk, K, D) with N = len(start)
// and Nk >= first+N. Outputs do not depend on the number of workers.
func (a Attention) Forward(p *Pool, o, lse, q, k, v []float32, start []int32, first int, scratch []float32) {
	a.forwardRows(p, o, lse, q, k, v, start, first)
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
		if mb := maxOf(s); mb > m || mb != mb {
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
	group := a.H / a.K
	for _, x := range [][]float32{dq, dk, dv} {
		clear(x)
	}
	p.Run(a.K, func(_, kv int) {
		for i := range start {
			for h := kv * group; h < (kv+1)*group; h++ {
				at := (i*a.H + h) * a.D
				a.rowBackward(dq, dk, dv, q[at:at+a.D], k, v, do[at:at+a.D], Dot(do[at:at+a.D], o[at:at+a.D]), lse[i*a.H+h],
					at, kv, a.low(start[i], i), i+1)
			}
		}
	})
}

// rowBackward adds what one query row and head gives to dq, dk and dv; delta is Σ_d do·o.
func (a Attention) rowBackward(dq, dk, dv, q, k, v, do []float32, delta, lse float32, at, kv, lo, hi int) {
	for j := lo; j < hi; j++ {
		to := (j*a.K + kv) * a.D
		kj := k[to : to+a.D]
		p := exp(a.Scale*Dot(q, kj) - lse)
		ds := a.Scale * p * (Dot(do, v[to:to+a.D]) - delta)
		if dq != nil {
			Axpy(dq[at:at+a.D], ds, kj)
		}
		if dk != nil {
			Axpy(dk[to:to+a.D], ds, q)
		}
		if dv != nil {
			Axpy(dv[to:to+a.D], p, do)
		}
	}
}
