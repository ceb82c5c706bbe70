package endpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"tune/eval/ask"
	"tune/internal/hint"
)

// server speaks the protocol. A word is a token; the log-probability of the i-th of a prompt is -i/8. faults are used up first,
// one for each request.
type server struct {
	*httptest.Server
	mu      sync.Mutex
	faults  []func(w http.ResponseWriter, r *http.Request)
	bodies  []body
	headers []http.Header
	noEcho  bool
}

func newServer(t *testing.T, faults ...func(http.ResponseWriter, *http.Request)) *server {
	s := &server{faults: faults}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	text, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	var fault func(http.ResponseWriter, *http.Request)
	if len(s.faults) > 0 {
		fault, s.faults = s.faults[0], s.faults[1:]
	}
	var b body
	err := json.Unmarshal(text, &b)
	if fault == nil {
		s.bodies, s.headers = append(s.bodies, b), append(s.headers, r.Header)
	}
	s.mu.Unlock()
	switch {
	case fault != nil:
		fault(w, r)
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	case r.URL.Path == "/v1/chat/completions":
		fmt.Fprintf(w, `{"choices":[{"message":{"role":"assistant","content":%q}}],"usage":{"prompt_tokens":7,"completion_tokens":3}}`, "to "+b.Messages[len(b.Messages)-1].Content+" STOP more")
	case r.URL.Path == "/v1/completions" && b.Echo && !s.noEcho:
		json.NewEncoder(w).Encode(echo(*b.Prompt))
	case r.URL.Path == "/v1/completions":
		fmt.Fprintf(w, `{"choices":[{"text":%q,"logprobs":null}],"usage":{"prompt_tokens":5,"completion_tokens":2}}`, " after "+*b.Prompt)
	default:
		http.NotFound(w, r)
	}
}

// echo scores a prompt: tokens are words with the space before them. Even ones are the likeliest.
func echo(prompt string) any {
	var tokens []string
	var offsets []int
	var logp []any
	var top []any
	for at, r := range []rune(prompt) {
		if at == 0 || r == ' ' {
			i := len(tokens)
			tokens, offsets = append(tokens, ""), append(offsets, at)
			if i == 0 {
				logp, top = append(logp, nil), append(top, nil)
			} else {
				logp, top = append(logp, -float64(i)/8), append(top, map[string]float64{"x": -float64(i)/8 + float64(i%2)/100})
			}
		}
		tokens[len(tokens)-1] += string(r)
	}
	tokens, offsets, logp, top = append(tokens, " end"), append(offsets, len([]rune(prompt))), append(logp, -9.0), append(top, map[string]float64{"y": -1})
	return map[string]any{"choices": []any{map[string]any{"text": prompt + " end",
		"logprobs": map[string]any{"tokens": tokens, "token_logprobs": logp, "top_logprobs": top, "text_offset": offsets}}},
		"usage": map[string]any{"prompt_tokens": len(tokens) - 1, "completion_tokens": 1}}
}

// still is a clock that stands still but for what is slept, and notes that.
type still struct {
	mu    sync.Mutex
	now   time.Time
	slept []time.Duration
	limit func(ctx context.Context) (context.Context, context.CancelFunc) // nil: requests take as long as they like
}

func (c *still) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *still) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d > 0 {
		c.now, c.slept = c.now.Add(d), append(c.slept, d)
	}
	return ctx.Err()
}

func (c *still) Timeout(ctx context.Context, _ time.Duration) (context.Context, context.CancelFunc) {
	if c.limit == nil {
		return context.WithCancel(ctx)
	}
	return c.limit(ctx)
}

func start(t *testing.T, s *server, o Options) (*Model, *still) {
	t.Helper()
	c := &still{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	o.URL, o.Model, o.Clock = s.URL+"/v1/", "m", c
	x, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return x, c
}

func answers(x *Model, rs []ask.Request) ([]ask.Answer, error) {
	out := make([]ask.Answer, len(rs))
	err := x.Answer(context.Background(), rs, func(i int, a ask.Answer) error { out[i] = a; return nil })
	return out, err
}

var hello = []ask.Request{{Kind: ask.Generate, Context: "hello", Generation: ask.Generation{MaxTokens: 9, Until: []string{"", "STOP"}, Temperature: 0.5, Seed: 4}}}

func TestGenerate(t *testing.T) {
	s := newServer(t)
	x, _ := start(t, s, Options{Chat: true, PriceRead: 2, PriceWritten: 10})
	many := make([]ask.Request, 30)
	for i := range many {
		many[i] = hello[0]
		many[i].Chat = []ask.Message{{Role: "system", Content: "s"}, {Role: "user", Content: fmt.Sprint("n", i)}}
	}
	as, err := answers(x, many)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range as {
		if a.Text != fmt.Sprintf("to n%d ", i) || a.Read != 7 || a.Tokens != 3 {
			t.Errorf("answer %d: %+v", i, a)
		}
	}
	if b := s.bodies[0]; b.Model != "m" || b.MaxTokens != 9 || b.Temperature != 0.5 || b.Seed != 4 || len(b.Stop) != 1 || len(b.Messages) != 2 || b.Messages[0].Role != "system" {
		t.Errorf("%+v", b)
	}
	if u := x.Usage(); u.Requests != 30 || u.Read != 210 || u.Written != 90 || math.Abs(u.Cost-(420+900)/1e6) > 1e-12 || u.Retries != 0 {
		t.Errorf("%+v", u)
	}
	plain, _ := start(t, s, Options{})
	if as, err := answers(plain, hello); err != nil || as[0].Text != " after hello" {
		t.Errorf("%+v %v", as, err)
	}
}

func TestScore(t *testing.T) {
	x, _ := start(t, newServer(t), Options{})
	as, err := answers(x, []ask.Request{
		{Context: "a b", Continuation: " c d"},
		{Context: "ä ö ", Continuation: "c"}, // characters, not bytes; the space belongs to the continuation
		{Kind: ask.Rolling, Context: "a b c"},
		{Kind: ask.Rolling},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []ask.Answer{{LogProb: -5. / 8, Read: 2, Tokens: 2}, {LogProb: -2. / 8, Read: 2, Tokens: 1, Greedy: true}, {LogProb: -3. / 8, Read: 1, Tokens: 2}, {Greedy: true}} {
		if as[i] != want {
			t.Errorf("answer %d: %+v, want %+v", i, as[i], want)
		}
	}
}

// What a server cannot do is said, with the tasks it rules out, and chat is not even asked.
func TestUnable(t *testing.T) {
	s := newServer(t)
	s.noEcho = true
	scored := []ask.Request{{Context: "a", Continuation: " b"}}
	for name, o := range map[string]Options{"chat": {Chat: true}, "no echo": {}} {
		x, _ := start(t, s, o)
		if _, err := answers(x, scored); err == nil || !strings.Contains(err.Error(), "multiple-choice and perplexity tasks cannot be run") || hint.Of(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(s.bodies) != 1 {
		t.Errorf("%d requests were sent", len(s.bodies))
	}
	// llama-cpp-python 0.3.36 to a model without a first token: each log-probability is that of the token after the one it stands at.
	x, _ := start(t, newServer(t, state(200, "", `{"choices":[{"text":"a b\n","logprobs":{"tokens":["a"," b"],"text_offset":[0,1],"token_logprobs":[null,-7.5],"top_logprobs":[null,{"\n":-0.5," b":-7.5}]}}]}`)), Options{})
	if a, err := answers(x, scored); err == nil || !strings.Contains(err.Error(), "shifted by one") || hint.Of(err) == "" {
		t.Errorf("shifted log-probabilities gave %+v, %v", a, err)
	}
}

func state(code int, header, text string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		if header != "" {
			w.Header().Set("Retry-After", header)
		}
		w.WriteHeader(code)
		io.WriteString(w, text)
	}
}

func hangUp(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
	}
}

func half(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	io.WriteString(w, `{"choices":[`)
}

// Failures that may pass are tried again after a fixed schedule, or after what the server asks for.
func TestFaults(t *testing.T) {
	date := time.Date(2026, 1, 2, 3, 4, 35, 0, time.UTC).Format(http.TimeFormat)
	for name, c := range map[string]struct {
		faults []func(http.ResponseWriter, *http.Request)
		slept  []time.Duration
		err    string
	}{
		"429, then asked to wait":  {[]func(http.ResponseWriter, *http.Request){state(429, "7", ""), state(429, "0.5", "")}, []time.Duration{7 * time.Second, 2 * time.Second}, ""},
		"503 until a date":         {[]func(http.ResponseWriter, *http.Request){state(503, date, "")}, []time.Duration{30 * time.Second}, ""},
		"500 and cut connections":  {[]func(http.ResponseWriter, *http.Request){state(500, "", "oops"), hangUp, half}, []time.Duration{1e9, 2e9, 4e9}, ""},
		"wrong JSON":               {[]func(http.ResponseWriter, *http.Request){state(200, "", "<html>")}, []time.Duration{1e9}, ""},
		"500 for ever":             {repeat(6, state(500, "", `{"error":{"message":"out of order"}}`)), []time.Duration{1e9, 2e9, 4e9, 8e9, 16e9}, "no answer in 6 attempts: 500 Internal Server Error: out of order"},
		"wrong JSON for ever":      {repeat(6, state(200, "", "<html>")), []time.Duration{1e9, 2e9, 4e9, 8e9, 16e9}, `no answer in 6 attempts: reply: invalid character '<' looking for beginning of value in "<html>"`},
		"no choices":               {repeat(1, state(200, "", `{"choices":[]}`)), nil, "reply: expected a choice, found none"},
		"another shape is final":   {repeat(1, state(200, "", `{"choices":3}`)), nil, "reply: json: "},
		"400 is final":             {repeat(1, state(400, "", `{"message":"context too long"}`)), nil, "400 Bad Request: context too long"},
		"401 is final":             {repeat(1, state(401, "", `{"error":{"message":"bad key"}}`)), nil, "401 Unauthorized: bad key"},
		"404 is final":             {repeat(1, state(404, "", "nothing here")), nil, "404 Not Found: nothing here"},
		"a day is not waited":      {repeat(1, state(429, "86400", "")), []time.Duration{time.Hour}, ""},
		"nonsense is no wait more": {repeat(1, state(429, "soon", "")), []time.Duration{time.Second}, ""},
	} {
		s := newServer(t, c.faults...)
		x, clock := start(t, s, Options{Chat: true})
		as, err := answers(x, hello)
		if c.err == "" && (err != nil || as[0].Text != "to hello ") || c.err != "" && (err == nil || !strings.Contains(err.Error(), "m: request 0: "+c.err)) {
			t.Errorf("%s: %+v, %v", name, as, err)
		}
		if fmt.Sprint(clock.slept) != fmt.Sprint(c.slept) || x.Usage().Retries != len(c.slept) {
			t.Errorf("%s: slept %v, want %v", name, clock.slept, c.slept)
		}
	}
}

func repeat(n int, f func(http.ResponseWriter, *http.Request)) (fs []func(http.ResponseWriter, *http.Request)) {
	for range n {
		fs = append(fs, f)
	}
	return fs
}

// Some servers want the limit of tokens under another name, and say so.
func TestNewName(t *testing.T) {
	s := newServer(t, state(400, "", `{"error":{"message":"Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."}}`))
	x, _ := start(t, s, Options{Chat: true, Concurrency: 1})
	if as, err := answers(x, []ask.Request{hello[0], hello[0]}); err != nil || as[1].Text != "to hello " {
		t.Fatalf("%+v %v", as, err)
	}
	for _, b := range s.bodies {
		if b.MaxTokens != 0 || b.MaxNewName != 9 {
			t.Errorf("%+v", b)
		}
	}
}

// A slow answer is given up and asked for again: here time is up as soon as the server has the request.
func TestSlow(t *testing.T) {
	reached := make(chan struct{})
	s := newServer(t, func(_ http.ResponseWriter, r *http.Request) { close(reached); <-r.Context().Done() })
	x, clock := start(t, s, Options{Chat: true})
	calls := 0
	clock.limit = func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancelCause(ctx)
		if calls++; calls == 1 {
			go func() { <-reached; cancel(context.DeadlineExceeded) }()
		}
		return ctx, func() { cancel(nil) }
	}
	if as, err := answers(x, hello); err != nil || as[0].Text != "to hello " || calls != 2 || len(clock.slept) != 1 {
		t.Errorf("%+v, %v, %d calls, slept %v", as, err, calls, clock.slept)
	}
}

// The rate limit spaces requests evenly, whatever the concurrency.
func TestRate(t *testing.T) {
	x, clock := start(t, newServer(t), Options{Chat: true, PerMinute: 30, Concurrency: 1})
	if _, err := answers(x, []ask.Request{hello[0], hello[0], hello[0]}); err != nil || fmt.Sprint(clock.slept) != "[2s 2s]" {
		t.Errorf("slept %v, %v", clock.slept, err)
	}
}

// The end of a context, or of done, ends the run.
func TestEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s := newServer(t, func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	x, clock := start(t, s, Options{Chat: true})
	if err := x.Answer(ctx, hello, func(int, ask.Answer) error { return nil }); !errors.Is(err, context.Canceled) || len(clock.slept) > 0 {
		t.Errorf("%v, slept %v", err, clock.slept)
	}
	enough := errors.New("enough")
	x, _ = start(t, newServer(t), Options{Chat: true})
	if err := x.Answer(context.Background(), make([]ask.Request, 9), func(int, ask.Answer) error { return nil }); err == nil {
		t.Error("scoring by chat")
	}
	many := []ask.Request{hello[0], hello[0], hello[0], hello[0], hello[0], hello[0]}
	if err := x.Answer(context.Background(), many, func(int, ask.Answer) error { return enough }); !errors.Is(err, enough) {
		t.Error(err)
	}
}

// The key comes from the environment and goes nowhere but into the header.
func TestKey(t *testing.T) {
	t.Setenv("TUNE_TEST_KEY", "k3y")
	s := newServer(t)
	x, _ := start(t, s, Options{Chat: true, KeyEnv: "TUNE_TEST_KEY"})
	if _, err := answers(x, hello); err != nil || s.headers[0].Get("Authorization") != "Bearer k3y" {
		t.Errorf("%v %v", s.headers, err)
	}
	if strings.Contains(x.Identity()+x.Name(), "k3y") {
		t.Error("the key is part of the identity")
	}
	t.Setenv("TUNE_TEST_KEY", "")
	for _, o := range []Options{{URL: "http://h/v1", Model: "m", KeyEnv: "TUNE_TEST_KEY"}, {URL: "h:80", Model: "m"}, {URL: "http://u:p@h/v1", Model: "m"},
		{URL: "http://h/v1"}, {URL: "http://h/v1", Model: "m", PerMinute: -1}, {URL: "http://h/v1", Model: "m", PriceRead: math.NaN()}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}
