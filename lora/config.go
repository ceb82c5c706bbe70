// Package lora puts low-rank adapters on a model, reads and writes them as PEFT directories and merges them into weights.
//
// The adapted product is y = W x + scale B A x with A (R, in) and B (out, R); the scale is alpha / R, or alpha / sqrt(R)
// for rank-stabilized adapters. Hu et al. 2021, "LoRA"; Kalajdzievski 2023, "rsLoRA"; Liu et al. 2024, "DoRA"; Meng et al. 2024,
// "PiSSA". Names, shapes and configuration keys are those of PEFT directories.
package lora

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/dlclark/regexp2/v2"

	"tune/internal/model"
)

// Config says which modules get an adapter and of what kind. Default gives the values of keys that are not set.
type Config struct {
	Rank    int     `yaml:"rank" json:"rank" jsonschema:"minimum=1,description=rank of the adapters"`
	Alpha   float64 `yaml:"alpha" json:"alpha" jsonschema:"description=an adapter counts alpha/rank times"`
	RSLoRA  bool    `yaml:"rslora,omitempty" json:"rslora,omitempty" jsonschema:"description=an adapter counts alpha/sqrt(rank) times instead"`
	Dropout float64 `yaml:"dropout,omitempty" json:"dropout,omitempty" jsonschema:"minimum=0,exclusiveMaximum=1,description=share of the adapters' inputs set to zero while training"`
	// Targets and Exclude follow PEFT: names match a module or the end of its path; one string is a regular expression for
	// the whole path or "all-linear", every linear but the output head.
	Targets Names `yaml:"target_modules" json:"target_modules" jsonschema:"description=modules that get an adapter: all-linear or a list of names or a regular expression"`
	Exclude Names `yaml:"exclude_modules,omitempty" json:"exclude_modules,omitempty" jsonschema:"description=modules that get none"`
	Layers  []int `yaml:"layers_to_transform,omitempty" json:"layers_to_transform,omitempty" jsonschema:"description=layers that get adapters; all when empty"`
	// The patterns are regular expressions for the end of a module's path; the first that matches wins.
	RankPattern   Patterns `yaml:"rank_pattern,omitempty" json:"rank_pattern,omitempty" jsonschema:"description=rank of modules whose path ends like this"`
	AlphaPattern  Patterns `yaml:"alpha_pattern,omitempty" json:"alpha_pattern,omitempty" jsonschema:"description=alpha of modules whose path ends like this"`
	ModulesToSave []string `yaml:"modules_to_save,omitempty" json:"modules_to_save,omitempty" jsonschema:"description=modules trained and saved whole such as embed_tokens and lm_head"`
	Bias          string   `yaml:"bias,omitempty" json:"bias,omitempty" jsonschema:"enum=none,enum=all,enum=lora_only,description=biases to train: none or all or those of modules with an adapter"`
	DoRA          bool     `yaml:"dora,omitempty" json:"dora,omitempty" jsonschema:"description=train a magnitude for each output as well (weight-decomposed adapters)"`
	// Init is default (A uniform, B zero), gaussian (A normal, B zero), pissa (the strongest directions of the weight, which
	// leave the base), or the directory of an adapter to go on from.
	Init string `yaml:"init,omitempty" json:"init,omitempty" jsonschema:"description=default or gaussian or pissa or the directory of an adapter to start from"`
}

// Default adapts every linear with rank 16.
func Default() Config {
	return Config{Rank: 16, Alpha: 32, Targets: Names{Pattern: allLinear}, Bias: "none", Init: "default"}
}

const allLinear = "all-linear"

// Names is a list of module names, or one pattern: a regular expression or "all-linear".
type Names struct {
	List    []string
	Pattern string
}

// Empty says that nothing was given.
func (n Names) Empty() bool { return len(n.List) == 0 && n.Pattern == "" }

// IsZero is Empty, under the name encoders look for.
func (n Names) IsZero() bool { return n.Empty() }

func (n Names) String() string {
	if n.Pattern != "" {
		return n.Pattern
	}
	return strings.Join(n.List, ", ")
}

// Pattern is one entry of Patterns.
type Pattern struct {
	Key   string // regular expression
	Value float64
}

// Patterns is a mapping from regular expressions to numbers that keeps its order.
type Patterns []Pattern

// Problem is one thing wrong with a Config.
type Problem struct {
	Path    string // "target_modules", relative to the Config
	Message string
}

const maxRank = 1 << 16

// Validate lists everything that is wrong with c itself, whatever the model.
func (c Config) Validate() []Problem {
	var ps []Problem
	add := func(bad bool, path, format string, args ...any) {
		if bad {
			ps = append(ps, Problem{path, fmt.Sprintf(format, args...)})
		}
	}
	finite := func(x float64) bool { return x > 0 && !math.IsInf(x, 0) }
	add(c.Rank < 1 || c.Rank > maxRank, "rank", "expected 1 to %d, found %d", maxRank, c.Rank)
	add(!finite(c.Alpha), "alpha", "expected a positive number, found %v", c.Alpha)
	add(!(c.Dropout >= 0 && c.Dropout < 1), "dropout", "expected 0 to below 1, found %v", c.Dropout)
	add(c.Targets.Empty() && len(c.ModulesToSave) == 0, "target_modules", "expected all-linear, names or a regular expression, found nothing")
	add(!slices.Contains([]string{"", "none", "all", "lora_only"}, c.Bias), "bias", "expected none, all or lora_only, found %q", c.Bias)
	add(c.DoRA && c.Init == "pissa", "dora", "expected no dora with init pissa")
	add(len(c.Layers) > 0 && c.Targets.Pattern != "" && c.Targets.Pattern != allLinear, "layers_to_transform", "expected target_modules to be a list, found the pattern %q", c.Targets.Pattern)
	for _, l := range c.Layers {
		add(l < 0, "layers_to_transform", "expected layer numbers, found %d", l)
	}
	for name, n := range map[string]Names{"target_modules": c.Targets, "exclude_modules": c.Exclude} {
		if n.Pattern != "" && n.Pattern != allLinear {
			_, err := whole(n.Pattern)
			add(err != nil, name, "expected a regular expression: %v", err)
		}
	}
	for _, p := range c.RankPattern {
		_, err := ending(p.Key)
		add(err != nil, "rank_pattern."+p.Key, "expected a regular expression: %v", err)
		add(p.Value != math.Trunc(p.Value) || p.Value < 1 || p.Value > maxRank, "rank_pattern."+p.Key, "expected 1 to %d, found %v", maxRank, p.Value)
	}
	for _, p := range c.AlphaPattern {
		_, err := ending(p.Key)
		add(err != nil, "alpha_pattern."+p.Key, "expected a regular expression: %v", err)
		add(!finite(p.Value), "alpha_pattern."+p.Key, "expected a positive number, found %v", p.Value)
	}
	slices.SortStableFunc(ps, func(a, b Problem) int { return strings.Compare(a.Path, b.Path) })
	return ps
}

func (c Config) err() error {
	var lines []string
	for _, p := range c.Validate() {
		lines = append(lines, p.Path+": "+p.Message)
	}
	if lines == nil {
		return nil
	}
	return fmt.Errorf("lora: %s", strings.Join(lines, "; "))
}

// whole compiles a pattern that must match a module's whole path, and ending one that must match its last segments.
func whole(pattern string) (*regexp2.Regexp, error) {
	return regexp2.Compile(`\A(?:` + pattern + `)\z`)
}

func ending(pattern string) (*regexp2.Regexp, error) {
	return regexp2.Compile(`\A(?:.*\.)?(?:` + pattern + `)\z`)
}

func matches(re *regexp2.Regexp, s string) bool {
	ok, err := re.MatchString(s)
	return ok && err == nil
}

// has says whether module m is meant.
func (n Names) has(m model.Module) (bool, error) {
	if n.Pattern == allLinear {
		return m.Kind == model.Linear, nil
	}
	if n.Pattern != "" {
		re, err := whole(n.Pattern)
		return err == nil && matches(re, m.Name), err
	}
	return slices.ContainsFunc(n.List, func(name string) bool { return endsWith(m.Name, name) }), nil
}

func endsWith(module, name string) bool {
	return module == name || strings.HasSuffix(module, "."+name)
}

// find returns the value of the first pattern that matches.
func (ps Patterns) find(module string, otherwise float64) (float64, error) {
	for _, p := range ps {
		re, err := ending(p.Key)
		if err != nil {
			return 0, err
		}
		if matches(re, module) {
			return p.Value, nil
		}
	}
	return otherwise, nil
}

// target is a module with an adapter.
type target struct {
	model.Module
	rank         int
	alpha, scale float64
}

// targets chooses the modules of a model; every name that matched none is an error, as is an empty choice.
func (c Config) targets(ms []model.Module) ([]target, error) {
	var ts []target
	for _, m := range ms {
		in, err := c.Targets.has(m)
		if err != nil {
			return nil, fmt.Errorf("lora: target_modules: %w", err)
		}
		out, err := c.Exclude.has(m)
		if err != nil {
			return nil, fmt.Errorf("lora: exclude_modules: %w", err)
		}
		if !in || out || c.saves(m.Name) || len(c.Layers) > 0 && !slices.Contains(c.Layers, m.Layer) {
			continue
		}
		rank, err := c.RankPattern.find(m.Name, float64(c.Rank))
		if err != nil {
			return nil, fmt.Errorf("lora: rank_pattern: %w", err)
		}
		alpha, err := c.AlphaPattern.find(m.Name, c.Alpha)
		if err != nil {
			return nil, fmt.Errorf("lora: alpha_pattern: %w", err)
		}
		scale := alpha / rank
		if c.RSLoRA {
			scale = alpha / math.Sqrt(rank)
		}
		ts = append(ts, target{m, int(rank), alpha, scale})
	}
	for _, name := range c.Targets.List {
		if !slices.ContainsFunc(ms, func(m model.Module) bool { return endsWith(m.Name, name) }) {
			return nil, fmt.Errorf("lora: target_modules: expected a module of the model, found %q; it has %s", name, kinds(ms))
		}
	}
	if len(ts) == 0 && len(c.ModulesToSave) == 0 {
		return nil, fmt.Errorf("lora: target_modules: %s matches no module of the model; it has %s", c.Targets, kinds(ms))
	}
	return ts, nil
}

func (c Config) saves(module string) bool {
	return slices.ContainsFunc(c.ModulesToSave, func(name string) bool { return endsWith(module, name) })
}

// kinds lists the last names of modules, each once.
func kinds(ms []model.Module) string {
	var names []string
	for _, m := range ms {
		if last := m.Name[strings.LastIndexByte(m.Name, '.')+1:]; !slices.Contains(names, last) {
			names = append(names, last)
		}
	}
	return strings.Join(names, ", ")
}

// integer writes whole numbers without a fraction, as PEFT types them.
func integer(x float64) any {
	if x == math.Trunc(x) && math.Abs(x) < 1<<53 {
		return int64(x)
	}
	return x
}
