package train

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"tune/internal/atomicfile"
)

// Metric is one line of metrics.jsonl: a training step, or an evaluation.
type Metric struct {
	Step       int      `json:"step"`
	Loss       float64  `json:"loss"`      // nats per supervised token, over the whole global batch
	GradNorm   float64  `json:"grad_norm"` // before clipping
	LR         float64  `json:"lr"`
	Tokens     int64    `json:"tokens"`            // of this step, without filling
	Supervised int64    `json:"supervised_tokens"` // of this step
	Seconds    float64  `json:"seconds"`           // since the run began, interruptions left out
	DataWait   float64  `json:"data_wait"`         // seconds of this step in which training waited for data
	Eval       *Quality `json:"eval,omitempty"`    // held-out data after this step
}

// Quality is what an evaluation measured.
type Quality struct {
	Loss       float64 `json:"loss"`           // nats per supervised token
	Accuracy   float64 `json:"token_accuracy"` // share of supervised tokens that are the arg max
	Exact      float64 `json:"exact_match"`    // share of examples whose every supervised token is the arg max, which is what greedy decoding would say
	Supervised int64   `json:"supervised_tokens"`
	Examples   int     `json:"examples"`
}

// metricsFile appends lines to metrics.jsonl.
type metricsFile struct{ f *os.File }

// openMetrics keeps the lines of steps before step, which a resumed run does not repeat, and appends from there.
func openMetrics(path string, step int) (*metricsFile, []Metric, error) {
	var kept []Metric
	var text bytes.Buffer
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	lines := bufio.NewReader(bytes.NewReader(old))
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) { // nothing, or a line that was cut by a crash
			break
		}
		var m Metric
		if err := json.Unmarshal(line, &m); err != nil {
			return nil, nil, fmt.Errorf("%s:%d: expected a line of metrics: %w", path, n, err)
		}
		if m.Step >= step {
			break
		}
		kept = append(kept, m)
		text.Write(line)
	}
	if err := atomicfile.Write(path, text.Bytes()); err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, nil, err
	}
	return &metricsFile{f}, kept, nil
}

// write appends one line in one call, so that a crash can cut at most the last one.
func (m *metricsFile) write(x Metric) error {
	b, err := json.Marshal(x)
	if err != nil {
		return err
	}
	_, err = m.f.Write(append(b, '\n'))
	return err
}

func (m *metricsFile) close() error { return m.f.Close() }
