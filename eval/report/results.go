// Package report holds what an evaluation found: results and samples in the files of lm-evaluation-harness 0.4, so that
// tools made for those read ours and we read theirs; comparisons of two of them, gates, and the reports made of both.
package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tune/internal/atomicfile"
	"tune/internal/hint"
)

// Results is the results file: lm_eval/result_schema.py of lm-evaluation-harness 0.4.13, and under "tune" what that
// schema has no place for. Maps are keyed by task or group.
type Results struct {
	Results        map[string]Scores           `json:"results"`
	Groups         map[string]Scores           `json:"groups,omitempty"`
	GroupSubtasks  map[string][]string         `json:"group_subtasks"`
	Configs        map[string]json.RawMessage  `json:"configs"` // the task as YAML says it, as JSON
	Versions       map[string]any              `json:"versions"`
	NumFewshot     map[string]int              `json:"n-shot"`
	HigherIsBetter map[string]map[string]*bool `json:"higher_is_better"` // by task, then metric; null: neither
	NumSamples     map[string]Count            `json:"n-samples"`
	Config         Config                      `json:"config"`
	GitHash        string                      `json:"git_hash,omitempty"`
	Date           float64                     `json:"date"` // Unix seconds
	LMEvalVersion  string                      `json:"lm_eval_version,omitempty"`
	EOT            *int                        `json:"eot_token_id,omitempty"`
	MaxLength      int                         `json:"max_length,omitempty"`
	TaskHashes     map[string]string           `json:"task_hashes"` // SHA-256 over the hashes of all samples
	ModelSource    string                      `json:"model_source"`
	ModelName      string                      `json:"model_name"`
	NameSanitized  string                      `json:"model_name_sanitized"`
	System         *string                     `json:"system_instruction"`
	SystemSHA256   *string                     `json:"system_instruction_sha"`
	MultiTurn      *bool                       `json:"fewshot_as_multiturn"`
	Template       *string                     `json:"chat_template"`
	TemplateSHA256 *string                     `json:"chat_template_sha"`
	Seconds        string                      `json:"total_evaluation_time_seconds,omitempty"`
	Tune           *Extra                      `json:"tune,omitempty"`
}

// Count is the size of a task: documents of the split, and documents used.
type Count struct {
	Original  int `json:"original"`
	Effective int `json:"effective"`
}

// Config says how it was run.
type Config struct {
	Model         string   `json:"model"`      // kind of model, such as "hf", "local" or "endpoint"
	ModelArgs     any      `json:"model_args"` // a text, or an object
	BatchSize     any      `json:"batch_size,omitempty"`
	Device        string   `json:"device,omitempty"`
	Limit         *float64 `json:"limit"` // documents of each task, or a share below 1; null: all
	Bootstrap     int      `json:"bootstrap_iters,omitempty"`
	GenKwargs     any      `json:"gen_kwargs"`
	RandomSeed    *int     `json:"random_seed,omitempty"`
	NumpySeed     *int     `json:"numpy_seed,omitempty"`
	TorchSeed     *int     `json:"torch_seed,omitempty"`
	FewshotSeed   *int     `json:"fewshot_seed,omitempty"`
	ModelDType    string   `json:"model_dtype,omitempty"`
	NumParameters int64    `json:"model_num_parameters,omitempty"`
}

// Extra is our own part of a results file.
type Extra struct {
	Version     string               `json:"version"`           // of tune
	ModelSHA256 string               `json:"model_sha256"`      // of everything that decides an answer, or the address of an endpoint
	Partial     []string             `json:"partial,omitempty"` // tasks of which a limit cut documents off
	Tasks       map[string]TaskFacts `json:"tasks"`
	Trained     []Overlap            `json:"trained_on,omitempty"` // what the model's training data shares with the tasks
	Notes       []string             `json:"notes,omitempty"`
}

// TaskFacts are the identity and the cost of a task.
type TaskFacts struct {
	Definition string  `json:"task_sha256"`   // of the resolved definition
	Data       string  `json:"data_sha256"`   // of the documents of the split, in order
	Prompts    string  `json:"prompt_sha256"` // of all requests, in order
	Requests   int     `json:"requests"`
	Cached     int     `json:"cached"`    // requests answered from the journal
	Truncated  int     `json:"truncated"` // requests that lost tokens of their context
	Unparsed   int     `json:"unparsed"`  // answers in which a filter found nothing
	Cut        int     `json:"cut"`       // answers that ended at the token limit
	Read       int64   `json:"read_tokens"`
	Tokens     int64   `json:"tokens"` // scored or written
	Seconds    float64 `json:"seconds"`
}

// Overlap says how much of an evaluation's data a training set holds.
type Overlap struct {
	Train     string `json:"train"`
	Task      string `json:"task"`
	Documents int    `json:"documents"` // of the task
	Dirty     int    `json:"dirty"`     // documents that share an n-gram with the training data
	Near      int    `json:"near"`      // documents that nearly equal a training row
}

// Scores are the metrics of a task or group, in the order of the file.
type Scores struct {
	Name      string
	Alias     string
	Documents int            // "sample_len"
	Counts    map[string]int // "sample_count", groups only: documents behind each "metric,filter"
	List      []Score
}

// Score is one number: written as "metric,filter" and "metric_stderr,filter".
type Score struct {
	Metric string
	Filter string  // "none" for tasks without filters
	Value  float64 // NaN: not a number in the file
	Stderr float64 // NaN: "N/A", the metric has none
}

// Key is the metric's name in the file, such as "acc,none".
func (s Score) Key() string { return s.Metric + "," + s.Filter }

// Find returns the score of a metric under a filter.
func (s *Scores) Find(metric, filter string) (Score, bool) {
	i := slices.IndexFunc(s.List, func(x Score) bool { return x.Metric == metric && x.Filter == filter })
	if i < 0 {
		return Score{}, false
	}
	return s.List[i], true
}

// MarshalJSON writes the flat object of lm-eval.
func (s Scores) MarshalJSON() ([]byte, error) {
	o := newObject()
	o.add("name", s.Name)
	o.add("alias", s.Alias)
	if s.Documents > 0 {
		o.add("sample_len", s.Documents)
	}
	for _, x := range s.List {
		o.add(x.Key(), number(x.Value))
		if math.IsNaN(x.Stderr) {
			o.add(x.Metric+"_stderr,"+x.Filter, "N/A")
		} else {
			o.add(x.Metric+"_stderr,"+x.Filter, number(x.Stderr))
		}
	}
	if s.Counts != nil {
		o.add("sample_count", s.Counts)
	}
	return o.close()
}

// UnmarshalJSON reads the flat object of lm-eval and keeps the order of its metrics.
func (s *Scores) UnmarshalJSON(b []byte) error {
	*s = Scores{}
	stderr := map[string]float64{}
	err := eachMember(b, func(key string, raw json.RawMessage) error {
		switch key {
		case "name":
			return json.Unmarshal(raw, &s.Name)
		case "alias":
			return json.Unmarshal(raw, &s.Alias)
		case "sample_len":
			return json.Unmarshal(raw, &s.Documents)
		case "sample_count":
			return json.Unmarshal(raw, &s.Counts)
		}
		metric, filter, ok := cutLast(key, ",")
		if !ok {
			return nil // a key of another version
		}
		value, err := parseNumber(raw)
		if err != nil {
			return fmt.Errorf("%q: %w", key, err)
		}
		if m, ok := strings.CutSuffix(metric, "_stderr"); ok {
			stderr[m+","+filter] = value
			return nil
		}
		s.List = append(s.List, Score{Metric: metric, Filter: filter, Value: value})
		return nil
	})
	for i := range s.List {
		x := &s.List[i]
		v, ok := stderr[x.Key()]
		if !ok {
			v = math.NaN()
		}
		x.Stderr = v
	}
	return err
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// ResultsName is the results file in an output folder.
const ResultsName = "results.json"

// SamplesName is the file of a task's samples in an output folder.
func SamplesName(task string) string { return "samples_" + task + ".jsonl" }

// Run is a results file and, where they were kept, its samples by task.
type Run struct {
	Path string // of the results file
	*Results
	Samples map[string][]Sample
}

// Write writes results.json and samples_<task>.jsonl into a folder, samples first, and fills TaskHashes. Results are
// whole or absent; samples that an earlier run left for other tasks are removed.
func Write(dir string, r *Results, samples map[string][]Sample) error {
	r.TaskHashes = map[string]string{}
	old, err := filepath.Glob(filepath.Join(escapeGlob(dir), "samples_*.jsonl"))
	if err != nil {
		return fmt.Errorf("results: %w", err)
	}
	if err := os.Remove(filepath.Join(dir, ResultsName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("results: %w", err)
	}
	for _, p := range old {
		if err := os.Remove(p); err != nil {
			return fmt.Errorf("results: %w", err)
		}
	}
	for task, list := range samples {
		r.TaskHashes[task] = hashSamples(list)
		var b bytes.Buffer
		for _, s := range list {
			line, err := json.Marshal(s)
			if err != nil {
				return fmt.Errorf("samples of %s, document %d: %w", task, s.DocID, err)
			}
			b.Write(append(line, '\n'))
		}
		if err := atomicfile.Write(filepath.Join(dir, SamplesName(task)), b.Bytes()); err != nil {
			return err
		}
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("results: %w", err)
	}
	return atomicfile.Write(filepath.Join(dir, ResultsName), text.Bytes())
}

// Read reads a results file, ours or lm-eval's, or the newest one in a folder, and the samples beside it. Samples that
// are not those of the results, by the hash written there, are an error.
func Read(path string) (*Run, error) {
	file, err := findResults(path)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("results: %w", err)
	}
	run := &Run{Path: file, Results: &Results{}, Samples: map[string][]Sample{}}
	if err := json.Unmarshal(strictJSON(text), run.Results); err != nil {
		return nil, fmt.Errorf("%s: expected lm-eval's results: %w", file, err)
	}
	if len(run.Results.Results) == 0 {
		return nil, hint.Errorf("give the results.json of `tune eval` or the results_*.json of lm-eval", "%s: no \"results\" in it", file)
	}
	stamp, named := strings.CutPrefix(strings.TrimSuffix(filepath.Base(file), ".json"), "results")
	if !named {
		return run, nil // samples are found by the name of their results
	}
	for task := range run.Results.Results {
		name := filepath.Join(filepath.Dir(file), "samples_"+task+stamp+".jsonl")
		list, err := readSamples(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if want := run.TaskHashes[task]; want != "" && want != hashSamples(list) {
			return nil, hint.Errorf("run the evaluation again", "%s: not the samples of %s: their hashes are other ones", name, file)
		}
		run.Samples[task] = list
	}
	return run, nil
}

// IsResults tells whether a path is, or holds, a results file.
func IsResults(path string) bool {
	file, err := findResults(path)
	return err == nil && file != ""
}

// findResults resolves a folder to its results file: results.json, or the newest results_*.json in it or one folder
// below, where lm-eval puts it.
func findResults(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("results: %w", err)
	}
	if !info.IsDir() {
		if filepath.Ext(path) != ".json" {
			return "", fmt.Errorf("%s: expected a results file, a .json", path)
		}
		return path, nil
	}
	own := filepath.Join(path, ResultsName)
	if _, err := os.Stat(own); err == nil {
		return own, nil
	}
	var all []string
	for _, pattern := range []string{"results_*.json", "*/results_*.json", "*/" + ResultsName} {
		found, err := filepath.Glob(filepath.Join(escapeGlob(path), pattern))
		if err != nil {
			return "", fmt.Errorf("results: %w", err)
		}
		all = append(all, found...)
	}
	if len(all) == 0 {
		return "", hint.Errorf("`tune eval --output FOLDER` writes one", "%s: no results.json or results_*.json in it", path)
	}
	// lm-eval puts the time into the name, so the newest is the last by name.
	return slices.MaxFunc(all, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) }), nil
}

// escapeGlob makes a path a pattern that matches only itself.
func escapeGlob(path string) string {
	return strings.NewReplacer(`[`, `\[`, `*`, `\*`, `?`, `\?`).Replace(path)
}
