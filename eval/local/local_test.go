package local

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tune/eval/ask"
	"tune/internal/model"
	"tune/internal/qtype"
	"tune/internal/tensor"
	"tune/internal/testkit"
	"tune/kernels"
	"tune/lora"
)

// golden is a file of ../shared/evalgold: what lm-evaluation-harness 0.4.13 asked and got.
type golden struct {
	Samples []struct {
		Filter   string
		Context  string
		Requests []struct {
			Context, Continuation string
			Text                  string
			Response              []string
			LogLikelihood         json.RawMessage // a number; of whole texts a list
			IsGreedy              bool            `json:"is_greedy"`
			ContextTokens         int             `json:"context_tokens"`
			ContinuationIDs       []int32         `json:"continuation_ids"`
			ContextSHA            string          `json:"context_ids_sha256_int32le"`
		}
	}
	Windows []struct {
		ContextTokens int     `json:"context_tokens"`
		ScoredTokens  int     `json:"scored_tokens"`
		FirstIDs      []int32 `json:"scored_first_ids"`
		SHA           string  `json:"scored_ids_sha256_int32le"`
		LogLikelihood float64
	}
}

func readGolden(t testing.TB, name string) (g golden) {
	t.Helper()
	text, err := os.ReadFile(testkit.Shared(t, "evalgold/"+name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(name, err)
	}
	return g
}

// requests of the first documents, with what the reference says to each.
func (g *golden) requests(documents int) (rs []ask.Request, logp []float64, greedy []bool) {
	for _, s := range g.Samples[:min(documents, len(g.Samples))] {
		for _, r := range s.Requests {
			rs = append(rs, ask.Request{Kind: ask.LogLikelihood, Context: s.Context + r.Context, Continuation: r.Continuation})
			v, _ := strconv.ParseFloat(string(r.LogLikelihood), 64)
			logp, greedy = append(logp, v), append(greedy, r.IsGreedy)
		}
	}
	return rs, logp, greedy
}

func sha(ids []int32) string {
	var b []byte
	for _, id := range ids {
		b = binary.LittleEndian.AppendUint32(b, uint32(id))
	}
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// smolLM2 is the model of the goldens: the Q4_1 file rounded to bf16, in float32. as tells the type of its matrices.
func smolLM2(t testing.TB, as qtype.Type, o Options) *Model {
	t.Helper()
	path := testkit.SmolLM2(t)
	if kernels.Level() == "plain" {
		t.Skip("plain kernels take minutes for 135M weights")
	}
	c, err := model.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if as != qtype.Q4_1 {
		c.Weights = tensor.Converted{Source: c.Weights, To: func(tensor.Info) qtype.Type { return as }}
	}
	return start(t, c, nil, o)
}

func start(t testing.TB, c *model.Checkpoint, a model.Trained, o Options) *Model {
	t.Helper()
	pool := kernels.NewPool(0)
	t.Cleanup(pool.Close)
	x, err := New(c, a, pool, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Close)
	return x
}

// answers runs requests and fails unless each is answered once.
func answers(t testing.TB, x *Model, rs []ask.Request) []ask.Answer {
	t.Helper()
	out, seen := make([]ask.Answer, len(rs)), make([]int, len(rs))
	if err := x.Answer(context.Background(), rs, func(i int, a ask.Answer) error { out[i], seen[i] = a, seen[i]+1; return nil }); err != nil {
		t.Fatal(err)
	}
	for i, n := range seen {
		if n != 1 {
			t.Fatalf("request %d was answered %d times", i, n)
		}
	}
	return out
}

// Every request of the goldens becomes the tokens that lm-evaluation-harness made of it.
func TestTokens(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(testkit.Shared(t, "evalgold"), "*.json"))
	x := smolLM2(t, qtype.Q4_1, Options{})
	n := 0
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".json")
		if name == "ppl" || name == "speed" || name == "llama_perplexity" {
			continue
		}
		for _, s := range readGolden(t, name).Samples {
			for i, r := range s.Requests {
				if r.ContextSHA == "" {
					continue
				}
				before, after, err := x.pair(s.Context+r.Context, r.Continuation)
				if n++; err != nil || len(before) != r.ContextTokens || sha(before) != r.ContextSHA || !slices.Equal(after, r.ContinuationIDs) {
					t.Fatalf("%s, request %d of %q: %d tokens %v then %v, want %d then %v, %v", name, i, s.Context, len(before), before, after, r.ContextTokens, r.ContinuationIDs, err)
				}
			}
		}
	}
	t.Logf("%d requests", n)
	if n < 2000 {
		t.Errorf("only %d requests", n)
	}
}

// logProbLimit is for sums over a continuation, float32 on both sides: the reference differs from itself by 2e-5 when its batches
// are cut differently, and one token by up to 2e-4 between kinds of CPU.
const logProbLimit = 1e-3

// Log-likelihoods of real documents.
func TestLogLikelihoods(t *testing.T) {
	testkit.Shared(t, "evalgold")
	x := smolLM2(t, qtype.BF16, Options{Exact: true})
	for _, c := range []struct {
		name      string
		documents int
	}{{"arc_easy", 2}, {"copa", 4}, {"lambada_openai", 2}, {"winogrande", 3}, {"mmlu_astronomy", 1}, {"copa.chat_0shot", 2}} {
		g := readGolden(t, c.name)
		rs, want, greedy := g.requests(c.documents)
		worst := 0.0
		for i, a := range answers(t, x, rs) {
			worst = max(worst, math.Abs(a.LogProb-want[i]))
			if a.Greedy != greedy[i] {
				t.Errorf("%s, request %d: greedy %v", c.name, i, a.Greedy)
			}
		}
		t.Logf("%s: %d requests, greatest difference %.1e", c.name, len(rs), worst)
		if worst > logProbLimit {
			t.Errorf("%s: log-likelihoods differ by %g", c.name, worst)
		}
	}
}

// The windows of whole texts, and the sum of the shortest.
func TestRolling(t *testing.T) {
	g := readGolden(t, "wikitext")
	x := smolLM2(t, qtype.BF16, Options{Exact: true})
	at := 0
	for _, s := range g.Samples {
		ids, err := x.encode(s.Requests[0].Text)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range windows(ids, x.prefix, x.o.Context) {
			want := g.Windows[at]
			at++
			scored := w.ids[w.from:]
			if w.from != want.ContextTokens || len(scored) != want.ScoredTokens || sha(scored) != want.SHA {
				t.Fatalf("window %d: %d tokens of context and %d scored, want %d and %d", at-1, w.from, len(scored), want.ContextTokens, want.ScoredTokens)
			}
		}
	}
	if at != len(g.Windows) {
		t.Fatalf("%d windows, want %d", at, len(g.Windows))
	}
	first := ask.Request{Kind: ask.Rolling, Context: g.Samples[0].Requests[0].Text}
	a := answers(t, x, []ask.Request{first})[0]
	want := g.Windows[0].LogLikelihood // the only one of this text
	t.Logf("%d tokens: %.4f, want %.4f", a.Tokens, a.LogProb, want)
	if math.Abs(a.LogProb-want) > rollingLimit*float64(a.Tokens) {
		t.Errorf("log-likelihood %g, want %g", a.LogProb, want)
	}
}

// rollingLimit is for the mean of a token: what ../shared/goldens asks of a float32 implementation. 8e-6 was measured.
const rollingLimit = 1e-5

// Perplexities of ../shared/evalgold, computed there with transformers in float32, and by llama-perplexity with a kernel of its own
// arithmetic: llamaLimit is relative, for the running perplexity of a few hundred tokens; 3e-4 was measured.
const (
	perplexityLimit = 1e-5 // nats of a token, in the mean
	llamaLimit      = 2e-3
)

func TestPerplexity(t *testing.T) {
	text, err := os.ReadFile(testkit.Shared(t, "data/text/wikitext-2-raw/wiki.test.raw"))
	if err != nil {
		t.Fatal(err)
	}
	var gold struct {
		Chunks struct {
			Running []float64 `json:"cumulative_ppl"`
		} `json:"chunks_512_no_bos"`
		Stride struct {
			Windows [][2]float64 `json:"per_window_nll_sum_and_count"`
		} `json:"stride_512_128"`
	}
	raw, err := os.ReadFile(testkit.Shared(t, "evalgold/ppl.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &gold); err != nil {
		t.Fatal(err)
	}
	x := smolLM2(t, qtype.BF16, Options{Exact: true})
	halves, err := x.Perplexity(context.Background(), string(text), Reading{Context: 512, Pieces: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	const llama = 12.9575 // ../shared/evalgold/llama_perplexity.json
	got, want := halves.Perplexity, gold.Chunks.Running[0]
	t.Logf("perplexity %.5f, transformers %.5f, llama-perplexity %.4f", got, want, llama)
	if math.Abs(math.Log(got/want)) > perplexityLimit || math.Abs(math.Log(got/llama)) > llamaLimit || halves.Tokens != 255 || halves.Running[0] != got {
		t.Errorf("%+v, want a perplexity of %g, llama-perplexity %g", halves, want, llama)
	}
	const pieces = 2
	strided, err := x.Perplexity(context.Background(), string(text), Reading{Context: 512, Stride: 128, Pieces: pieces}, nil)
	if err != nil {
		t.Fatal(err)
	}
	sum, n := 0.0, 0.0
	for _, w := range gold.Stride.Windows[:pieces] {
		sum, n = sum+w[0], n+w[1]
	}
	if float64(strided.Tokens) != n || math.Abs(strided.NLL-sum/n) > perplexityLimit {
		t.Errorf("%+v, want %g of %g tokens", strided, sum/n, n)
	}
}

func TestReadings(t *testing.T) {
	x := lex(t, Options{})
	for _, r := range []Reading{{Context: 3}, {Context: 2000}, {Context: 64, Stride: 65}, {Context: 64, Stride: -1}, {Context: 64}} {
		if _, err := x.Perplexity(context.Background(), "a few words", r, nil); err == nil {
			t.Errorf("%+v was accepted", r)
		}
	}
	// The rolling sum is the request's, by the word and by the byte.
	const text = "This Agreement shall be governed by the laws of New York.\n"
	p, err := x.Perplexity(context.Background(), text, Reading{Context: 8, Rolling: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := answers(t, lex(t, Options{Context: 8}), []ask.Request{{Kind: ask.Rolling, Context: text}})[0]
	if sum := -p.NLL * float64(p.Tokens); math.Abs(sum-a.LogProb) > 1e-9 || p.Tokens != a.Tokens || p.Pieces < 2 {
		t.Errorf("%+v, the request gives %+v", p, a)
	}
	if math.Abs(*p.Bits-math.Log2(*p.Byte)) > 1e-12 || math.Abs(math.Log(*p.Word)*12-math.Log(*p.Byte)*float64(len(text))) > 1e-9 {
		t.Errorf("%v %v %v", *p.Word, *p.Byte, *p.Bits)
	}
}

// Greedy answers of few-shot prompts, stop strings found inside a token.
func TestGeneration(t *testing.T) {
	g := readGolden(t, "gsm8k")
	x := smolLM2(t, qtype.BF16, Options{Exact: true})
	type asked struct {
		ask.Request
		want string
	}
	var all []asked
	for _, s := range g.Samples {
		if s.Filter == "strict-match" && len(s.Requests) > 0 {
			r := s.Requests[0]
			all = append(all, asked{ask.Request{Kind: ask.Generate, Context: r.Context, Generation: ask.Generation{Until: []string{"Question:", "</s>", "<|im_end|>"}, MaxTokens: 256}}, r.Response[0]})
		}
	}
	slices.SortFunc(all, func(a, b asked) int { return len(a.Context) + 8*len(a.want) - len(b.Context) - 8*len(b.want) })
	var rs []ask.Request
	var want []string
	for _, a := range all[:1] { // the shortest
		rs, want = append(rs, a.Request), append(want, a.want)
	}
	for i, a := range answers(t, x, rs) {
		if a.Text != want[i] {
			t.Errorf("answer %d: %q, want %q", i, a.Text, want[i])
		}
	}
}

// lex is the built-in base model: it needs nothing from outside.
func lex(t *testing.T, o Options) *Model {
	t.Helper()
	return start(t, lexBase(t), nil, o)
}

func lexBase(t *testing.T) *model.Checkpoint {
	c, err := model.OpenFS(os.DirFS(filepath.Join(testkit.Root(t), "recipes", "base")), "builtin:lex-5m")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPairs(t *testing.T) {
	x := lex(t, Options{})
	ids := func(s string) []int32 {
		e, err := x.plain(s)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	for _, c := range []struct{ context, continuation, head, rest string }{
		{"The court", " held", "The court", " held"},
		{"The court ", "held", "The court", " held"},
		{"The court \n\u00a0", " held", "The court", " \n\u00a0 held"},
	} {
		before, after, err := x.pair(c.context, c.continuation)
		whole := ids(c.head + c.rest)
		if err != nil || !slices.Equal(before, ids(c.head)) || !slices.Equal(after, whole[len(before):]) {
			t.Errorf("%q, %q: %v then %v, %v", c.context, c.continuation, before, after, err)
		}
	}
	if before, after, err := x.pair("", "The court"); err != nil || !slices.Equal(before, []int32{x.prefix}) || !slices.Equal(after, ids("The court")) {
		t.Errorf("no context: %v then %v, %v", before, after, err)
	}
	if before, after, err := x.pair("", x.tok.Token(x.prefix)+"The court"); err != nil || !slices.Equal(before, []int32{x.prefix}) || !slices.Equal(after, ids("The court")) {
		t.Errorf("no context but a beginning: %v then %v, %v", before, after, err)
	}
}

// The example of lm-evaluation-harness: ten tokens, four at a time.
func TestWindows(t *testing.T) {
	got := windows([]int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 99, 4)
	want := []window{{[]int32{99, 0, 1, 2, 3}, 1}, {[]int32{3, 4, 5, 6, 7}, 1}, {[]int32{5, 6, 7, 8, 9}, 3}}
	if len(got) != len(want) {
		t.Fatal(got)
	}
	for i := range want {
		if !slices.Equal(got[i].ids, want[i].ids) || got[i].from != want[i].from {
			t.Errorf("window %d: %v, want %v", i, got[i], want[i])
		}
	}
	if len(windows(nil, 99, 4)) != 0 {
		t.Error("a window of nothing")
	}
}

func TestTruncation(t *testing.T) {
	long := strings.Repeat("The parties agree. ", 20)
	scored := ask.Request{Kind: ask.LogLikelihood, Context: long, Continuation: "held"}
	written := ask.Request{Kind: ask.Generate, Context: long, Generation: ask.Generation{MaxTokens: 5}}
	strict := lex(t, Options{Context: 32})
	for _, r := range []ask.Request{scored, written} {
		err := strict.Answer(context.Background(), []ask.Request{r}, func(int, ask.Answer) error { return nil })
		if err == nil || !strings.Contains(err.Error(), "request 0: expected at most 32 tokens") {
			t.Error(err)
		}
	}
	x := lex(t, Options{Context: 32, Truncate: true})
	a := answers(t, x, []ask.Request{scored, written})
	ids, _ := x.encode(strings.TrimSpace(long))
	if a[0].Read+a[0].Tokens != 33 || a[0].Truncated != len(ids)-a[0].Read {
		t.Errorf("%+v of %d tokens", a[0], len(ids))
	}
	if a[1].Read != 28 || a[1].Tokens > 5 || a[1].Truncated == 0 {
		t.Errorf("%+v", a[1])
	}
	scored.Continuation = long
	if err := x.Answer(context.Background(), []ask.Request{scored}, func(int, ask.Answer) error { return nil }); err == nil || !strings.Contains(err.Error(), "continuation that fits") {
		t.Error(err)
	}
	if err := x.Answer(context.Background(), []ask.Request{{Kind: ask.LogLikelihood, Context: "a"}}, func(int, ask.Answer) error { return nil }); err == nil {
		t.Error("nothing to score was accepted")
	}
}

// Stop strings end an answer before them, wherever tokens are cut.
func TestStopStrings(t *testing.T) {
	x := lex(t, Options{})
	ask1 := func(until ...string) ask.Answer {
		return answers(t, x, []ask.Request{{Kind: ask.Generate, Context: "This Agreement shall be governed by", Generation: ask.Generation{Until: until, MaxTokens: 24}}})[0]
	}
	whole := ask1()
	if len([]rune(whole.Text)) < 12 {
		t.Fatalf("%+v", whole)
	}
	stop := whole.Text[5:9]
	cut := ask1("", "never occurs", stop)
	want, _, _ := strings.Cut(whole.Text, stop)
	if cut.Text != want || cut.Tokens >= whole.Tokens {
		t.Errorf("%+v of %+v at %q", cut, whole, stop)
	}
}

// Identity changes with what answers depend on, and only then.
func TestIdentity(t *testing.T) {
	id := lex(t, Options{}).Identity()
	if len(id) != 64 || lex(t, Options{Name: "other"}).Identity() != id {
		t.Errorf("%q", id)
	}
	seen := map[string]string{id: "plain"}
	note := func(what, id string) {
		if seen[id] != "" || id == "" {
			t.Errorf("%s is %q, like %s", what, id, seen[id])
		}
		seen[id] = what
	}
	note("exact", lex(t, Options{Exact: true}).Identity())
	note("context", lex(t, Options{Context: 64}).Identity())
	c := lexBase(t)
	m, err := model.New(c, model.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, alpha := range []float64{16, 32} {
		config := lora.Default()
		config.Alpha = alpha
		a, err := lora.Attach(m, config, 1)
		if err != nil {
			t.Fatal(err)
		}
		note("adapter", start(t, c, a, Options{}).Identity())
		a.Params()[0].Data[0]++
		note("trained adapter", start(t, c, a, Options{}).Identity())
	}
}

// The template is the model's own; a conversation may end in the beginning of an answer.
func TestRender(t *testing.T) {
	x := lex(t, Options{})
	talk := []ask.Message{{Role: "user", Content: "Which licence is this?"}}
	open, err := x.Render(talk, false)
	if err != nil || !strings.Contains(open, talk[0].Content) {
		t.Fatalf("%q %v", open, err)
	}
	begun, err := x.Render(append(talk, ask.Message{Role: "assistant", Content: "It is"}), true)
	if err != nil || !strings.HasSuffix(begun, "It is") {
		t.Errorf("%q %v", begun, err)
	}
}
