package endpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"tune/internal/hint"
)

// maxReply bounds a reply in bytes.
const maxReply = 64 << 20

// passing are the states of a server that may be over soon.
var passing = []int{http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusInternalServerError,
	http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}

// refusal is a reply that is no answer.
type refusal struct {
	state   int
	text    string
	after   time.Duration // what the server asks to wait
	passing bool
}

func (r *refusal) Error() string {
	if r.state == http.StatusOK {
		return r.text
	}
	return fmt.Sprintf("%d %s: %s", r.state, http.StatusText(r.state), r.text)
}

// wait before attempt n+1, n counting from 1: twice as long each time. There is no jitter, so that a run can be repeated;
// Options.PerMinute is what keeps many requests apart.
func wait(n int) time.Duration {
	const first, most = time.Second, time.Minute
	return min(first<<min(n-1, 10), most)
}

// post sends a body to a path of the API and decodes the reply into out, trying again after failures that may pass.
func (x *Model) post(ctx context.Context, path string, body, out any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	for n := 1; ; n++ {
		if err := x.turn(ctx); err != nil {
			return err
		}
		err := x.attempt(ctx, path, text, out)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var r *refusal
		if errors.As(err, &r) && !r.passing {
			return explain(r)
		}
		if n == x.o.Attempts {
			return hint.Errorf("answers so far are kept if there is a journal: run again when the server is well", "no answer in %d attempts: %w", n, err)
		}
		d := wait(n)
		if r != nil {
			d = max(d, r.after)
		}
		x.mu.Lock()
		x.usage.Retries++
		x.mu.Unlock()
		if err := x.o.Clock.Sleep(ctx, d); err != nil {
			return err
		}
	}
}

// explain adds what can be done about an answer that will not change.
func explain(r *refusal) error {
	switch r.state {
	case http.StatusUnauthorized, http.StatusForbidden:
		return hint.Errorf("check the key and the variable that holds it", "%w", r)
	case http.StatusNotFound:
		return hint.Errorf("check the address, which usually ends in /v1, and the model's name", "%w", r)
	}
	return r
}

// turn waits for the rate limit.
func (x *Model) turn(ctx context.Context) error {
	if x.o.PerMinute == 0 {
		return ctx.Err()
	}
	x.mu.Lock()
	now := x.o.Clock.Now()
	at := x.slot
	if at.Before(now) {
		at = now
	}
	x.slot = at.Add(time.Duration(float64(time.Minute) / x.o.PerMinute))
	x.mu.Unlock()
	return x.o.Clock.Sleep(ctx, at.Sub(now))
}

// attempt is one request.
func (x *Model) attempt(ctx context.Context, path string, body []byte, out any) error {
	ctx, cancel := x.o.Clock.Timeout(ctx, x.o.Timeout)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, x.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	q.Header.Set("Content-Type", "application/json")
	if x.key != "" {
		q.Header.Set("Authorization", "Bearer "+x.key)
	}
	r, err := x.o.Client.Do(q)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(io.LimitReader(r.Body, maxReply+1))
	if err != nil {
		return fmt.Errorf("reply: %w", err)
	}
	if len(text) > maxReply {
		return &refusal{state: r.StatusCode, text: fmt.Sprintf("expected a reply of at most %d bytes, found more", maxReply)}
	}
	if r.StatusCode != http.StatusOK {
		return &refusal{r.StatusCode, message(text), after(r.Header.Get("Retry-After"), x.o.Clock.Now()), slices.Contains(passing, r.StatusCode)}
	}
	if err := json.Unmarshal(text, out); err != nil {
		var shape *json.UnmarshalTypeError // JSON, but of something else: it will not change
		return &refusal{state: r.StatusCode, text: fmt.Sprintf("reply: %v in %q", err, short(text)), passing: !errors.As(err, &shape)}
	}
	return nil
}

// after is what a Retry-After header asks for: seconds, or a date.
func after(header string, now time.Time) time.Duration {
	const most = time.Hour // a server that asks for more is not waited for longer
	if s, err := strconv.ParseFloat(header, 64); err == nil && s > 0 {
		return time.Duration(min(s, most.Seconds()) * float64(time.Second))
	}
	if t, err := http.ParseTime(header); err == nil {
		return min(max(t.Sub(now), 0), most)
	}
	return 0
}

// message is the text of an error reply, usually {"error": {"message": ...}}.
func message(text []byte) string {
	var e struct {
		Error   json.RawMessage
		Message string
	}
	if json.Unmarshal(text, &e) == nil {
		var inner struct{ Message string }
		if json.Unmarshal(e.Error, &inner) == nil && inner.Message != "" {
			return inner.Message
		}
		if e.Message != "" {
			return e.Message
		}
	}
	return short(text)
}

func short(text []byte) string {
	const most = 200
	return string(bytes.ToValidUTF8(bytes.TrimSpace(text[:min(len(text), most)]), nil))
}
