package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	scores "tune/eval/report"
	"tune/eval/task"
	"tune/internal/hint"
)

// Flags that mean nothing without another one, and those that another one rules out.
var (
	endpointFlags = []string{"model", "key-env", "chat-completions", "per-minute", "concurrency", "price"}
	judgeFlags    = []string{"judge-endpoint", "judge-key-env", "judge-price"}
	localFlags    = []string{"base", "adapter", "precision", "truncate"}
	// flagsOfRecipes are what a recipe says instead; --base and --output change it.
	flagsOfRecipes = slices.Concat(localFlags[1:], endpointFlags, judgeFlags, []string{"endpoint", "judge", "tasks", "data", "include-path", "download", "num-fewshot", "limit", "skip-missing",
		"metadata", "samples", "apply-chat-template", "fewshot-as-multiturn", "system", "seed", "gen-kwargs", "ctx", "gate", "allow-code-execution", "bootstrap-iters"})
)

// checkEvalFlags refuses what would have no effect, before anything is read.
func checkEvalFlags(c *cli.Context) error {
	for _, rule := range []struct {
		with    string
		flags   []string
		allowed bool // the flags go with it, else they do not
		why     string
	}{
		{"recipe", flagsOfRecipes, false, "the recipe's eval section says it; to change a key of it, write eval.KEY=VALUE"},
		{"endpoint", localFlags, false, "the model is the server's, which --model names"},
		{"endpoint", endpointFlags, true, "it is about an --endpoint"},
		{"judge", []string{"judge-endpoint"}, true, "--judge names the model that reads answers"},
		{"judge-endpoint", judgeFlags, true, "it is about a --judge-endpoint"},
	} {
		for _, name := range rule.flags {
			if c.IsSet(name) && c.IsSet(rule.with) != rule.allowed {
				return usagef(c, "%s: %s", name, rule.why)
			}
		}
	}
	if c.IsSet("bootstrap-iters") && c.Int("bootstrap-iters") < 0 {
		return usagef(c, "bootstrap-iters: expected a number not below 0, found %d", c.Int("bootstrap-iters"))
	}
	return nil
}

// checkFolders wants the folders of --data to exist: a data set that is looked for elsewhere would hide a slip of the pen.
func checkFolders(folders []string) error {
	for _, dir := range folders {
		if info, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
			return fmt.Errorf("data: expected a folder, found none at %s", dir)
		} else if err != nil {
			return fmt.Errorf("data: %w", err)
		}
	}
	return nil
}

// checkSamples wants the tasks of --samples to be among those that are asked.
func checkSamples(only map[string][]int, s *task.Selection) error {
	for _, name := range slices.Sorted(maps.Keys(only)) {
		if !slices.ContainsFunc(s.Tasks, func(t *task.Config) bool { return t.Name == name }) {
			return fmt.Errorf("samples: task %s is not among those of --tasks", name)
		}
	}
	return nil
}

// checkAlone refuses gates about a change where nothing is compared.
func checkAlone(gates []scores.Gate) error {
	for _, g := range gates {
		if err := g.Alone(); err != nil {
			return err
		}
	}
	return nil
}

// checkGates refuses, before anything is asked, gates on tasks or metrics that the run will not have.
func checkGates(gates []scores.Gate, s *task.Selection) error {
	var names []string
	for _, t := range s.Tasks {
		names = append(names, t.Name)
	}
	for _, g := range s.Groups {
		names = append(names, g.Name)
	}
	for _, g := range gates {
		if !slices.Contains(names, g.Task) {
			return hint.Errorf("asked are "+strings.Join(names, ", "), "gate %q: task %s is not among those asked", g.Text, g.Task)
		}
		if _, err := g.Pick(s.MetricKeys(g.Task)); err != nil {
			return err
		}
	}
	return nil
}
