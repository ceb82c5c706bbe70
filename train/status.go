package train

import (
	"fmt"
	"time"
)

// Status is what a progress line shows.
type Status struct {
	Step, Steps  int
	Loss         float64 // of the last step
	LR           float64
	TokensPerSec float64 // over the last steps, filling left out
	Memory       int64   // bytes held now
	Left         float64 // seconds to go, as far as one can tell; negative: unknown
	Eval         *Quality
	Due          bool   // worth a line where lines are not overwritten
	Note         string // something worth a line of its own: an early stop
}

// Line is the status in one line: "step 120/400  loss 1.2345  lr 1.9e-04  412 tok/s  1.21 GiB  2m10s left".
func (s Status) Line() string {
	if s.Step == 0 && s.Eval != nil {
		return fmt.Sprintf("before training: held-out loss %.4f, exact %.1f %%", s.Eval.Loss, 100*s.Eval.Exact)
	}
	line := fmt.Sprintf("step %d/%d  loss %.4f  lr %.2e  %.0f tok/s  %s", s.Step, s.Steps, s.Loss, s.LR, s.TokensPerSec, BytesText(s.Memory))
	if s.Left >= 0 {
		line += "  " + secondsText(s.Left) + " left"
	}
	if s.Eval != nil {
		line += fmt.Sprintf("  held-out loss %.4f, exact %.1f %%", s.Eval.Loss, 100*s.Eval.Exact)
	}
	return line
}

// BytesText scales a size for people: 1.50 GiB.
func BytesText(n int64) string {
	x, units := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for x >= 1024 && i < len(units)-1 {
		x, i = x/1024, i+1
	}
	switch {
	case i == 0:
		return fmt.Sprintf("%d B", n)
	case x < 10:
		return fmt.Sprintf("%.2f %s", x, units[i])
	}
	return fmt.Sprintf("%.0f %s", x, units[i])
}

// secondsText scales a duration for people: 2m10s.
func secondsText(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}
