// Package endpoint answers evaluation requests through a server that speaks the protocol of OpenAI's API: closed models, vLLM,
// llama-server. What a server cannot do is an error that says which tasks it rules out.
package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tune/eval/ask"
	"tune/internal/hint"
)

// Options of a Model.
type Options struct {
	URL         string        // of the API: http://host:port/v1
	Model       string        // the server's name for the model
	Name        string        // the user's; "": Model
	KeyEnv      string        // variable of the environment that holds the key; "": none is sent
	Chat        bool          // ask by chat/completions, else by completions
	Context     int           // tokens the model can see, 0: unknown
	Concurrency int           // requests under way at a time; 0: 4
	PerMinute   float64       // most requests a minute; 0: no limit
	Timeout     time.Duration // of one request; 0: 10 minutes
	Attempts    int           // most attempts at one request; 0: 6
	// Prices of a million tokens read and written, in any currency.
	PriceRead, PriceWritten float64

	Client *http.Client // nil: the default
	Clock  Clock        // nil: the computer's
}

// Usage is what a Model has used so far, as the server counts it.
type Usage struct {
	Requests int     `json:"requests"` // answered
	Retries  int     `json:"retries"`
	Read     int     `json:"tokens_read"`
	Written  int     `json:"tokens_written"`
	Cost     float64 `json:"cost"`
}

// Clock is time as a Model sees it.
type Clock interface {
	Now() time.Time
	// Sleep waits, or returns the context's error.
	Sleep(ctx context.Context, d time.Duration) error
	// Timeout is a context that ends after d.
	Timeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc)
}

// Model is an ask.Model.
type Model struct {
	o   Options
	url string
	key string

	newName atomic.Bool // the server wants max_completion_tokens

	mu    sync.Mutex
	usage Usage
	slot  time.Time // when the next request may begin
}

// New checks the options; it asks the server nothing.
func New(o Options) (*Model, error) {
	u, err := url.Parse(o.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, hint.Errorf("write it as http://localhost:8080/v1", "endpoint: expected the address of an API, found %q", o.URL)
	}
	if u.User != nil {
		return nil, hint.Errorf("put the key into a variable of the environment and name that", "endpoint: expected an address without a password")
	}
	if o.Model == "" {
		return nil, errors.New("endpoint: expected the name of a model, found none")
	}
	for name, v := range map[string]float64{"context": float64(o.Context), "concurrency": float64(o.Concurrency), "requests per minute": o.PerMinute,
		"timeout": float64(o.Timeout), "attempts": float64(o.Attempts), "price": min(o.PriceRead, o.PriceWritten)} {
		if !(v >= 0) {
			return nil, fmt.Errorf("endpoint: %s: expected a number not below 0, found %v", name, v)
		}
	}
	x := &Model{o: o, url: strings.TrimRight(o.URL, "/")}
	if o.KeyEnv != "" {
		if x.key = os.Getenv(o.KeyEnv); x.key == "" {
			return nil, hint.Errorf("set the variable to the key of the API", "endpoint: expected a key in $%s, found none", o.KeyEnv)
		}
	}
	def(&x.o.Name, o.Model)
	def(&x.o.Concurrency, 4)
	def(&x.o.Timeout, 10*time.Minute)
	def(&x.o.Attempts, 6)
	if x.o.Client == nil {
		x.o.Client = http.DefaultClient
	}
	if x.o.Clock == nil {
		x.o.Clock = wall{}
	}
	return x, nil
}

// def sets what was left out.
func def[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// Name is what the user called the model.
func (x *Model) Name() string { return x.o.Name }

// Identity is the address and the server's name for the model: whether the weights behind them change cannot be seen from here.
func (x *Model) Identity() string {
	return fmt.Sprintf("endpoint %s model %q chat %v", x.url, x.o.Model, x.o.Chat)
}

// Context is the number of tokens the model can see, 0 when unknown.
func (x *Model) Context() int { return x.o.Context }

// Render shows a conversation: the server renders it by itself, from Request.Chat.
func (x *Model) Render(talk []ask.Message, _ bool) (string, error) {
	if !x.o.Chat {
		return "", hint.Errorf("ask the endpoint by chat, or evaluate without a chat template", "%s: completions know no chat template", x.o.Name)
	}
	var b strings.Builder
	for _, m := range talk {
		fmt.Fprintf(&b, "%s: %s\n", m.Role, m.Content)
	}
	return b.String(), nil
}

// Usage is what was used so far.
func (x *Model) Usage() Usage {
	x.mu.Lock()
	defer x.mu.Unlock()
	u := x.usage
	u.Cost = (float64(u.Read)*x.o.PriceRead + float64(u.Written)*x.o.PriceWritten) / 1e6
	return u
}

// able is an error when the way of asking rules out some of the requests.
func (x *Model) able(requests []ask.Request) error {
	if !x.o.Chat {
		return nil
	}
	scored := 0
	for i := range requests {
		if requests[i].Kind != ask.Generate {
			scored++
		}
	}
	if scored > 0 {
		return hint.Errorf("choose tasks that generate, or ask by completions at a server that echoes log-probabilities",
			"%s: multiple-choice and perplexity tasks cannot be run by chat: %d of %d requests want log-probabilities", x.o.Name, scored, len(requests))
	}
	return nil
}

// Answer asks the server, several requests at a time. The first error ends the run.
func (x *Model) Answer(ctx context.Context, requests []ask.Request, done func(i int, a ask.Answer) error) error {
	if err := x.able(requests); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type reply struct {
		i   int
		a   ask.Answer
		err error
	}
	work, replies := make(chan int), make(chan reply)
	var workers sync.WaitGroup
	for range min(x.o.Concurrency, len(requests)) {
		workers.Go(func() {
			for i := range work {
				a, err := x.one(ctx, &requests[i])
				if err != nil {
					err = fmt.Errorf("%s: request %d: %w", x.o.Name, i, err)
				}
				replies <- reply{i, a, err}
			}
		})
	}
	go func() {
		defer close(work)
		for i := range requests {
			select {
			case work <- i:
			case <-ctx.Done():
				return
			}
		}
	}()
	go func() { workers.Wait(); close(replies) }()
	answered := 0
	var first error
	for r := range replies {
		if first != nil {
			continue
		}
		if first = r.err; first == nil {
			answered++
			first = done(r.i, r.a)
		}
		if first != nil {
			cancel()
		}
	}
	if first == nil && answered < len(requests) {
		first = ctx.Err()
	}
	return first
}

// one answers one request.
func (x *Model) one(ctx context.Context, r *ask.Request) (ask.Answer, error) {
	switch {
	case r.Kind != ask.Generate:
		return x.score(ctx, r)
	case x.o.Chat:
		return x.chat(ctx, r)
	default:
		return x.complete(ctx, r)
	}
}

// wall is the computer's clock.
type wall struct{}

func (wall) Now() time.Time { return time.Now() }

func (wall) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (wall) Timeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d)
}
