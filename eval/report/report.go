package report

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"tune/eval/stats"
)

// Report is what there is to tell about a run, alone or beside its baseline.
type Report struct {
	Title      string
	After      *Run
	Before     *Run        // nil: a run alone
	Comparison *Comparison // nil: a run alone
	Gates      []Outcome
	Facts      []Fact // what else belongs to it: versions, times, files
}

// Fact is a line of a table.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// line is a score of the run, for tables.
type line struct {
	Task, Metric, Value, Stderr string
	Documents                   string
	Group                       bool
	value                       float64
	interval                    stats.Interval
	share                       bool
}

// lines are all scores of a run, groups first under their tasks' names.
func lines(r *Run) (all []line) {
	for _, task := range slices.Sorted(maps.Keys(r.Results.Results)) {
		scores := r.Results.Results[task]
		_, group := r.Groups[task]
		for _, s := range scores.List {
			l := line{Task: task, Metric: label(s), Value: Format(s.Value), Stderr: "", Documents: fmt.Sprint(scores.Documents), Group: group, value: s.Value}
			if n, ok := r.NumSamples[task]; ok && n.Effective < n.Original {
				l.Documents = fmt.Sprintf("%d of %d", n.Effective, n.Original)
			} else if group && r.Partial(task) {
				l.Documents += ", partial"
			}
			if !math.IsNaN(s.Stderr) {
				l.Stderr = "± " + Format(s.Stderr)
				l.share = s.Value >= 0 && s.Value <= 1
				half := stats.Quantile(0.975) * s.Stderr
				l.interval = stats.Interval{Low: s.Value - half, High: s.Value + half}
				if l.share {
					l.interval = stats.Interval{Low: max(0, l.interval.Low), High: min(1, l.interval.High)}
				}
			}
			all = append(all, l)
		}
	}
	return all
}

func label(s Score) string {
	if s.Filter == "none" {
		return s.Metric
	}
	return s.Key()
}

// Warnings are what a reader must know before believing the numbers.
func (r *Report) Warnings() (all []string) {
	runs := []*Run{r.Before, r.After}
	for i, run := range runs {
		if run == nil {
			continue
		}
		where := ""
		if r.Before != nil {
			where = []string{"before: ", "after: "}[i]
		}
		var partial []string
		for task, n := range run.NumSamples {
			if n.Effective < n.Original {
				partial = append(partial, fmt.Sprintf("%s (%d of %d documents)", task, n.Effective, n.Original))
			}
		}
		slices.Sort(partial)
		if len(partial) > 0 {
			all = append(all, fmt.Sprintf("%spartial, not comparable with published scores: %s", where, join(partial, 8)))
		}
		if run.Tune == nil {
			continue
		}
		for _, task := range slices.Sorted(maps.Keys(run.Tune.Tasks)) {
			f := run.Tune.Tasks[task]
			for _, lost := range []struct {
				n    int
				what string
			}{{f.Truncated, "requests lost the beginning of their context"}, {f.Unparsed, "answers in which no filter found anything"}, {f.Cut, "answers that ended at the token limit"}} {
				if lost.n > 0 {
					all = append(all, fmt.Sprintf("%s%s: %d of %d %s", where, task, lost.n, f.Requests, lost.what))
				}
			}
		}
		for _, o := range run.Tune.Trained {
			all = append(all, where+o.String())
		}
		for _, n := range run.Tune.Notes {
			if !strings.HasPrefix(n, "partial: ") { // said above, with numbers
				all = append(all, where+n)
			}
		}
	}
	if r.Comparison != nil {
		all = append(all, r.Comparison.Notes...)
	}
	return all
}

// String is the line of a report about what a model was trained on.
func (o Overlap) String() string {
	return fmt.Sprintf("trained on %s: of %d documents of %s, %d share a passage with it and %d are nearly a row of it", o.Train, o.Documents, o.Task, o.Dirty, o.Near)
}

func join(list []string, most int) string {
	text := ""
	for i, s := range list {
		if i == most {
			return text + fmt.Sprintf(" and %d more", len(list)-most)
		}
		if i > 0 {
			text += ", "
		}
		text += s
	}
	return text
}

// flip is a document whose value of a metric changed.
type flip struct {
	before, after *Sample
	worse         bool
}

// flips are the documents of a row that changed, those that got worse first.
func (r *Report) flips(row Row) (all []flip) {
	if r.Before == nil || row.Group {
		return nil
	}
	theirs := map[int]*Sample{}
	for i := range r.Before.Samples[row.Task] {
		if s := &r.Before.Samples[row.Task][i]; s.Filter == row.Filter {
			theirs[s.DocID] = s
		}
	}
	for i := range r.After.Samples[row.Task] {
		s := &r.After.Samples[row.Task][i]
		t := theirs[s.DocID]
		if t == nil || s.Filter != row.Filter {
			continue
		}
		a, ok := s.Number(row.Metric)
		b, ok2 := t.Number(row.Metric)
		if ok && ok2 && a != b {
			all = append(all, flip{t, s, (a < b) == (row.Higher == nil || *row.Higher)})
		}
	}
	slices.SortStableFunc(all, func(x, y flip) int {
		switch {
		case x.worse == y.worse:
			return 0
		case x.worse:
			return -1
		}
		return 1
	})
	return all
}
