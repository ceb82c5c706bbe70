package train

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"tune/data"
	"tune/internal/model"
	"tune/kernels"
)

// Stream yields packs; data.Stream is one.
type Stream interface {
	// Next returns the next pack, io.EOF at the end of an epoch. The call after that begins the next epoch.
	Next(ctx context.Context) (*data.Pack, error)
	State() data.State
	Seek(s data.State) error
}

// Job is one run.
type Job struct {
	Model     *model.Model
	Trainable model.Trained // lora.Adapter or model.Full
	Config    Config
	Eval      EvalConfig
	Seed      uint64
	Train     Stream
	Held      Stream // held-out data that decides which step is best; nil: none
	Test      Stream // held-out data for the result, before and after; nil: Held
	Seq       int    // longest pack of the streams in tokens
	Pool      *kernels.Pool
	Memory    int64 // most bytes the process may hold; 0: no limit

	// Dir is where metrics and checkpoints go; empty: nowhere, and the run cannot be continued.
	Dir    string
	Resume bool // continue at the last checkpoint in Dir, if there is one
	// Identity says in any words what decides the numbers besides Config, Eval and Seed: base, data, adapter.
	Identity string
	// Progress is told about steps and evaluations; nil: nobody is.
	Progress func(Status)
	// AfterStep is told the metric of every step; nil: nobody is.
	AfterStep func(Metric)
	// Now is the wall clock in seconds since 1970. It times steps and stamps events; no number depends on it.
	Now func() float64
}

// fingerprint identifies the run's numbers.
func (j *Job) fingerprint() string {
	c, v := j.Config, j.Eval
	c.LogEvery, c.SaveEvery, v.Samples = 0, 0, 0
	h := sha256.Sum256(fmt.Appendf(nil, "%+v %+v %d %d %s", c, v, j.Seed, j.Seq, j.Identity))
	return hex.EncodeToString(h[:16])
}

// microTokens is the token limit of a micro-batch when memory sets none. Beyond about a thousand tokens the products run
// at full speed already, and activations cost memory.
func (j *Job) microTokens() int {
	if j.Config.MicroTokens > 0 {
		return max(j.Config.MicroTokens, j.Seq)
	}
	const enough = 1024
	return max(j.Seq, min(enough, j.Config.Batch*j.Seq))
}
