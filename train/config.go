package train

import (
	"fmt"
	"math"
)

// Config is the `train` section of a recipe. The zero value is not useful; start from Defaults.
type Config struct {
	Objective   string   `yaml:"objective" json:"objective,omitempty" jsonschema:"enum=sft,description=what is minimised: sft is the mean negative log-likelihood of the supervised tokens"`
	Scratch     bool     `yaml:"scratch" json:"scratch,omitempty" jsonschema:"description=begin with random weights instead of those of the base (full training only)"`
	Steps       int      `yaml:"steps" json:"steps,omitempty" jsonschema:"minimum=0,description=optimizer steps; 0 counts epochs instead"`
	Epochs      float64  `yaml:"epochs" json:"epochs,omitempty" jsonschema:"minimum=0,description=passes over the training data when steps is 0"`
	Batch       int      `yaml:"batch" json:"batch,omitempty" jsonschema:"minimum=1,description=sequences per optimizer step (packs or rows)"`
	MicroTokens int      `yaml:"micro_tokens" json:"micro_tokens,omitempty" jsonschema:"minimum=0,description=most tokens computed at once; 0 chooses by cost and memory"`
	Optimizer   string   `yaml:"optimizer" json:"optimizer,omitempty" jsonschema:"enum=adamw,enum=sgd"`
	LR          float64  `yaml:"lr" json:"lr,omitempty" jsonschema:"minimum=0,description=highest learning rate"`
	Beta1       float64  `yaml:"beta1" json:"beta1,omitempty" jsonschema:"minimum=0,maximum=1"`
	Beta2       float64  `yaml:"beta2" json:"beta2,omitempty" jsonschema:"minimum=0,maximum=1"`
	Eps         float64  `yaml:"eps" json:"eps,omitempty" jsonschema:"minimum=0"`
	WeightDecay float64  `yaml:"weight_decay" json:"weight_decay,omitempty" jsonschema:"minimum=0"`
	Momentum    float64  `yaml:"momentum" json:"momentum,omitempty" jsonschema:"minimum=0,maximum=1,description=of sgd"`
	Clip        float64  `yaml:"clip" json:"clip,omitempty" jsonschema:"minimum=0,description=largest global norm of the gradient; 0 never clips"`
	Schedule    Schedule `yaml:"schedule" json:"schedule,omitempty"`
	LogEvery    int      `yaml:"log_every" json:"log_every,omitempty" jsonschema:"minimum=1,description=steps between lines of progress"`
	SaveEvery   int      `yaml:"save_every" json:"save_every,omitempty" jsonschema:"minimum=0,description=steps between checkpoints; 0 saves at evaluations and at the end"`
}

// EvalConfig is the `eval` section of a recipe: measuring held-out data before, during and after training.
type EvalConfig struct {
	Every    int     `yaml:"every" json:"every,omitempty" jsonschema:"minimum=0,description=steps between evaluations; 0 evaluates before and after only"`
	Limit    int     `yaml:"limit" json:"limit,omitempty" jsonschema:"minimum=0,description=most sequences of valid per evaluation; 0 takes all. test is always measured whole"`
	Patience int     `yaml:"patience" json:"patience,omitempty" jsonschema:"minimum=0,description=evaluations without a better loss after which training stops; 0 never stops early"`
	MinDelta float64 `yaml:"min_delta" json:"min_delta,omitempty" jsonschema:"minimum=0,description=what counts as better in nats per token"`
	Select   string  `yaml:"select" json:"select,omitempty" jsonschema:"enum=best,enum=last,description=which parameters are the result"`
	Samples  int     `yaml:"samples" json:"samples,omitempty" jsonschema:"minimum=0,description=held-out examples whose answers the report shows before and after"`
}

// Defaults are the values of keys a recipe leaves out.
func Defaults() Config {
	return Config{Objective: "sft", Epochs: 1, Batch: 8, Optimizer: "adamw", LR: 2e-4, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8,
		Clip: 1, Schedule: Schedule{Name: "cosine", Decay: 0.1}, LogEvery: 10}
}

// EvalDefaults are the values of keys a recipe leaves out.
func EvalDefaults() EvalConfig { return EvalConfig{Select: "best", Samples: 8} }

// Problem is one thing wrong with a configuration: the dotted key below the section, and what is wrong.
type Problem struct{ Key, Message string }

// Check returns everything that is wrong with the values, in the order of the keys.
func (c *Config) Check() []Problem {
	var ps []Problem
	bad := func(wrong bool, key, format string, args ...any) {
		if wrong {
			ps = append(ps, Problem{key, fmt.Sprintf(format, args...)})
		}
	}
	_, known := objectives[c.Objective]
	bad(!known, "objective", "expected one of %s, found %q", names(objectives), c.Objective)
	bad(c.Steps < 0, "steps", "expected 0 or more, found %d", c.Steps)
	bad(c.Steps == 0 && !(c.Epochs > 0), "epochs", "expected more than 0 when steps is 0, found %v", c.Epochs)
	bad(c.Batch < 1, "batch", "expected 1 or more, found %d", c.Batch)
	bad(c.MicroTokens < 0, "micro_tokens", "expected 0 or more, found %d", c.MicroTokens)
	_, known = optimizers[c.Optimizer]
	bad(!known, "optimizer", "expected one of %s, found %q", names(optimizers), c.Optimizer)
	bad(!(c.LR >= 0) || math.IsInf(c.LR, 0), "lr", "expected 0 or more, found %v", c.LR)
	bad(!(c.Beta1 >= 0 && c.Beta1 < 1), "beta1", "expected 0 <= beta1 < 1, found %v", c.Beta1)
	bad(!(c.Beta2 >= 0 && c.Beta2 < 1), "beta2", "expected 0 <= beta2 < 1, found %v", c.Beta2)
	bad(!(c.Eps > 0), "eps", "expected more than 0, found %v", c.Eps)
	bad(!(c.WeightDecay >= 0), "weight_decay", "expected 0 or more, found %v", c.WeightDecay)
	bad(!(c.Momentum >= 0 && c.Momentum < 1), "momentum", "expected 0 <= momentum < 1, found %v", c.Momentum)
	bad(c.Momentum != 0 && c.Optimizer != "sgd", "momentum", "expected 0 with optimizer %s, found %v (adamw has beta1)", c.Optimizer, c.Momentum)
	bad(!(c.Clip >= 0), "clip", "expected 0 or more, found %v", c.Clip)
	bad(c.LogEvery < 1, "log_every", "expected 1 or more, found %d", c.LogEvery)
	bad(c.SaveEvery < 0, "save_every", "expected 0 or more, found %d", c.SaveEvery)
	for _, p := range c.Schedule.check() {
		ps = append(ps, Problem{"schedule." + p.Key, p.Message})
	}
	return ps
}

// Check returns everything that is wrong with the values.
func (c *EvalConfig) Check() []Problem {
	var ps []Problem
	for _, x := range []struct {
		key string
		n   int
	}{{"every", c.Every}, {"limit", c.Limit}, {"patience", c.Patience}, {"samples", c.Samples}} {
		if x.n < 0 {
			ps = append(ps, Problem{x.key, fmt.Sprintf("expected 0 or more, found %d", x.n)})
		}
	}
	if !(c.MinDelta >= 0) {
		ps = append(ps, Problem{"min_delta", fmt.Sprintf("expected 0 or more, found %v", c.MinDelta)})
	}
	if c.Patience > 0 && c.Every == 0 {
		ps = append(ps, Problem{"patience", "expected eval.every above 0 with it: without evaluations nothing can stop early"})
	}
	if c.Select != "best" && c.Select != "last" {
		ps = append(ps, Problem{"select", fmt.Sprintf("expected one of best, last, found %q", c.Select)})
	}
	return ps
}
