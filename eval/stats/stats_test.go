package stats

import (
	"encoding/json"
	"math"
	"os"
	"reflect"
	"testing"
)

// golden is what SciPy and statsmodels say; testdata/make.py makes it.
type golden struct {
	McNemar []struct {
		Table [4]int
		P     float64
	}
	Wilson []struct {
		K, N             int
		Level, Low, High float64
	}
	Mean []struct {
		X            []float64
		Mean, Stderr float64
	}
	Cluster []struct {
		X       []float64
		Cluster []string
		Stderr  float64
	}
	Multiple []struct{ P, Holm, BH []float64 }

	Permutation []struct {
		Before, After []float64
		P             float64
		Exact         bool
	}
	Bootstrap []struct {
		Before, After     []float64
		Low, High, Stderr float64
	}
	Newcombe []struct {
		Both, After, Before, Neither int
		Low, High                    float64
	}
}

func readGolden(t *testing.T) (g golden) {
	t.Helper()
	b, err := os.ReadFile("testdata/golden.json")
	if err == nil {
		err = json.Unmarshal(b, &g)
	}
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// Tolerances: closed forms agree but for rounding; drawn numbers by the Monte Carlo error of 10,000 draws, four standard
// deviations of it.
const rounding = 1e-12

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance*max(1, math.Abs(want))) {
		t.Errorf("%s: expected %v, found %v", what, want, got)
	}
}

func TestClosedForms(t *testing.T) {
	g := readGolden(t)
	for _, c := range g.McNemar {
		near(t, "McNemar", McNemar(Table{c.Table[0], c.Table[1], c.Table[2], c.Table[3]}), c.P, 1e-11)
	}
	for _, c := range g.Wilson {
		w := Wilson(c.K, c.N, c.Level)
		near(t, "Wilson low", w.Low, c.Low, rounding)
		near(t, "Wilson high", w.High, c.High, rounding)
	}
	for _, c := range g.Mean {
		mean, stderr := Mean(c.X)
		near(t, "mean", mean, c.Mean, rounding)
		near(t, "standard error", stderr, c.Stderr, rounding)
	}
	for _, c := range g.Cluster {
		near(t, "clustered standard error", ClusteredError(c.X, c.Cluster), c.Stderr, rounding)
	}
	for _, c := range g.Newcombe {
		i := Newcombe(Table{Both: c.Both, OnlyAfter: c.After, OnlyBefore: c.Before, Neither: c.Neither}, 0.95)
		near(t, "Newcombe low", i.Low, c.Low, rounding)
		near(t, "Newcombe high", i.High, c.High, rounding)
	}
	for _, c := range g.Multiple {
		for i := range c.P {
			near(t, "Holm", Holm(c.P)[i], c.Holm[i], rounding)
			near(t, "Benjamini-Hochberg", BenjaminiHochberg(c.P)[i], c.BH[i], rounding)
		}
	}
}

func mean(s Sums) float64 { return s[0] / s[1] }

func pairsOf(before, after []float64) (pairs []Pair) {
	for i := range before {
		pairs = append(pairs, Pair{Sums{before[i], 1}, Sums{after[i], 1}})
	}
	return pairs
}

func TestDrawn(t *testing.T) {
	g := readGolden(t)
	for _, c := range g.Permutation {
		p := Permutation(pairsOf(c.Before, c.After), mean)
		tolerance := 4 * math.Sqrt(c.P*(1-c.P)/Rounds)
		if c.Exact {
			tolerance = rounding
		}
		near(t, "permutation", p, c.P, tolerance)
	}
	for _, c := range g.Bootstrap {
		i, stderr := Bootstrap(pairsOf(c.Before, c.After), mean, 0.95)
		// A quantile q of 10,000 draws has the error sqrt(q(1-q)/10000)/density: 0.027 standard deviations at 2.5 %.
		near(t, "bootstrap low", i.Low, c.Low, 4*0.027*c.Stderr)
		near(t, "bootstrap high", i.High, c.High, 4*0.027*c.Stderr)
		near(t, "bootstrap standard error", stderr, c.Stderr, 4*c.Stderr/math.Sqrt(2*Rounds))
	}
}

// The same question has the same answer, to the last bit.
func TestDeterministic(t *testing.T) {
	c := readGolden(t).Bootstrap[1]
	pairs := pairsOf(c.Before, c.After)
	i, s := Bootstrap(pairs, mean, 0.95)
	j, u := Bootstrap(pairs, mean, 0.95)
	if i != j || s != u || Permutation(pairs, mean) != Permutation(pairs, mean) {
		t.Error("two runs differ")
	}
}

// Where nothing changed, nothing is found; a yes/no metric's exchanges are McNemar's coins.
func TestEdges(t *testing.T) {
	same := pairsOf([]float64{1, 0, 1}, []float64{1, 0, 1})
	if p := Permutation(same, mean); p != 1 {
		t.Errorf("no change: p = %v", p)
	}
	if i, s := Bootstrap(same, mean, 0.95); i != (Interval{}) || s != 0 {
		t.Errorf("no change: interval %v, error %v", i, s)
	}
	if p := McNemar(Table{Both: 3}); p != 1 {
		t.Errorf("no change: p = %v", p)
	}
	var before, after []float64
	for i := range 30 { // 2 right only before, 9 only after
		before, after = append(before, b2f(i < 12)), append(after, b2f(i >= 2 && i < 21))
	}
	near(t, "coins", Permutation(pairsOf(before, after), mean), McNemar(Table{Both: 10, OnlyBefore: 2, OnlyAfter: 9, Neither: 9}), rounding)
	if w := Wilson(0, 0, 0.95); w != (Interval{0, 1}) {
		t.Errorf("nothing seen: %v", w)
	}
	if _, s := Mean([]float64{1}); !math.IsNaN(s) {
		t.Errorf("one value: standard error %v", s)
	}
	if s := ClusteredError([]float64{1, 2}, []string{"a", "a"}); !math.IsNaN(s) {
		t.Errorf("one cluster: standard error %v", s)
	}
	nan := math.NaN()
	got := Holm([]float64{0.01, nan, 0.04})
	if got[0] != 0.02 || !math.IsNaN(got[1]) || got[2] != 0.04 {
		t.Errorf("Holm beside what is not a number: %v", got)
	}
}

func b2f(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// A perplexity is a function of totals, and its interval and p-value agree with those of the log of it.
func TestRatio(t *testing.T) {
	c := readGolden(t).Bootstrap[1]
	var pairs []Pair
	for i := range c.Before {
		pairs = append(pairs, Pair{Sums{c.Before[i] - 40, 10}, Sums{c.After[i] - 40, 10}})
	}
	nats := func(s Sums) float64 { return -s[0] / s[1] }
	perplexity := func(s Sums) float64 { return math.Exp(nats(s)) }
	near(t, "p", Permutation(pairs, perplexity), Permutation(pairs, nats), 4*math.Sqrt(0.25/Rounds))
	i, _ := Bootstrap(pairs, perplexity, 0.95)
	before, after := Total(pairs, perplexity)
	if !i.Contains(after - before) {
		t.Errorf("interval %v without its own estimate %v", i, after-before)
	}
}

// The numbers of the sample size table in the evaluation notes: Connor's formula at 80 % power and 5 %.
func TestPower(t *testing.T) {
	for _, c := range []struct {
		n    int
		d    float64
		want float64 // points, one decimal
	}{{164, 0.05, 4.9}, {500, 0.05, 2.8}, {1319, 0.05, 1.7}, {2376, 0.05, 1.3}, {14042, 0.05, 0.5}} {
		if got := math.Round(Detectable(c.n, c.d, 0.05)*1000) / 10; got != c.want {
			t.Errorf("n = %d: expected %v points, found %v", c.n, c.want, got)
		}
	}
	for d, want := range map[float64]int{0.03: 587, 0.05: 979, 0.10: 1960} {
		if got := Documents(0.02, d, 0.05); got != want {
			t.Errorf("discordance %v: expected %d documents, found %d", d, want, got)
		}
	}
	if x := Detectable(0, 0.1, 0.05); x != 1 {
		t.Errorf("no documents: %v", x)
	}
	near(t, "of a mean", DetectableMean(0.5, 0.05), 0.5*(1.959963984540054+0.8416212335729143), rounding)
}

// A documented property rather than a golden: over many samples of a known change, intervals cover it as often as they say.
func TestCoverage(t *testing.T) {
	const samples, n, level = 400, 80, 0.95
	covered := 0
	for k := range samples {
		var table Table
		for i := range n {
			u := float64((k*n+i)*2654435761%4294967296) / 4294967296 // a fixed low-discrepancy sequence
			switch {
			case u < 0.40:
				table.Both++
			case u < 0.50:
				table.OnlyBefore++
			case u < 0.65:
				table.OnlyAfter++
			default:
				table.Neither++
			}
		}
		if Newcombe(table, level).Contains(0.05) {
			covered++
		}
	}
	if share := float64(covered) / samples; share < level-0.03 {
		t.Errorf("covered %v", share)
	}
	if !reflect.DeepEqual(Corrections["none"]([]float64{1}), []float64{1}) {
		t.Error("no correction changes values")
	}
}
