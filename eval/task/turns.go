package task

import (
	"fmt"

	"tune/eval/ask"
	"tune/internal/chat"
)

// Compat is the version of lm-evaluation-harness whose numbers the tasks give.
const Compat = "0.4.13"

// JudgeConfig says how a second model reads the answers: an addition to lm-eval's task files.
type JudgeConfig struct {
	Prompts []string // one template for every turn; variables are the columns, answers, turn
	System  string
}

// readJudge reads the key judge.
func (c *Config) readJudge(f *fields) {
	if f.any("judge") == nil {
		return
	}
	g := &fields{d: f.dict("judge")}
	g.known([]string{"prompts", "system"}, "judge")
	c.Judge = &JudgeConfig{Prompts: g.texts("prompts"), System: g.text("system", "")}
	if len(c.Judge.Prompts) == 0 || c.Turns == nil {
		g.bad("expected a list prompts, and the key turns beside judge")
	}
	for _, w := range g.wrong {
		f.bad("judge: %s", w)
	}
}

// conversation is the first request of a task with turns.
func (t *Task) conversation(doc Doc, o Options) ([]ask.Request, error) {
	turns, err := t.turns(doc)
	if err != nil {
		return nil, err
	}
	if o.Render == nil {
		return nil, t.failed("turns", fmt.Errorf("a conversation needs a model with a chat template"))
	}
	r := ask.Request{Kind: ask.Generate}
	if o.System != "" {
		r.Chat = append(r.Chat, ask.Message{Role: "system", Content: o.System})
	}
	r.Chat = append(r.Chat, ask.Message{Role: "user", Content: turns[0]})
	if r.Context, err = o.Render(r.Chat, false); err != nil {
		return nil, err
	}
	r.Generation, err = t.generationOf()
	return []ask.Request{r}, err
}

// Next are the requests that follow from the answers so far: the next turn of a conversation, then the judge's
// questions; nil when nothing is left to ask.
func (s *Set) Next(render func([]ask.Message, bool) (string, error), answers [][]ask.Answer) (next [][]ask.Request, judge bool, err error) {
	if s.Turns == nil {
		return nil, false, nil
	}
	asked := 0
	next = make([][]ask.Request, len(s.Items))
	for i := range s.Items {
		item := &s.Items[i]
		turns, err := s.turns(item.Doc)
		if err != nil {
			return nil, false, err
		}
		n := len(answers[i])
		if n >= len(turns) {
			continue
		}
		r := item.Requests[0]
		r.Chat = r.Chat[: len(r.Chat)-1 : len(r.Chat)-1] // the system message, if any
		for k, a := range answers[i] {
			r.Chat = append(r.Chat, ask.Message{Role: "user", Content: turns[k]}, ask.Message{Role: "assistant", Content: a.Text})
		}
		r.Chat = append(r.Chat, ask.Message{Role: "user", Content: turns[n]})
		if r.Context, err = render(r.Chat, false); err != nil {
			return nil, false, err
		}
		next[i] = []ask.Request{r}
		asked++
	}
	if asked > 0 {
		return next, false, nil
	}
	return s.judgement(answers)
}

// judgement asks the judge about every turn.
func (s *Set) judgement(answers [][]ask.Answer) (next [][]ask.Request, judge bool, err error) {
	next = make([][]ask.Request, len(s.Items))
	asked := 0
	for i := range s.Items {
		doc := s.Items[i].Doc
		turns, err := s.turns(doc)
		if err != nil {
			return nil, false, err
		}
		if s.Judge == nil || len(answers[i]) != len(turns) {
			continue
		}
		for k := range turns {
			vars := merged(doc)
			var texts []any
			for _, a := range answers[i] {
				texts = append(texts, a.Text)
			}
			vars.Set("answers", texts)
			vars.Set("turn", int64(k))
			prompt, err := s.render(s.Judge.Prompts[min(k, len(s.Judge.Prompts)-1)], vars)
			if err != nil {
				return nil, false, s.failed("judge", err)
			}
			r := ask.Request{Kind: ask.Generate, Context: prompt, Generation: ask.Generation{MaxTokens: judgeTokens}}
			if s.Judge.System != "" {
				r.Chat = append(r.Chat, ask.Message{Role: "system", Content: s.Judge.System})
			}
			r.Chat = append(r.Chat, ask.Message{Role: "user", Content: prompt})
			next[i] = append(next[i], r)
			asked++
		}
	}
	if asked == 0 {
		return nil, false, nil
	}
	return next, true, nil
}

// judgeTokens is how much a judge may write.
const judgeTokens = 2048

// turns are what the user says, turn by turn.
func (t *Task) turns(doc Doc) ([]string, error) {
	v, _, err := t.value(doc, "turns", t.Turns)
	if err != nil {
		return nil, err
	}
	list, ok := v.([]any)
	if !ok || len(list) == 0 {
		return nil, t.failed("turns", fmt.Errorf("expected a list of texts, found %s", kindOf(v)))
	}
	out := make([]string, len(list))
	for i, x := range list {
		out[i] = chat.Str(x)
	}
	return out, nil
}
