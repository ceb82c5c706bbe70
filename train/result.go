package train

import "fmt"

// Result is what a run achieved.
type Result struct {
	Steps        int      `json:"steps"` // done
	BestStep     int      `json:"best_step,omitempty"`
	Chosen       int      `json:"chosen_step"` // steps done by the parameters that are the result
	Stopped      bool     `json:"stopped_early,omitempty"`
	Tokens       int64    `json:"tokens"`
	Supervised   int64    `json:"supervised_tokens"`
	Seconds      float64  `json:"seconds"` // of training steps, evaluations left out
	TokensPerSec float64  `json:"tokens_per_second"`
	DataWait     float64  `json:"data_wait"` // seconds in which steps waited for data
	PeakMemory   int64    `json:"peak_memory_bytes"`
	Params       int64    `json:"trained_values"`
	FirstLoss    float64  `json:"first_loss"` // of the training data
	LastLoss     float64  `json:"last_loss"`
	Before       *Quality `json:"before,omitempty"` // held-out data
	After        *Quality `json:"after,omitempty"`
	Baseline     float64  `json:"baseline,omitempty"` // exact match of always giving the most frequent held-out answer
	Metrics      []Metric `json:"-"`
}

// Table is the result in rows of cells; the first row is the heading.
func (r *Result) Table() [][]string {
	rows := [][]string{{"", "before", "after"}}
	if r.Before != nil && r.After != nil {
		rows = append(rows,
			[]string{"held-out accuracy (whole answers)", percent(r.Before.Exact), percent(r.After.Exact)},
			[]string{"held-out accuracy (tokens)", percent(r.Before.Accuracy), percent(r.After.Accuracy)},
			[]string{"held-out loss (nats/token)", lossText(r.Before.Loss), lossText(r.After.Loss)},
			[]string{"most frequent answer", percent(r.Baseline), ""},
			[]string{"held-out examples", fmt.Sprint(r.Before.Examples), fmt.Sprint(r.After.Examples)})
	}
	rows = append(rows, []string{"training loss", lossText(r.FirstLoss), lossText(r.LastLoss)})
	steps := fmt.Sprint(r.Steps)
	if r.Stopped {
		steps += ", stopped early"
	}
	if r.Chosen != r.Steps {
		steps += fmt.Sprintf(", best after %d", r.Chosen)
	}
	return append(rows, []string{"steps", "", steps}, []string{"trained values", "", fmt.Sprint(r.Params)},
		[]string{"tokens", "", fmt.Sprint(r.Tokens)}, []string{"tokens per second", "", fmt.Sprintf("%.0f", r.TokensPerSec)},
		[]string{"time", "", secondsText(r.Seconds)},
		[]string{"of it waiting for data", "", percent(r.DataWait / max(r.Seconds, 1e-9))}, []string{"peak memory", "", BytesText(r.PeakMemory)})
}
