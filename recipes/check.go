package recipes

import (
	"fmt"
	"slices"
	"strings"
)

// Check returns what is wrong with the values and their combination. File and position are left out.
func (r *Recipe) Check() []Problem {
	var ps []Problem
	bad := func(wrong bool, path, format string, args ...any) {
		if wrong {
			ps = append(ps, Problem{Path: path, Message: fmt.Sprintf(format, args...)})
		}
	}
	oneOf := func(path, value string, allowed ...string) {
		bad(!slices.Contains(allowed, value), path, "expected one of %s, found %q", strings.Join(allowed, ", "), value)
	}
	bad(r.Base == "", "base", "expected a model, found nothing")
	bad(strings.HasPrefix(r.Base, "builtin:") && r.Base != Builtin, "base", "expected %s, found %q", Builtin, r.Base)
	oneOf("precision", r.Precision, "auto", "bf16", "f32")
	checkExport(r.Export, bad)
	for _, p := range r.Data.Validate() {
		bad(true, "data."+p.Path, "%s", p.Message)
	}
	bad(len(r.Data.Train) == 0, "data.train", "expected a path, glob or builtin:licenses, found nothing")
	for _, p := range r.LoRA.Validate() {
		bad(true, "lora."+p.Path, "%s", p.Message)
	}
	for _, p := range r.Train.Check() {
		bad(true, "train."+p.Key, "%s", p.Message)
	}
	for _, p := range append(r.Eval.Check(), r.Eval.problems()...) {
		bad(true, "eval."+p.Key, "%s", p.Message)
	}
	bad(r.Train.MicroTokens > 0 && r.Train.MicroTokens < r.Data.Seq, "train.micro_tokens",
		"expected 0 or at least data.seq (%d), because a sequence is not divided, found %d", r.Data.Seq, r.Train.MicroTokens)
	held := len(r.Data.Valid) > 0 || r.Data.ValidShare > 0
	bad(r.Eval.Every > 0 && !held, "eval.every", "expected 0 without data.valid or data.valid_share, found %d", r.Eval.Every)
	return ps
}
