package quantize

import (
	"io"
	"math"
	"testing"

	"tune/internal/testkit"
	"tune/kernels"
)

// document makes one of n tokens whose labels follow from a rule.
func document(n int, seed int32, label func(i int) int32) *Documents {
	d := &Documents{}
	for i := range n {
		d.IDs, d.Pos, d.Start = append(d.IDs, (int32(i)*7+seed*13)%90), append(d.Pos, int32(i)), append(d.Start, 0)
		d.Labels = append(d.Labels, label(i))
	}
	return d
}

// A model answers what it would write itself and nothing else, however documents are packed.
func TestCompareAnswers(t *testing.T) {
	pool := kernels.NewPool(2)
	defer pool.Close()
	golden := testkit.Golden(t, "models/llama")
	s, other := openSide(t, golden, nil), openSide(t, testkit.Golden(t, "models/llama"), nil)
	const n, docs = 16, 6
	f, err := newForward(s.Model, nil, n, pool, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	var list []*Documents
	for k := range int32(docs) {
		d := document(n, k, func(int) int32 { return -1 })
		if err := f.run(d.IDs); err != nil {
			t.Fatal(err)
		}
		logits, err := f.logits(f.body.Output(0)[:n*f.m.C])
		if err != nil {
			t.Fatal(err)
		}
		for i := n - 3; i < n; i++ {
			row, best := logits[i*f.m.V:(i+1)*f.m.V], 0
			for j, x := range row {
				if x > row[best] {
					best = j
				}
			}
			d.Labels[i] = int32(best)
		}
		if k%2 == 1 { // one wrong token makes a wrong answer
			d.Labels[n-2] = (d.Labels[n-2] + 1) % int32(f.m.V)
		}
		list = append(list, d)
	}
	for _, packed := range []int{n, 3 * n, 4*n + 5} {
		at := 0
		answers, divs, err := CompareAnswers(t.Context(), s, []Side{other}, packed, func() (*Documents, error) {
			if at == len(list) {
				return nil, io.EOF
			}
			at++
			return list[at-1], nil
		}, pool)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range answers {
			if a.Documents != docs || a.Exact != 0.5 || a.Tokens != 3*docs || math.Abs(a.Accuracy-15.0/18) > 1e-12 || !(a.Loss > 0) {
				t.Errorf("packs of %d: %+v", packed, a)
			}
		}
		if len(divs) != 1 || divs[0].Tokens != 3*docs || divs[0].Mean != 0 || divs[0].Top1 != 1 {
			t.Errorf("packs of %d: %+v", packed, divs[0])
		}
	}
	none := document(n, 0, func(int) int32 { return -1 })
	once := true
	if _, _, err := CompareAnswers(t.Context(), s, []Side{other}, n, func() (*Documents, error) {
		if once {
			once = false
			return none, nil
		}
		return nil, io.EOF
	}, pool); err == nil {
		t.Error("no labels: expected an error")
	}
}
