package endpoint

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"unicode/utf8"

	"tune/eval/ask"
	"tune/internal/hint"
	"tune/internal/pyre"
)

// body is a request of either kind. Pointers are sent even when zero.
type body struct {
	Model       string        `json:"model"`
	Prompt      *string       `json:"prompt,omitempty"`
	Messages    []ask.Message `json:"messages,omitempty"`
	MaxTokens   int           `json:"max_tokens,omitempty"`
	MaxNewName  int           `json:"max_completion_tokens,omitempty"` // the same, as some servers want it by chat
	Temperature float64       `json:"temperature"`
	TopP        float64       `json:"top_p,omitempty"`
	TopK        int           `json:"top_k,omitempty"` // not of OpenAI, but of most servers one runs oneself
	Seed        uint64        `json:"seed,omitempty"`
	Stop        []string      `json:"stop,omitempty"`
	LogProbs    int           `json:"logprobs,omitempty"`
	Echo        bool          `json:"echo,omitempty"`
}

// reply is what is read of a reply of either kind.
type reply struct {
	Choices []struct {
		Text     string
		Message  struct{ Content *string }
		LogProbs *logProbs
	}
	Usage struct {
		Read    int `json:"prompt_tokens"`
		Written int `json:"completion_tokens"`
	}
}

// logProbs are those of completions, one entry for each token of prompt and answer.
type logProbs struct {
	Tokens  []string                     `json:"tokens"`
	LogProb []*float64                   `json:"token_logprobs"`
	Top     []map[string]json.RawMessage `json:"top_logprobs"`
	Offset  []int                        `json:"text_offset"` // in characters
}

// ask sends a body and returns the first choice.
func (x *Model) ask(ctx context.Context, path string, b body) (*reply, error) {
	b.Model = x.o.Model
	var r reply
	if err := x.post(ctx, path, b, &r); err != nil {
		return nil, err
	}
	if len(r.Choices) == 0 {
		return nil, &refusal{state: 200, text: "reply: expected a choice, found none"}
	}
	x.mu.Lock()
	x.usage.Requests++
	x.usage.Read += max(r.Usage.Read, 0)
	x.usage.Written += max(r.Usage.Written, 0)
	x.mu.Unlock()
	return &r, nil
}

// mostStops is how many stop strings the protocol takes; the answer is cut at the others when it is here.
const mostStops = 4

func generation(g *ask.Generation) body {
	b := body{MaxTokens: g.MaxTokens, Temperature: g.Temperature, TopP: g.TopP, TopK: g.TopK, Seed: g.Seed}
	for _, s := range g.Until {
		if s != "" && len(b.Stop) < mostStops {
			b.Stop = append(b.Stop, s)
		}
	}
	return b
}

// written is the answer of a generation, ended before each stop string in turn.
func written(r *reply, text string, g *ask.Generation) ask.Answer {
	for _, s := range g.Until {
		if s != "" {
			text, _, _ = strings.Cut(text, s)
		}
	}
	return ask.Answer{Text: text, Read: r.Usage.Read, Tokens: r.Usage.Written}
}

func (x *Model) complete(ctx context.Context, q *ask.Request) (ask.Answer, error) {
	b := generation(&q.Generation)
	b.Prompt = &q.Context
	r, err := x.ask(ctx, "/completions", b)
	if err != nil {
		return ask.Answer{}, err
	}
	return written(r, r.Choices[0].Text, &q.Generation), nil
}

func (x *Model) chat(ctx context.Context, q *ask.Request) (ask.Answer, error) {
	b := generation(&q.Generation)
	b.Messages = q.Chat
	if b.Messages == nil {
		b.Messages = []ask.Message{{Role: "user", Content: q.Context}}
	}
	if x.newName.Load() {
		b.MaxTokens, b.MaxNewName = 0, b.MaxTokens
	}
	r, err := x.ask(ctx, "/chat/completions", b)
	if refused := (*refusal)(nil); errors.As(err, &refused) && b.MaxTokens > 0 && strings.Contains(refused.text, "max_completion_tokens") {
		x.newName.Store(true) // the server says how it wants the limit to be called
		b.MaxTokens, b.MaxNewName = 0, b.MaxTokens
		r, err = x.ask(ctx, "/chat/completions", b)
	}
	if err != nil {
		return ask.Answer{}, err
	}
	text := ""
	if c := r.Choices[0].Message.Content; c != nil { // null: the model said nothing
		text = *c
	}
	return written(r, text, &q.Generation), nil
}

// score sums the log-probabilities of a continuation, or of a whole text, that the server gives for its prompt. As in
// lm-evaluation-harness white space at the end of the context belongs to the continuation. The server's tokenizer is not known
// here: a token that reaches over the border counts as the continuation's. The first token of a whole text has a
// log-probability only where the server puts a token before it.
func (x *Model) score(ctx context.Context, q *ask.Request) (ask.Answer, error) {
	text, border := q.Context, 0
	if q.Kind == ask.LogLikelihood {
		text += q.Continuation
		border = utf8.RuneCountInString(strings.TrimRightFunc(q.Context, pyre.IsSpace))
	}
	if text == "" {
		return ask.Answer{Greedy: true}, nil
	}
	r, err := x.ask(ctx, "/completions", body{Prompt: &text, MaxTokens: 1, LogProbs: 1, Echo: true})
	if err != nil {
		return ask.Answer{}, err
	}
	l, end := r.Choices[0].LogProbs, utf8.RuneCountInString(text)
	if l == nil || len(l.LogProb) == 0 || len(l.Offset) != len(l.LogProb) || len(l.Top) != len(l.LogProb) || !strings.HasPrefix(r.Choices[0].Text, text) {
		return ask.Answer{}, hint.Errorf("choose tasks that generate, or a server that echoes the prompt's log-probabilities, such as vLLM",
			"multiple-choice and perplexity tasks cannot be run: expected the log-probabilities of the prompt (echo and logprobs), found none")
	}
	if len(r.Choices[0].Text) > len(text) && l.Offset[len(l.Offset)-1] < end {
		return ask.Answer{}, hint.Errorf("choose tasks that generate, or a server that counts as OpenAI's does, such as vLLM; llama-cpp-python does not for models without a token that begins texts",
			"multiple-choice and perplexity tasks cannot be run: expected the log-probability of the token that was written, found none: those of the prompt are shifted by one")
	}
	a := ask.Answer{Greedy: true}
	for i, p := range l.LogProb {
		last := end // of the token
		if i+1 < len(l.Offset) {
			last = l.Offset[i+1]
		}
		switch at := l.Offset[i]; {
		case at >= end: // what the server wrote
			continue
		case last <= border && q.Kind == ask.LogLikelihood || p == nil && i == 0:
			a.Read++
			continue
		case p == nil || math.IsNaN(*p) || *p > 0:
			return ask.Answer{}, &refusal{state: 200, text: "reply: expected a log-probability for every token of the continuation"}
		}
		a.LogProb += *p
		a.Tokens++
		a.Greedy = a.Greedy && likeliest(*p, l.Top[i])
	}
	if a.Tokens == 0 && q.Kind == ask.LogLikelihood {
		return ask.Answer{}, &refusal{state: 200, text: "reply: expected tokens of the continuation, found none"}
	}
	return a, nil
}

// likeliest tells whether no token of those the server lists is likelier than p.
func likeliest(p float64, top map[string]json.RawMessage) bool {
	for _, raw := range top {
		var v float64
		if json.Unmarshal(raw, &v) == nil && v > p {
			return false
		}
	}
	return true
}
