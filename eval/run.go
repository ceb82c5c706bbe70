// Package eval runs tasks on models: documents become requests, the model answers them, the answers become scores,
// samples and a results file.
package eval

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"tune/eval/ask"
	"tune/eval/report"
	"tune/eval/task"
)

// Job is what to ask and how.
type Job struct {
	Selection *task.Selection
	Sources   task.Sources
	Shots     *int    // few-shot examples; nil: what each task says. A task that says 0 keeps it.
	Limit     float64 // documents of each task; below 1 a share of them; 0: all
	Only      map[string][]int
	Seed      uint64 // of few-shot draws
	Chat      bool   // apply the model's chat template
	Template  string // that template, for the report; "" when it is not known here
	MultiTurn bool   // with Chat: examples are turns of their own
	System    string
	Bootstrap int // draws for standard errors at most; 0: no standard errors
	Env       task.Env
	Judge     ask.Model // reads the answers of tasks that need one; nil: there is none
	Version   string    // of tune
	Config    report.Config

	SkipMissing bool     // leave out tasks whose data is not there, with a note
	notes       []string // of Plan
}

// Progress is where a run is.
type Progress struct {
	Task        string  `json:"task"`
	Index       int     `json:"index"` // of the task, from 0
	Tasks       int     `json:"tasks"`
	Done        int     `json:"done"` // requests of the task
	Requests    int     `json:"requests"`
	Cached      int     `json:"cached"`
	Seconds     float64 `json:"seconds"`      // since the task began
	SecondsLeft float64 `json:"seconds_left"` // of the whole run, by the text read so far; negative: not known yet
}

// Planned is a task ready to be asked.
type Planned struct {
	Set  *task.Set
	Load float64 // about how much text the model reads for it
}

// Plan loads the documents of all tasks and makes their requests, so that whatever is wrong with them shows before the
// model has worked.
func (j *Job) Plan(m ask.Model) ([]Planned, error) {
	var out []Planned
	var problems []error
	for _, c := range j.Selection.Tasks {
		set, err := j.requests(c, m)
		if j.SkipMissing && errors.Is(err, task.ErrNoData) {
			j.notes = append(j.notes, "left out: "+err.Error())
			continue
		}
		if err != nil {
			problems = append(problems, err)
			continue
		}
		p := Planned{Set: set}
		for _, item := range set.Items {
			for _, r := range item.Requests {
				p.Load += load(r)
			}
		}
		out = append(out, p)
	}
	if len(out) == 0 && len(problems) == 0 {
		problems = append(problems, fmt.Errorf("no task has its data: %s", strings.Join(j.notes, "; ")))
	}
	return out, errors.Join(problems...)
}

// load is about how much work a request is; for time left only.
func load(r ask.Request) float64 {
	n := float64(len(r.Context) + len(r.Continuation))
	if r.Kind == ask.Generate {
		n += 40 * float64(r.Generation.MaxTokens) // a token written costs about as much as ten read
	}
	return n
}

func (j *Job) requests(c *task.Config, m ask.Model) (*task.Set, error) {
	if j.Shots != nil && !(c.Shots != nil && *c.Shots == 0) {
		changed := *c
		changed.Shots = j.Shots
		c = &changed
	}
	if c.UnsafeCode && j.Env.Run == nil {
		return nil, errCode(c.Name)
	}
	if c.Judge != nil && j.Judge == nil {
		return nil, errJudge(c.Name)
	}
	t, err := task.Load(c, j.Sources)
	if err != nil {
		return nil, err
	}
	o := task.Options{Seed: j.Seed, MultiTurn: j.MultiTurn, System: j.System, Only: j.Only[c.Name]}
	if j.Chat || c.Turns != nil {
		o.Render = m.Render
	}
	switch {
	case j.Limit > 0 && j.Limit < 1:
		o.First = int(math.Ceil(float64(len(t.Docs)) * j.Limit))
	case j.Limit >= 1:
		o.First = int(j.Limit)
	}
	return t.Requests(o)
}

// Outcome is everything a run found.
type Outcome struct {
	Results *report.Results
	Samples map[string][]report.Sample
}

// Run asks a model everything and scores its answers. watch is told of progress.
func (j *Job) Run(ctx context.Context, m ask.Model, plan []Planned, watch func(Progress)) (*Outcome, error) {
	began := time.Now()
	b := newBuilder(j, m, began)
	clock := newClock(plan)
	for i, p := range plan {
		r := &runner{job: j, model: m, set: p.Set, watch: watch, clock: clock, at: Progress{Task: p.Set.Name, Index: i, Tasks: len(plan)}}
		scored, err := r.run(ctx)
		if err != nil {
			return nil, fmt.Errorf("task %s: %w", p.Set.Name, err)
		}
		if err := b.add(p.Set, scored, &r.facts); err != nil {
			return nil, err
		}
	}
	return b.finish(time.Since(began))
}

// clock guesses the time left from the text that is left.
type clock struct {
	total, done, cached float64
	spent               time.Duration
}

func newClock(plan []Planned) *clock {
	c := &clock{}
	for _, p := range plan {
		c.total += p.Load
	}
	return c
}

func (c *clock) left() float64 {
	if c.done == 0 {
		return -1
	}
	return c.spent.Seconds() / c.done * max(0, c.total-c.done-c.cached)
}

// runner asks the requests of one task.
type runner struct {
	job   *Job
	model ask.Model
	set   *task.Set
	watch func(Progress)
	clock *clock
	at    Progress
	facts report.TaskFacts
}

func (r *runner) run(ctx context.Context) ([]task.Scored, error) {
	began := time.Now()
	answers, err := r.answers(ctx)
	if err != nil {
		return nil, err
	}
	scored, err := r.set.Score(ctx, answers, r.job.Env)
	r.facts.Seconds = time.Since(began).Seconds()
	return scored, err
}

// answers asks all requests of the task; conversations turn by turn, then the judge.
func (r *runner) answers(ctx context.Context) ([][]ask.Answer, error) {
	answers := make([][]ask.Answer, len(r.set.Items))
	requests := make([][]ask.Request, len(r.set.Items))
	for i, item := range r.set.Items {
		requests[i] = item.Requests
		r.at.Requests += len(item.Requests)
	}
	if err := r.round(ctx, r.model, requests, answers); err != nil {
		return nil, err
	}
	for {
		next, judge, err := r.set.Next(r.model.Render, answers)
		if err != nil || next == nil {
			return answers, err
		}
		m := r.model
		if judge {
			m = r.job.Judge
			if err := render(m, next); err != nil {
				return nil, err
			}
		}
		for _, list := range next {
			r.at.Requests += len(list)
		}
		if err := r.round(ctx, m, next, answers); err != nil {
			return nil, err
		}
	}
}

// render writes the contexts of conversations with a model's own template.
func render(m ask.Model, requests [][]ask.Request) error {
	for _, list := range requests {
		for k := range list {
			var err error
			if list[k].Context, err = m.Render(list[k].Chat, false); err != nil {
				return fmt.Errorf("judge: %w", err)
			}
		}
	}
	return nil
}

// round asks requests of all documents and appends the answers.
func (r *runner) round(ctx context.Context, m ask.Model, requests [][]ask.Request, answers [][]ask.Answer) error {
	var flat []ask.Request
	var where [][2]int
	for i, list := range requests {
		base := len(answers[i])
		answers[i] = append(answers[i], make([]ask.Answer, len(list))...)
		for k, q := range list {
			flat = append(flat, q)
			where = append(where, [2]int{i, base + k})
		}
	}
	began := time.Now()
	spent := r.clock.spent
	err := m.Answer(ctx, flat, func(k int, a ask.Answer) error {
		if math.IsNaN(a.LogProb) {
			return fmt.Errorf("document %d: the model gave no number as log-probability", r.set.Items[where[k][0]].ID)
		}
		answers[where[k][0]][where[k][1]] = a
		r.count(flat[k], a)
		if a.Cached {
			r.clock.cached += load(flat[k])
		} else {
			r.clock.done += load(flat[k])
		}
		r.clock.spent = spent + time.Since(began)
		r.at.Seconds, r.at.SecondsLeft = r.clock.spent.Seconds(), r.clock.left()
		r.watch(r.at)
		return nil
	})
	r.clock.spent = spent + time.Since(began)
	return err
}

func (r *runner) count(q ask.Request, a ask.Answer) {
	f := &r.facts
	f.Requests++
	r.at.Done++
	f.Read += int64(a.Read)
	f.Tokens += int64(a.Tokens)
	if a.Cached {
		f.Cached++
		r.at.Cached++
	}
	if a.Truncated > 0 {
		f.Truncated++
	}
	if q.Kind == ask.Generate && q.Generation.MaxTokens > 0 && a.Tokens >= q.Generation.MaxTokens {
		f.Cut++
	}
}

// unparsed counts answers in which a filter found nothing.
func unparsed(scored []task.Scored) (n int) {
	for _, x := range scored {
		if slices.Contains(x.Filtered, task.Unparsed) {
			n++
		}
	}
	return n
}
