package infer

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/internal/graph"
	"tune/internal/model"
	"tune/internal/nn"
	"tune/internal/rng"
	"tune/internal/testkit"
	"tune/kernels"
	"tune/lora"
)

// lex opens the built-in base model with some workers.
func lex(t *testing.T, workers int, exact bool, a func(m *model.Model) model.Trained) *Batch {
	t.Helper()
	c, err := model.OpenFS(os.DirFS(filepath.Join(testkit.Root(t), "recipes", "base")), "builtin:lex-5m")
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.New(c, model.Options{Exact: exact})
	if err != nil {
		t.Fatal(err)
	}
	pool := kernels.NewPool(workers)
	t.Cleanup(pool.Close)
	var trained model.Trained
	if a != nil {
		trained = a(m)
	}
	b, err := NewBatch(m, trained, pool)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func tokens(seed uint64, n, vocabulary int) (ids []int32) {
	r := rng.New(seed, "test")
	for i := range n {
		ids = append(ids, int32(r.Intn(uint64(i), vocabulary)))
	}
	return ids
}

// texts that share much: two preambles, one longer than a pass; questions behind them; choices of several tokens and of one behind
// those; one text that is the beginning of another; equal ones; and texts that share nothing.
func texts(vocabulary int) (ts []Text) {
	preambles, lengths := []int{150, 700}, []int{2, 3, 64, 65, 66, 300, 1025}
	if slow() {
		preambles, lengths = []int{20, 70}, []int{2, 64, 65}
	}
	for p, length := range preambles {
		preamble := tokens(uint64(p), length, vocabulary)
		for q := range 5 {
			question := slices.Concat(preamble, tokens(uint64(100+10*p+q), 20+17*q, vocabulary))
			for c := range 4 {
				ts = append(ts, Text{slices.Concat(question, tokens(uint64(1000+c), 1+c*q, vocabulary)), len(question)})
			}
			ts = append(ts, Text{question, len(question) - 3})
		}
	}
	for i, n := range lengths {
		ts = append(ts, Text{tokens(uint64(2000+i), n, vocabulary), 1})
	}
	return append(ts, ts[0], ts[7])
}

// slow tells whether the plain kernels are in use, which take minutes for what others do in seconds.
func slow() bool { return kernels.Level() == "plain" }

// scores runs texts and fails unless each is scored once.
func scores(t *testing.T, b *Batch, ts []Text) []Score {
	t.Helper()
	out, seen := make([]Score, len(ts)), make([]int, len(ts))
	if err := b.Score(context.Background(), ts, func(i int, s Score) error { out[i], seen[i] = s, seen[i]+1; return nil }); err != nil {
		t.Fatal(err)
	}
	for i, n := range seen {
		if n != 1 || len(out[i].LogProbs) != len(ts[i].IDs)-ts[i].From {
			t.Fatalf("text %d: scored %d times, %d values for %d tokens from %d on", i, n, len(out[i].LogProbs), len(ts[i].IDs), ts[i].From)
		}
	}
	return out
}

func equal(a, b Score) bool { return a.Greedy == b.Greedy && slices.Equal(a.LogProbs, b.LogProbs) }

// adapter is a LoRA adapter that does something, on every linear and the head.
func adapter(t *testing.T) func(m *model.Model) model.Trained {
	return func(m *model.Model) model.Trained {
		a, err := lora.Attach(m, lora.Default(), 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range a.Params() {
			for i := range p.Data {
				p.Data[i] += 0.01 * float32(i%7-3)
			}
		}
		return a
	}
}

// alone are the log-probabilities of a text's tokens but the first as a trainer computes them: no pages, the whole text in one
// graph.
func alone(t *testing.T, b *Batch, trained model.Trained, ids []int32) []float32 {
	t.Helper()
	g := graph.New()
	in := b.m.Batch(g, len(ids))
	logp, _ := nn.LogProb(b.m.Hidden(in, plain(trained)), in.Labels, b.m.Head(in, plain(trained)), true)
	p, err := g.Compile(graph.Options{}, logp)
	if err != nil {
		t.Fatal(err)
	}
	store, err := newStore(p, trained, b.pool)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	s, err := store.Bind(p)
	if err != nil {
		t.Fatal(err)
	}
	n := copy(s.Ints("labels"), ids[1:])
	s.Ints("labels")[n] = -1
	copy(s.Ints("ids"), ids)
	for i, pos := range s.Ints("pos") {
		s.Ints("pos")[i] = pos + int32(i)
	}
	if err := s.RunAll(); err != nil {
		t.Fatal(err)
	}
	return s.Output(0)[:n]
}

// Scores equal those of one text read by itself, up to the order of sums; and they are the same bits whatever is asked along, in
// whatever order, by however many workers.
func TestBatchScore(t *testing.T) {
	for _, exact := range []bool{true, false} {
		if slow() && !exact { // the same arithmetic
			continue
		}
		for name, with := range map[string]func(*model.Model) model.Trained{"base": nil, "adapter": adapter(t)} {
			b := lex(t, 2, exact, with)
			ts := texts(b.m.V)
			all := scores(t, b, ts)
			if exact {
				for _, i := range []int{3, 20, 33, len(ts) - 6, len(ts) - 4} {
					want := alone(t, b, trainedOf(with, b.m), ts[i].IDs)
					if d := worst(all[i].LogProbs, want[ts[i].From-1:]); d > nllLimit {
						t.Errorf("%s: text %d differs by %g", name, i, d)
					}
				}
			}
			for _, i := range []int{0, 4, 23, 44, len(ts) - 6, len(ts) - 3, len(ts) - 2} {
				if one := scores(t, b, ts[i:i+1])[0]; !equal(one, all[i]) {
					t.Errorf("%s, exact %v: text %d: other bits alone than among others", name, exact, i)
				}
			}
			back := slices.Clone(ts)
			slices.Reverse(back)
			for i, s := range scores(t, lex(t, 3, exact, with), back[10:]) {
				if !equal(s, all[len(ts)-11-i]) {
					t.Errorf("%s, exact %v: text %d: other bits in another order, with other workers", name, exact, i)
				}
			}
		}
	}
}

// Every family, sliding windows and layers without rotation among them, gives the goldens' losses through pages.
func TestBatchFamilies(t *testing.T) {
	pool := kernels.NewPool(2)
	defer pool.Close()
	for _, name := range families {
		e, g := engine(t, name, true)
		b, err := NewBatch(e.m, nil, pool)
		if err != nil {
			t.Fatal(err)
		}
		ts := []Text{{ints(t, g, "doc0.input_ids"), 1}, {ints(t, g, "doc1.input_ids"), 1}}
		for i, s := range scores(t, b, ts) {
			want := floats(t, g, []string{"doc0.nll", "doc1.nll"}[i])
			for k := range s.LogProbs {
				s.LogProbs[k] = -s.LogProbs[k]
			}
			if d := worst(s.LogProbs, want); d > nllLimit {
				t.Errorf("%s, document %d: nll differs by %g", name, i, d)
			}
		}
		b.Close()
	}
}

// In mixtures the rows of an expert are many or few as others ask for it too; the bits of each are the same.
func TestBatchExperts(t *testing.T) {
	pool := kernels.NewPool(2)
	defer pool.Close()
	for _, name := range []string{"mixtral", "olmoe", "qwen3_moe"} {
		c, err := model.Open(testkit.Golden(t, "models/"+name))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, exact := range []bool{true, false} {
			m, err := model.New(c, model.Options{Exact: exact})
			if err != nil {
				t.Fatal(err)
			}
			b, err := NewBatch(m, nil, pool)
			if err != nil {
				t.Fatal(err)
			}
			var ts []Text
			for i := range 12 {
				ts = append(ts, Text{tokens(uint64(i), 2+9*i, m.V), 1})
			}
			all := scores(t, b, ts)
			for i := range ts {
				if one := scores(t, b, ts[i:i+1])[0]; !equal(one, all[i]) {
					t.Errorf("%s, exact %v: text %d: other bits alone than among others", name, exact, i)
				}
			}
			ps := []Prompt{{IDs: ts[3].IDs, Options: Options{MaxTokens: 8}}, {IDs: ts[5].IDs, Options: Options{MaxTokens: 9}}, {IDs: ts[6].IDs, Options: Options{MaxTokens: 9}}}
			together := generated(t, b, ps)
			for i := range ps {
				if alone := generated(t, b, ps[i:i+1])[0]; !slices.Equal(alone.IDs, together[i].IDs) {
					t.Errorf("%s, exact %v: prompt %d: another answer alone", name, exact, i)
				}
			}
			b.Close()
		}
	}
}

func trainedOf(with func(*model.Model) model.Trained, m *model.Model) model.Trained {
	if with == nil {
		return nil
	}
	return with(m)
}

// What several texts begin with is read once, over the borders of passes too.
func TestSharing(t *testing.T) {
	b := lex(t, 1, false, nil)
	ts := texts(b.m.V)
	s := newScoring(b, ts, nil)
	tree := map[string]bool{}
	for _, x := range ts {
		for n := 1; n < len(x.IDs); n++ {
			var key strings.Builder
			for _, id := range x.IDs[:n] {
				key.WriteRune(rune(id))
			}
			tree[key.String()] = true
		}
	}
	if len(s.ids) != len(tree) {
		t.Errorf("%d tokens are read, want %d", len(s.ids), len(tree))
	}
	passes := s.branches[len(s.branches)-1].pass + 1
	if most := (len(s.ids)+passRows-1)/passRows + 1; passes > most {
		t.Errorf("%d passes, want at most %d", passes, most)
	}
}

// A pass takes no more pages than it was compiled for, however short its branches are.
func TestManyShortTexts(t *testing.T) {
	b := lex(t, 2, false, nil)
	var ts []Text
	for i := range 300 {
		ts = append(ts, Text{[]int32{int32(i % b.m.V), int32(i / 2 % b.m.V), 5}, 2})
	}
	all := scores(t, b, ts)
	if alone := scores(t, b, ts[200:201])[0]; !equal(alone, all[200]) {
		t.Error("other bits alone")
	}
}

func TestBatchRefuses(t *testing.T) {
	b := lex(t, 1, false, nil)
	for _, x := range []Text{{}, {IDs: []int32{1, 2}}, {IDs: []int32{1, 2}, From: 2}, {IDs: []int32{1, -2}, From: 1}, {IDs: make([]int32, b.m.Positions+2), From: 1}} {
		if err := b.Score(context.Background(), []Text{x}, nil); err == nil {
			t.Errorf("%d tokens from %d on were accepted", len(x.IDs), x.From)
		}
	}
	stop := errors.New("enough")
	if err := b.Score(context.Background(), texts(b.m.V), func(int, Score) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := b.Score(ctx, texts(b.m.V), nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if used := pagesInUse(b); used != 0 {
		t.Errorf("%d pages were not given back", used)
	}
}

func pagesInUse(b *Batch) (n int) {
	for _, users := range b.pages.users[1:] {
		n += int(users)
	}
	return n
}

// prompts of all lengths, more of them than are answered at a time; some begin alike.
func prompts(vocabulary int) (ps []Prompt) {
	long, n := tokens(7, 600, vocabulary), 40
	if slow() {
		n = 20
	}
	for i := range n {
		ids := tokens(uint64(i), 1+11*i%90, vocabulary)
		if i%3 == 0 {
			ids = slices.Concat(long[:65*(1+i%4*(n/20))], ids)
		}
		p := Prompt{IDs: ids, Options: Options{MaxTokens: 1 + 7*i%30}}
		if i%4 == 1 {
			p.Temperature, p.Seed, p.RepetitionPenalty = 1, uint64(i), 1.1
		}
		ps = append(ps, p)
	}
	return ps
}

func generated(t *testing.T, b *Batch, ps []Prompt) []Answer {
	t.Helper()
	out, seen := make([]Answer, len(ps)), make([]int, len(ps))
	if err := b.Generate(context.Background(), ps, func(i int, a Answer) error { out[i], seen[i] = a, seen[i]+1; return nil }); err != nil {
		t.Fatal(err)
	}
	for i, n := range seen {
		if n != 1 {
			t.Fatalf("prompt %d was answered %d times", i, n)
		}
	}
	if used := pagesInUse(b); used != 0 {
		t.Errorf("%d pages were not given back", used)
	}
	return out
}

// An answer does not depend on what is answered along.
func TestBatchGenerate(t *testing.T) {
	b := lex(t, 2, false, nil)
	ps := prompts(b.m.V)
	all := generated(t, b, ps)
	for _, i := range []int{0, 5, 9, len(ps) - 4, len(ps) - 1} {
		if alone := generated(t, b, ps[i:i+1])[0]; !slices.Equal(alone.IDs, all[i].IDs) || alone.Reason != all[i].Reason {
			t.Errorf("prompt %d alone: %v, among others %v", i, alone, all[i])
		}
	}
	back := slices.Clone(ps)
	slices.Reverse(back)
	for i, a := range generated(t, lex(t, 3, false, nil), back) {
		if !slices.Equal(a.IDs, all[len(ps)-1-i].IDs) {
			t.Errorf("prompt %d: another answer in another order, with other workers", len(ps)-1-i)
		}
	}
}

// Prompts that begin alike are read together, and the pages they share are in the pass once.
func TestPromptsTogether(t *testing.T) {
	b := lex(t, 2, false, nil)
	begin := tokens(3, 5*kernels.PageRows+2, b.m.V)
	var ps []Prompt
	for i := range 16 {
		ps = append(ps, Prompt{IDs: slices.Concat(begin, []int32{int32(i)}), Options: Options{MaxTokens: 2}})
	}
	all := generated(t, b, ps)
	if _, ok := b.passes[[2]int{sizeFor(len(ps) - 1), 64}]; !ok || len(b.passes) != 2 {
		t.Errorf("passes of other sizes: %v", slices.Collect(maps.Keys(b.passes)))
	}
	if alone := generated(t, b, ps[7:8])[0]; !slices.Equal(alone.IDs, all[7].IDs) {
		t.Errorf("%v alone, %v together", alone.IDs, all[7].IDs)
	}
}

// Answers wait for memory, and are the same.
func TestBatchMemory(t *testing.T) {
	b := lex(t, 2, false, nil)
	ps := prompts(b.m.V)[:8]
	all := generated(t, b, ps)
	small := lex(t, 2, false, nil)
	small.most = 12
	if slow() { // its prompts are shorter
		small.most = 6
	}
	for i, a := range generated(t, small, ps) {
		if !slices.Equal(a.IDs, all[i].IDs) {
			t.Errorf("prompt %d: another answer with less memory", i)
		}
	}
	// The prompt read last is held too, with a page of its own.
	if few, many := len(small.pages.users), len(b.pages.users); few > small.most+3 || few >= many {
		t.Errorf("%d pages, and %d without a bound", few, many)
	}
	small.most = 0 // less than a single one needs: they come one by one
	generated(t, small, ps[:2])
}

// Logits behind an answer's tokens, through pages, are bit for bit the same alone and among others; the tokens alone would hide it.
func TestBatchLogits(t *testing.T) {
	b := lex(t, 2, true, nil)
	ps := prompts(b.m.V)
	watch := func(ps []Prompt, at int) (rows [][]float32) {
		ps = slices.Clone(ps)
		for i := range ps {
			ps[i].MaxTokens = 6
		}
		g := 0
		ps[at].More = func(int32) bool {
			if g++; g > 1 { // the first comes from the pass over the prompt
				for _, s := range b.steps {
					rows = append(rows, slices.Clone(s.Output(0)))
				}
			}
			return true
		}
		generated(t, b, ps)
		return rows
	}
	b.steps = map[int]*graph.Session{b.stepRows(1): b.steps[b.stepRows(1)]}
	alone := watch(ps[5:6], 0)
	few := watch([]Prompt{ps[4], ps[5], ps[9]}, 1)
	if len(alone) != 5 || len(few) != 5 {
		t.Fatalf("%d and %d steps", len(alone), len(few))
	}
	for i, x := range alone {
		row, found := x[:b.m.V], false
		for r := range 3 {
			found = found || slices.Equal(row, few[i][r*b.m.V:(r+1)*b.m.V])
		}
		if !found {
			t.Errorf("step %d: no row has the same bits", i)
		}
	}
}

// Answers end as those of an Engine do, and greedy ones are the goldens'.
func TestBatchEnds(t *testing.T) {
	for _, name := range []string{"llama", "qwen3"} {
		e, g := engine(t, name, true)
		prompt, want := ints(t, g, "doc0.input_ids"), ints(t, g, "greedy.tokens")
		pool := kernels.NewPool(2)
		b, err := NewBatch(e.m, nil, pool)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		at := slices.Index(want, want[4])
		as := generated(t, b, []Prompt{
			{IDs: prompt, Options: Options{MaxTokens: len(want)}},
			{IDs: prompt, Options: Options{Stops: []int32{want[4]}}},
			{IDs: prompt},
			{IDs: prompt, More: func(int32) bool { n++; return n < 3 }},
		})
		for i, c := range []struct {
			n      int
			reason string
		}{{len(want), Length}, {at, Stopped}, {e.m.Positions + 1 - len(prompt), Full}, {3, Enough}} {
			if a := as[i]; len(a.IDs) != c.n || a.Reason != c.reason || !slices.Equal(a.IDs[:min(c.n, len(want))], want[:min(c.n, len(want))]) {
				t.Errorf("%s, prompt %d: %v %s, want %d of %v, %s", name, i, a.IDs, a.Reason, c.n, want, c.reason)
			}
		}
		b.Close()
		pool.Close()
	}
	b := lex(t, 1, false, nil)
	if err := b.Generate(context.Background(), []Prompt{{IDs: []int32{1}, Options: Options{Sampling: Sampling{TopP: 2}}}}, nil); err == nil {
		t.Error("top-p 2 was accepted")
	}
	if err := b.Generate(context.Background(), []Prompt{{}}, nil); err == nil {
		t.Error("no prompt was accepted")
	}
}
