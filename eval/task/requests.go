package task

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"unicode/utf8"

	"tune/eval/ask"
	"tune/internal/chat"
	"tune/internal/pyre"
)

// Item is a document with what is asked about it.
type Item struct {
	ID  int // of the document in its split
	Doc Doc
	// Requests, each Repeats times, one after the other.
	Requests []ask.Request
}

// Set is what a task asks of a model.
type Set struct {
	*Task
	Items   []Item
	Prompts string // SHA-256 over all requests
}

// Requests makes the requests of a task. Few-shot examples are drawn document by document, so that the first documents
// are asked in the same words whether the others follow or not; with Options.Only they are other draws, as in lm-eval.
func (t *Task) Requests(o Options) (*Set, error) {
	s := &Set{Task: t}
	draw := &sampler{t, NewRandom(o.Seed)}
	h := sha256.New()
	wanted := o.Only
	if wanted == nil {
		n := len(t.Docs)
		if o.First > 0 {
			n = min(n, o.First)
		}
		for i := range n {
			wanted = append(wanted, i)
		}
	}
	for _, i := range wanted {
		if i < 0 || i >= len(t.Docs) {
			return nil, fmt.Errorf("task %s: expected documents below %d, found %d", t.Name, len(t.Docs), i)
		}
		item := Item{ID: i, Doc: t.Docs[i]}
		list, err := t.ask(item.Doc, draw, o)
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			io.WriteString(h, chat.JSON([]any{r.Context, r.Continuation}, 0, false))
			for k := range t.Repeats {
				r.Generation.Seed = o.Seed + uint64(k)
				item.Requests = append(item.Requests, r)
			}
		}
		s.Items = append(s.Items, item)
	}
	if len(s.Items) == 0 {
		return nil, fmt.Errorf("task %s: %w", t.Name, errNoDocs)
	}
	s.Prompts = hex.EncodeToString(h.Sum(nil))
	return s, nil
}

// ask makes the requests of a document.
func (t *Task) ask(doc Doc, draw *sampler, o Options) ([]ask.Request, error) {
	if t.Output == Rolling {
		target, err := t.target(doc, t.Target)
		return []ask.Request{{Kind: ask.Rolling, Context: chat.Str(target)}}, err
	}
	if t.Turns != nil {
		return t.conversation(doc, o)
	}
	contexts, chats, err := t.prompts(doc, draw, o)
	if err != nil {
		return nil, err
	}
	switch t.Output {
	case LogLikelihood:
		target, err := t.target(doc, t.Target)
		return []ask.Request{{Context: contexts[0], Continuation: chat.Str(target), Chat: chats[0]}}, err
	case GenerateUntil:
		g, err := t.generationOf()
		return []ask.Request{{Kind: ask.Generate, Context: contexts[0], Chat: chats[0], Generation: g}}, err
	}
	return t.choiceRequests(doc, contexts, chats, o)
}

// choiceRequests ask for the probability of every choice; with acc_mutual_info also for that without the question.
func (t *Task) choiceRequests(doc Doc, contexts []string, chats [][]ask.Message, o Options) ([]ask.Request, error) {
	delimiter := t.TargetDelimiter
	if o.Render != nil {
		if prefix, ok := t.GenPrefix.(string); !ok || prefix == "" || endsInSpace(prefix) {
			delimiter = ""
		}
	}
	var out []ask.Request
	if t.multipleInput {
		target, err := t.target(doc, t.Target)
		if err != nil {
			return nil, err
		}
		for i, c := range contexts {
			out = append(out, ask.Request{Context: c, Continuation: delimiter + chat.Str(target), Chat: chats[i]})
		}
		return out, nil
	}
	choices, err := t.choices(doc, t.Choice)
	if err != nil {
		return nil, err
	}
	for _, c := range choices {
		out = append(out, ask.Request{Context: contexts[0], Continuation: delimiter + c, Chat: chats[0]})
	}
	if t.metric("acc_mutual_info") {
		for _, c := range choices {
			out = append(out, ask.Request{Continuation: delimiter + c})
		}
	}
	return out, nil
}

func endsInSpace(s string) bool {
	r, _ := utf8.DecodeLastRuneInString(s)
	return s != "" && pyre.IsSpace(r)
}

// metric says whether the task reports a metric.
func (c *Config) metric(name string) bool {
	for _, m := range c.Metrics {
		if m.Name == name {
			return true
		}
	}
	return false
}

// generationOf reads generation_kwargs.
func (c *Config) generationOf() (ask.Generation, error) {
	f := &fields{d: c.Generation, at: c.File + ": task " + c.Name + ": generation_kwargs"}
	g := ask.Generation{Until: f.texts("until"), MaxTokens: defaultNewTokens}
	for _, key := range []string{"max_gen_toks", "max_new_tokens", "max_tokens"} {
		if n := f.int(key); n != nil {
			g.MaxTokens = *n
			break
		}
	}
	sampled := false
	if v, ok := c.Generation.Get("do_sample"); ok {
		sampled = f.bool("do_sample")
		if v == nil {
			sampled = false
		}
	}
	number := func(key string, unset float64) float64 {
		switch v := f.any(key).(type) {
		case nil:
			return unset
		case int64:
			return float64(v)
		case float64:
			return v
		default:
			f.bad("%s: expected a number, found %s", key, kindOf(v))
			return unset
		}
	}
	if temperature := number("temperature", 1); sampled || f.any("do_sample") == nil && f.any("temperature") != nil {
		g.Temperature, g.TopP = temperature, number("top_p", 0)
		if n := f.int("top_k"); n != nil {
			g.TopK = *n
		}
	}
	f.known([]string{"until", "max_gen_toks", "max_new_tokens", "max_tokens", "do_sample", "temperature", "top_p", "top_k"}, "generation_kwargs")
	return g, f.err()
}

// digestOf is the SHA-256 over documents.
func digestOf(docs []Doc) string {
	h := sha256.New()
	for _, d := range docs {
		io.WriteString(h, chat.JSON(d, 0, false)+"\n")
	}
	return hex.EncodeToString(h.Sum(nil))
}

// SetGeneration sets a key of generation_kwargs, its value written as in YAML.
func (c *Config) SetGeneration(key, value string) {
	if c.Generation != nil {
		c.Generation.Set(key, plainScalar(value))
	}
}

// SetMetadata sets a key of metadata, which functions that make documents read.
func (c *Config) SetMetadata(key string, value any) { c.Metadata.Set(key, value) }
