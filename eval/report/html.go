package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
)

//go:embed report.html
var page string

// documentsShown bounds the documents in a page, over all tasks: a page of 57 subjects must still open. Those that
// changed come first, and what is left out is counted.
const documentsShown = 2000

// promptShown and answerShown bound texts in the page, in characters; of a prompt its end is kept.
const (
	promptShown = 1500
	answerShown = 600
)

// view is what the page shows of a task.
type view struct {
	Task, Metric string
	Documents    []entry
	Hidden       int
	Count        map[string]int // by state
}

// entry is a document.
type entry struct {
	ID                         int
	State                      string // worse, better, wrong, right
	Question, Prompt           string
	Before, After, Target      string
	WroteBefore, WroteAfter    string // before filters, where that says more
	Choices                    []pairOfChoices
	ValueBefore, ValueAfter    string
	HasBefore, MultipleChoices bool
}

type pairOfChoices struct {
	Text               string
	Before, After      string
	Gold, BestB, BestA bool
}

// HTML writes the report as one page: no scripts, nothing from outside.
func (r *Report) HTML(w io.Writer) error {
	t, err := template.New("report").Funcs(template.FuncMap{"percent": func(x float64) string { return fmt.Sprintf("%.0f %%", 100*x) }}).Parse(page)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	type row struct {
		Cells []string
		Class string
		Why   string
	}
	var rows []row
	if c := r.Comparison; c != nil {
		for i := range c.Rows {
			x := &c.Rows[i]
			why := x.Untested
			if x.Test != nil {
				why = fmt.Sprintf("%s; better %d, worse %d; these documents show changes from %s", x.Test.Method, x.Better, x.Worse, x.FormatDetectable())
				if x.Test.Clusters > 0 {
					why += fmt.Sprintf("; %d groups of dependent documents", x.Test.Clusters)
				}
			}
			rows = append(rows, row{columns(x), rowClass(x), why})
		}
	}
	legend, verdict, worst := "", "", Passed
	if r.Comparison != nil {
		legend = r.Comparison.legend()
	}
	if len(r.Gates) > 0 {
		verdict, worst = verdictText(r.Gates), Worst(r.Gates)
	}
	err = t.Execute(w, struct {
		*Report
		Rows                     []row
		Scores                   []line
		Views                    []view
		Points, Relative, Values template.HTML
		Legend, Verdict          string
		Worst                    Verdict
		Facts                    []Fact
	}{r, rows, lines(r.After), r.views(), r.changeChart(true), r.changeChart(false), r.scoreChart(), legend, verdict, worst, append(r.identity(), r.Facts...)})
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// identity says what was measured.
func (r *Report) identity() (facts []Fact) {
	for i, run := range []*Run{r.Before, r.After} {
		if run == nil {
			continue
		}
		side := []string{"before: ", "after: "}[i]
		if r.Before == nil {
			side = ""
		}
		facts = append(facts, Fact{side + "model", run.ModelName}, Fact{side + "results", run.Path})
		if run.Tune != nil {
			facts = append(facts, Fact{side + "model SHA-256", run.Tune.ModelSHA256}, Fact{side + "version", "tune " + run.Tune.Version})
		} else if run.LMEvalVersion != "" {
			facts = append(facts, Fact{side + "version", "lm-eval " + run.LMEvalVersion})
		}
	}
	return facts
}

// views are the tasks with their documents.
func (r *Report) views() (all []view) {
	tasks := slices.Sorted(maps.Keys(r.After.Samples))
	if len(tasks) == 0 {
		return nil
	}
	each := max(10, documentsShown/len(tasks))
	for _, task := range tasks {
		if v, ok := r.view(task, each); ok {
			all = append(all, v)
		}
	}
	return all
}

// order of states in the page.
var order = []string{"worse", "better", "wrong", "right"}

func (r *Report) view(task string, most int) (view, bool) {
	scores := r.After.Results.Results[task]
	if len(scores.List) == 0 {
		return view{}, false
	}
	main := scores.List[0]
	v := view{Task: task, Metric: label(main), Count: map[string]int{}}
	higher := true
	if h := r.After.HigherIsBetter[task][main.Metric]; h != nil {
		higher = *h
	}
	before := map[int]*Sample{}
	if r.Before != nil {
		for i := range r.Before.Samples[task] {
			if s := &r.Before.Samples[task][i]; s.Filter == main.Filter {
				before[s.DocID] = s
			}
		}
	}
	for i := range r.After.Samples[task] {
		if s := &r.After.Samples[task][i]; s.Filter == main.Filter {
			e := newEntry(s, before[s.DocID], main.Metric, higher)
			v.Count[e.State]++
			v.Documents = append(v.Documents, e)
		}
	}
	slices.SortStableFunc(v.Documents, func(a, b entry) int { return slices.Index(order, a.State) - slices.Index(order, b.State) })
	if len(v.Documents) > most {
		v.Hidden = len(v.Documents) - most
		v.Documents = v.Documents[:most]
	}
	return v, len(v.Documents) > 0
}

func newEntry(s, b *Sample, metric string, higher bool) entry {
	e := entry{ID: s.DocID, Prompt: tail(prompt(s), promptShown), Target: clip(s.Target, answerShown), After: clip(answer(s), answerShown), HasBefore: b != nil}
	question := strings.Fields(tail(prompt(s), 400))
	e.Question = tail(strings.Join(question, " "), 110)
	x, numeric := own(s, metric)
	e.State = "right"
	if numeric {
		e.ValueAfter = Format(x)
		if higher && x == 0 {
			e.State = "wrong"
		}
	}
	if w := response(s); choices(s) == nil && w != answer(s) {
		e.WroteAfter = clip(w, answerShown)
	}
	if b != nil {
		e.Before = clip(answer(b), answerShown)
		if w := response(b); choices(b) == nil && w != answer(b) {
			e.WroteBefore = clip(w, answerShown)
		}
		if y, ok := own(b, metric); ok && numeric {
			e.ValueBefore = Format(y)
			if x != y {
				e.State = "worse"
				if (x > y) == higher {
					e.State = "better"
				}
			}
		}
	}
	e.Choices = pairChoices(s, b)
	e.MultipleChoices = len(e.Choices) > 1
	if i := slices.IndexFunc(e.Choices, func(c pairOfChoices) bool { return c.Gold }); i >= 0 {
		e.Target = fmt.Sprintf("%d: %s", i, strings.TrimSpace(e.Choices[i].Text))
	}
	return e
}

// own is a document's own number: its value of the metric, or nats per word or byte where that is a couple of totals.
func own(s *Sample, metric string) (float64, bool) {
	if x, ok := s.Number(metric); ok {
		return x, true
	}
	x, y, ok := two(s.Values[metric])
	return -x / y, ok && y > 0
}

func pairChoices(s, b *Sample) (all []pairOfChoices) {
	var old []choice
	if b != nil {
		old = choices(b)
	}
	for i, c := range choices(s) {
		p := pairOfChoices{Text: clip(c.Text, answerShown), After: fmt.Sprintf("%.3f", c.LogProb), Gold: c.Gold, BestA: c.Best}
		if i < len(old) {
			p.Before, p.BestB = fmt.Sprintf("%.3f", old[i].LogProb), old[i].Best
		}
		all = append(all, p)
	}
	return all
}
