// Package ask is the border between tasks, which know what to ask, and models, which answer. A task never sees a token
// and a model never sees a task.
package ask

import "context"

// Kind says what a request wants to know.
type Kind uint8

// The kinds of requests, lm-evaluation-harness' output types taken apart.
const (
	LogLikelihood Kind = iota // log p(Continuation | Context), and whether greedy decoding gives it
	Rolling                   // log p(Context), read in windows as long as the model's context
	Generate                  // what the model writes after Context
)

// Message is a turn of a conversation.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Request is one question to a model.
type Request struct {
	Kind         Kind
	Context      string    // rendered by the chat template where the task asks for one; may be empty
	Continuation string    // LogLikelihood only
	Chat         []Message // the conversation behind Context, for models that render it themselves; nil: plain text
	Generation   Generation
}

// Generation says how an answer is written. The zero value is greedy, to the end of the model's context.
type Generation struct {
	Until       []string // strings that end the answer; they are not part of it
	MaxTokens   int      // 0: until the context is full
	Temperature float64  // 0: greedy
	TopP        float64  // 0: all
	TopK        int      // 0: all
	Seed        uint64
}

// Answer is what a model says to a request.
type Answer struct {
	LogProb   float64 `json:"logprob"`             // nats, summed over the continuation (LogLikelihood) or the text (Rolling)
	Greedy    bool    `json:"greedy,omitempty"`    // LogLikelihood: every token is the most likely one
	Text      string  `json:"text,omitempty"`      // Generate
	Read      int     `json:"read"`                // tokens of context
	Tokens    int     `json:"tokens"`              // tokens scored or written
	Truncated int     `json:"truncated,omitempty"` // tokens of context that were dropped to fit
	Cached    bool    `json:"-"`                   // answered from the journal of an earlier run
}

// Model answers requests. Answers do not depend on which other requests come along, nor on their order.
type Model interface {
	// Name is what the user called the model.
	Name() string
	// Identity changes when any answer might: a hash of weights, adapter, tokenizer and settings, or an address and model
	// name. It is the model's part of a cache key.
	Identity() string
	// Context is the number of tokens the model can see, 0 when unknown.
	Context() int
	// Render applies the chat template. prefill says that the last message is the beginning of the answer.
	Render(chat []Message, prefill bool) (string, error)
	// Answer calls done once for every request, in any order, from one goroutine. An error of done ends the run.
	Answer(ctx context.Context, requests []Request, done func(i int, a Answer) error) error
}
