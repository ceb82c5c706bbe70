package recipes

import (
	"fmt"
	"math"

	"tune/eval/report"
	"tune/train"
)

// Eval is the `eval` section: what is measured of held-out data while training, and which benchmark tasks are run on the
// base and on the trained model afterwards.
type Eval struct {
	train.EvalConfig `yaml:",inline"`
	Tasks            []string `yaml:"tasks" json:"tasks,omitempty" jsonschema:"description=benchmark tasks and groups and tags and task files; run on the base and on the trained model and compared document by document"`
	Folders          []string `yaml:"task_data" json:"task_data,omitempty" jsonschema:"description=folders where the data of the tasks are"`
	TaskLimit        float64  `yaml:"task_limit" json:"task_limit,omitempty" jsonschema:"minimum=0,description=first documents of each task; a share of them below 1; 0 takes all"`
	Shots            *int     `yaml:"num_fewshot" json:"num_fewshot,omitempty" jsonschema:"minimum=0,description=examples before each question; else what each task says"`
	Chat             bool     `yaml:"apply_chat_template" json:"apply_chat_template,omitempty" jsonschema:"description=ask in the words of the model's chat template"`
	Gates            []string `yaml:"gates" json:"gates,omitempty" jsonschema:"description=what the trained model must meet such as arc_easy.acc >= -0.5pp"`
}

// problems are what is wrong with the part about tasks.
func (e *Eval) problems() (ps []train.Problem) {
	if !(e.TaskLimit >= 0) || e.TaskLimit > 1 && e.TaskLimit != math.Trunc(e.TaskLimit) {
		ps = append(ps, train.Problem{Key: "task_limit", Message: fmt.Sprintf("expected a number of documents or a share below 1, found %v", e.TaskLimit)})
	}
	if e.Shots != nil && *e.Shots < 0 {
		ps = append(ps, train.Problem{Key: "num_fewshot", Message: fmt.Sprintf("expected 0 or more, found %d", *e.Shots)})
	}
	for i, text := range e.Gates {
		if _, err := report.ParseGate(text); err != nil {
			ps = append(ps, train.Problem{Key: fmt.Sprintf("gates[%d]", i), Message: err.Error()})
		}
	}
	if len(e.Gates) > 0 && len(e.Tasks) == 0 {
		ps = append(ps, train.Problem{Key: "gates", Message: "expected eval.tasks with it: without tasks there is nothing to judge"})
	}
	return ps
}
