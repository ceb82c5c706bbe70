package quantize

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"tune/internal/hint"
	"tune/internal/model"
	"tune/internal/tensor"
	"tune/kernels"
)

// A Side of a comparison: a model, what was trained on it (nil: nothing), and the weights that both together have.
type Side struct {
	Model   *model.Model
	Trained model.Trained
	Weights tensor.Source // Hugging Face names
}

// TensorError is how far a tensor of the candidate is from the reference's.
type TensorError struct {
	Name     string  `json:"name"`
	From     string  `json:"from"` // types
	To       string  `json:"to"`
	RMSE     float64 `json:"relative_rmse"` // root of the squared differences over the squared values
	MaxError float64 `json:"max_error"`
	SNR      *Float  `json:"snr_db"` // null: equal
}

// Float keeps few digits in JSON.
type Float float64

// MarshalJSON writes four digits after the point.
func (f Float) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%.4f", float64(f)), nil }

// Divergence compares what two models predict, token by token. Logarithms are natural.
type Divergence struct {
	Tokens    int     `json:"tokens"` // predictions that were compared
	Mean      float64 `json:"kl_mean"`
	MeanError float64 `json:"kl_mean_error"` // standard error
	Median    float64 `json:"kl_median"`
	P999      float64 `json:"kl_p99.9"`
	Max       float64 `json:"kl_max"`
	Top1      float64 `json:"top1_agreement"` // share of tokens with the same likeliest next token
	Reference float64 `json:"perplexity_reference"`
	Candidate float64 `json:"perplexity_candidate"`
	Ratio     float64 `json:"perplexity_ratio"`
	RatioLow  float64 `json:"perplexity_ratio_low"` // bounds of its 95 % confidence interval
	RatioHigh float64 `json:"perplexity_ratio_high"`
}

// stored is the name under which a side keeps a tensor: the head of a tied model is its embedding, unless an adapter has
// untied it.
func (s Side) stored(name string) string {
	if s.Model.Tied && name == headWeight {
		if _, err := s.Weights.Info(name); err != nil {
			return embedWeight
		}
	}
	return name
}

const (
	headWeight  = model.HeadModule + ".weight"
	embedWeight = model.EmbedModule + ".weight"
)

// CompareTensors measures every tensor of the reference against the candidate's. Names that only one side has and shapes
// that differ are an error that lists them.
func CompareTensors(ctx context.Context, ref, cand Side, pool *kernels.Pool) ([]TensorError, error) {
	names := slices.Concat(ref.Weights.Names(), cand.Weights.Names())
	slices.Sort(names)
	names = slices.Compact(names)
	if ref.Model.Tied && cand.Model.Tied {
		names = slices.DeleteFunc(names, func(n string) bool { return n == headWeight })
	}
	var problems []error
	for _, n := range names {
		a, errA := ref.Weights.Info(ref.stored(n))
		b, errB := cand.Weights.Info(cand.stored(n))
		switch {
		case errA != nil:
			problems = append(problems, fmt.Errorf("tensor %s: the reference has none", n))
		case errB != nil:
			problems = append(problems, fmt.Errorf("tensor %s: the candidate has none", n))
		case !slices.Equal(a.Shape, b.Shape):
			problems = append(problems, fmt.Errorf("tensor %s: expected shape %v, found %v", n, a.Shape, b.Shape))
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	out := make([]TensorError, len(names))
	var mu sync.Mutex
	var failed error
	pool.Run(len(names), func(_, i int) {
		if ctx.Err() != nil {
			return
		}
		e, err := compareTensor(names[i], ref, cand)
		if out[i] = e; err != nil {
			mu.Lock()
			failed = cmp.Or(failed, err)
			mu.Unlock()
		}
	})
	return out, cmp.Or(failed, ctx.Err())
}

// compareBlock is the number of values of both sides that one worker holds decoded; a multiple of every type's block.
const compareBlock = 1 << 14

func compareTensor(name string, ref, cand Side) (TensorError, error) {
	e := TensorError{Name: name}
	a, err := ref.Weights.Tensor(ref.stored(name))
	if err != nil {
		return e, err
	}
	b, err := cand.Weights.Tensor(cand.stored(name))
	if err != nil {
		return e, err
	}
	e.From, e.To = a.Type.String(), b.Type.String()
	ra, rb := a.Type.Row(), b.Type.Row()
	if ra.Decode == nil || rb.Decode == nil {
		return e, fmt.Errorf("tensor %s: types %s and %s cannot both be decoded", name, a.Type, b.Type)
	}
	n := a.Elems()
	x, y := make([]float32, min(n, compareBlock)), make([]float32, min(n, compareBlock))
	var off, sum float64
	for i := 0; i < n; i += compareBlock {
		x, y := x[:min(compareBlock, n-i)], y[:min(compareBlock, n-i)]
		ra.Decode(x, a.Data[i/ra.Block*ra.Bytes:])
		rb.Decode(y, b.Data[i/rb.Block*rb.Bytes:])
		for j, v := range x {
			d := float64(y[j]) - float64(v)
			if d != d || d-d != 0 {
				return e, fmt.Errorf("tensor %s: value %s: expected finite numbers, found %v and %v", name, index(a.Shape, i+j), v, y[j])
			}
			off, sum, e.MaxError = off+d*d, sum+float64(v)*float64(v), max(e.MaxError, math.Abs(d))
		}
	}
	if off > 0 {
		e.RMSE = math.Sqrt(off / max(sum, math.SmallestNonzeroFloat64))
		snr := Float(-20 * math.Log10(e.RMSE))
		e.SNR = &snr
	}
	return e, nil
}

// DivergeOptions of Diverge.
type DivergeOptions struct {
	ChunkSize int  // tokens of a piece; predictions of its second half are compared
	Whole     bool // those of all its tokens are
	BOS       int32
	HasBOS    bool // every piece begins with BOS in the place of its first token
	Progress  func(done, total int)
}

// Diverge runs whole pieces of a text through both models and compares their predictions, as llama-perplexity does with
// --kl-divergence. At most a few rows of logits of each model are in memory.
func Diverge(ctx context.Context, ref, cand Side, ids []int32, pool *kernels.Pool, o DivergeOptions) (*Divergence, error) {
	all, err := DivergeAll(ctx, ref, []Side{cand}, ids, pool, o)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// DivergeAll is Diverge of several candidates from one run of the reference.
func DivergeAll(ctx context.Context, ref Side, cands []Side, ids []int32, pool *kernels.Pool, o DivergeOptions) ([]*Divergence, error) {
	chunks := len(ids) / max(o.ChunkSize, 1)
	if o.ChunkSize < 4 || chunks < 1 {
		return nil, hint.Errorf("give more text", "text: expected at least one piece of %d tokens, found %d tokens", o.ChunkSize, len(ids))
	}
	sides, closeAll, err := openForwards(ref, cands, o.ChunkSize, pool)
	defer closeAll()
	if err != nil {
		return nil, err
	}
	all := make([][]prediction, len(cands))
	piece, first := make([]int32, o.ChunkSize), o.ChunkSize/2
	if o.Whole {
		first = 0
	}
	for c := range chunks {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		copy(piece, ids[c*o.ChunkSize:])
		if o.HasBOS {
			piece[0] = o.BOS
		}
		hidden := make([][]float32, len(sides))
		for i, f := range sides {
			if err := f.run(piece); err != nil {
				return nil, err
			}
			hidden[i] = slices.Clone(f.body.Output(0)[first*f.m.C : (o.ChunkSize-1)*f.m.C])
		}
		got, err := predict(sides, hidden, piece[first+1:], pool)
		if err != nil {
			return nil, fmt.Errorf("piece %d: %w", c, err)
		}
		for i := range all {
			all[i] = append(all[i], got[i]...)
		}
		if o.Progress != nil {
			o.Progress(c+1, chunks)
		}
	}
	var out []*Divergence
	for _, p := range all {
		out = append(out, summarize(p))
	}
	return out, nil
}

// SameVocabulary is an error where predictions of s cannot be compared with those of ref.
func (s Side) SameVocabulary(ref Side) error {
	if a, b := ref.Model.V, s.Model.V; a != b {
		return fmt.Errorf("vocabulary: expected %d tokens, found %d", a, b)
	}
	return nil
}

// openForwards prepares a reference and candidates of its vocabulary for pieces of n tokens.
func openForwards(ref Side, cands []Side, n int, pool *kernels.Pool) (list []*forward, closeAll func(), err error) {
	closeAll = func() {
		for _, f := range list {
			f.close()
		}
	}
	for _, s := range slices.Concat([]Side{ref}, cands) {
		if err := s.SameVocabulary(ref); err != nil {
			return list, closeAll, err
		}
		f, err := newForward(s.Model, s.Trained, n, pool, nil)
		if err != nil {
			return list, closeAll, err
		}
		list = append(list, f)
	}
	return list, closeAll, nil
}

// prediction compares the two models at one token.
type prediction struct {
	kl   float64
	nll  [2]float64 // of the token that follows
	same bool       // the likeliest next token
	hit  [2]bool    // the likeliest next token is the one that follows
}

// predict takes hidden states (rows, C) of all sides, the reference first, to predictions of the targets (rows) by candidate.
func predict(sides []*forward, hidden [][]float32, targets []int32, pool *kernels.Pool) ([][]prediction, error) {
	out := make([][]prediction, len(sides)-1)
	for i := range out {
		out[i] = make([]prediction, len(targets))
	}
	v := sides[0].m.V
	for r := 0; r < len(targets); r += headRows {
		n := min(headRows, len(targets)-r)
		var ref []float32
		for i, f := range sides {
			logits, err := f.logits(hidden[i][r*f.m.C : (r+n)*f.m.C])
			if err != nil {
				return nil, err
			}
			if i == 0 {
				ref = logits
				continue
			}
			got := out[i-1][r : r+n]
			pool.Run(n, func(_, k int) {
				got[k] = compareLogits(ref[k*v:(k+1)*v], logits[k*v:(k+1)*v], int(targets[r+k]))
			})
			for k, p := range got {
				if math.IsNaN(p.kl) || math.IsInf(p.kl, 0) || math.IsNaN(p.nll[0]+p.nll[1]) {
					return nil, fmt.Errorf("token %d: expected finite logits", r+k)
				}
			}
		}
	}
	return out, nil
}

func compareLogits(a, b []float32, target int) (p prediction) {
	la, lb := logSum(a), logSum(b)
	topA, topB := 0, 0
	for i := range a {
		pa, pb := float64(a[i])-la, float64(b[i])-lb
		p.kl += math.Exp(pa) * (pa - pb)
		if a[i] > a[topA] {
			topA = i
		}
		if b[i] > b[topB] {
			topB = i
		}
	}
	p.kl = max(p.kl, 0) // rounding of equal distributions
	p.nll = [2]float64{la - float64(a[target]), lb - float64(b[target])}
	p.same, p.hit = topA == topB, [2]bool{topA == target, topB == target}
	return p
}

// logSum is the logarithm of the sum of exponentials.
func logSum(x []float32) float64 {
	most, sum := float64(slices.Max(x)), 0.0
	for _, v := range x {
		sum += math.Exp(float64(v) - most)
	}
	return most + math.Log(sum)
}

// summarize makes statistics of at least one prediction.
func summarize(all []prediction) *Divergence {
	n := float64(len(all))
	d := &Divergence{Tokens: len(all)}
	kl := make([]float64, len(all))
	var nll [2]float64
	var square, ratio, ratioSquare, same float64
	for i, p := range all {
		kl[i] = p.kl
		d.Mean, square = d.Mean+p.kl, square+p.kl*p.kl
		nll[0], nll[1] = nll[0]+p.nll[0], nll[1]+p.nll[1]
		r := p.nll[1] - p.nll[0]
		ratio, ratioSquare = ratio+r, ratioSquare+r*r
		if p.same {
			same++
		}
	}
	slices.Sort(kl)
	d.Mean, square, ratio, ratioSquare = d.Mean/n, square/n, ratio/n, ratioSquare/n
	d.MeanError = math.Sqrt(max(square-d.Mean*d.Mean, 0) / max(n-1, 1))
	d.Median, d.P999, d.Max = quantile(kl, 0.5), quantile(kl, 0.999), kl[len(kl)-1]
	d.Top1 = same / n
	d.Reference, d.Candidate, d.Ratio = math.Exp(nll[0]/n), math.Exp(nll[1]/n), math.Exp(ratio)
	const normal95 = 1.959964 // standard deviations of a 95 % interval
	half := normal95 * math.Sqrt(max(ratioSquare-ratio*ratio, 0)/max(n-1, 1))
	d.RatioLow, d.RatioHigh = math.Exp(ratio-half), math.Exp(ratio+half)
	return d
}

// quantile of sorted values, between neighbours in proportion.
func quantile(x []float64, q float64) float64 {
	at := q * float64(len(x)-1)
	i := int(at)
	if i+1 >= len(x) {
		return x[len(x)-1]
	}
	return x[i] + (at-float64(i))*(x[i+1]-x[i])
}
