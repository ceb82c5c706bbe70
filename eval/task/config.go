package task

import (
	"fmt"
	"slices"
	"strings"

	"tune/internal/chat"
	"tune/internal/hint"
)

// Config is a task file of lm-evaluation-harness, resolved: includes are in it.
type Config struct {
	Name, Alias string
	Tags        []string
	File        string     // for messages
	Raw         *chat.Dict // the keys as written, for reports

	DatasetPath, DatasetName string
	DataFiles                map[string][]string // split -> files, of dataset_kwargs
	Generate                 any                 // custom_dataset
	Train, Validation, Test  string              // names of splits, "" for none
	ProcessDocs              any                 // a Function or nil

	Text, Target, Choice any // doc_to_*: a text, a number, a list, a mapping, a Function or nil
	Description          any
	GenPrefix            any
	TargetDelimiter      string
	ShotDelimiter        string
	Shots                *int // num_fewshot; nil: not said
	Fewshot              FewshotConfig

	Output     Output
	Generation *chat.Dict
	Repeats    int
	Filters    []FilterConfig
	Metrics    []MetricConfig
	Process    any  // process_results: a Function or nil
	UnsafeCode bool // runs what the model writes
	Query      any  // doc_to_decontamination_query
	Metadata   *chat.Dict

	// Additions to lm-eval's files.
	Turns any          // turns: what the user says in a conversation, a field that gives a list; nil: there is none
	Judge *JudgeConfig // judge: a second model reads the answers
}

// Output is what a task asks of a model.
type Output string

// The output types of task files.
const (
	MultipleChoice Output = "multiple_choice"
	LogLikelihood  Output = "loglikelihood"
	Rolling        Output = "loglikelihood_rolling"
	GenerateUntil  Output = "generate_until"
)

var outputs = []Output{MultipleChoice, LogLikelihood, Rolling, GenerateUntil}

// FewshotConfig says where worked examples come from and how they are written.
type FewshotConfig struct {
	Sampler              string // default or first_n
	Split                string
	ProcessDocs          any
	Indices              []int
	Samples              any // a list of documents or a Function
	Text, Target, Choice any
	GenPrefix            any
	TargetDelimiter      string
	ShotDelimiter        string
}

// FilterConfig is a named pipeline of filters over the answers.
type FilterConfig struct {
	Name  string
	Steps []*chat.Dict
}

// MetricConfig is an entry of metric_list.
type MetricConfig struct {
	Name        string // of the metric, or of the function that computes it
	Metric      any    // the name, or a Function
	Aggregation any    // a name, a Function or nil
	Higher      *bool
	Options     *chat.Dict // further keys
}

// taskKeys are the keys of a task file.
var taskKeys = []string{"task", "task_alias", "tag", "include", "dataset_path", "dataset_name", "dataset_kwargs", "custom_dataset",
	"training_split", "validation_split", "test_split", "fewshot_split", "process_docs", "doc_to_text", "doc_to_target", "doc_to_choice",
	"unsafe_code", "process_results", "use_prompt", "description", "target_delimiter", "fewshot_delimiter", "fewshot_config", "num_fewshot",
	"metric_list", "output_type", "generation_kwargs", "repeats", "filter_list", "should_decontaminate", "doc_to_decontamination_query",
	"gen_prefix", "metadata", "each", "turns", "judge"}

var fewshotKeys = []string{"sampler", "split", "process_docs", "fewshot_indices", "samples", "doc_to_text", "doc_to_choice", "doc_to_target",
	"gen_prefix", "fewshot_delimiter", "target_delimiter"}

// fields reads the keys of a mapping and collects what is wrong with them.
type fields struct {
	d     *chat.Dict
	at    string
	wrong []string
}

func (f *fields) bad(format string, args ...any) {
	f.wrong = append(f.wrong, fmt.Sprintf(format, args...))
}

func (f *fields) any(key string) any { v, _ := f.d.Get(key); return v }

func (f *fields) text(key, unset string) string {
	v, ok := f.d.Get(key)
	if !ok || v == nil {
		return unset
	}
	s, ok := v.(string)
	if !ok {
		f.bad("%s: expected a text, found %s", key, kindOf(v))
	}
	return s
}

func (f *fields) int(key string) *int {
	switch v := f.any(key).(type) {
	case nil:
		return nil
	case int64:
		if v < 0 || v > 1<<30 {
			f.bad("%s: expected a count, found %d", key, v)
		}
		n := int(v)
		return &n
	default:
		f.bad("%s: expected a whole number, found %s", key, kindOf(v))
	}
	return nil
}

func (f *fields) bool(key string) bool {
	switch v := f.any(key).(type) {
	case nil:
		return false
	case bool:
		return v
	default:
		f.bad("%s: expected true or false, found %s", key, kindOf(v))
	}
	return false
}

func (f *fields) dict(key string) *chat.Dict {
	switch v := f.any(key).(type) {
	case nil:
		return chat.NewDict()
	case *chat.Dict:
		return v
	default:
		f.bad("%s: expected a mapping, found %s", key, kindOf(v))
	}
	return chat.NewDict()
}

// dicts is a list of mappings.
func (f *fields) dicts(key string) (out []*chat.Dict) {
	list, ok := f.any(key).([]any)
	if v := f.any(key); !ok && v != nil {
		f.bad("%s: expected a list, found %s", key, kindOf(v))
	}
	for i, x := range list {
		d, ok := x.(*chat.Dict)
		if !ok {
			f.bad("%s[%d]: expected a mapping, found %s", key, i, kindOf(x))
			continue
		}
		out = append(out, d)
	}
	return out
}

// texts is a text or a list of texts.
func (f *fields) texts(key string) (out []string) {
	switch v := f.any(key).(type) {
	case nil:
	case string:
		return []string{v}
	case []any:
		for i, x := range v {
			s, ok := x.(string)
			if !ok {
				f.bad("%s[%d]: expected a text, found %s", key, i, kindOf(x))
			}
			out = append(out, s)
		}
	default:
		f.bad("%s: expected a text or a list of texts, found %s", key, kindOf(v))
	}
	return out
}

// function is a Function or nil.
func (f *fields) function(key string) any {
	v := f.any(key)
	if _, ok := v.(Function); !ok && v != nil {
		f.bad("%s: expected !function module.name, found %s", key, kindOf(v))
	}
	return v
}

func (f *fields) known(keys []string, what string) {
	for _, k := range f.d.Keys() {
		if !slices.Contains(keys, k) {
			f.bad("%s: no key of %s%s", k, what, closest(k, keys))
		}
	}
}

func (f *fields) err() error {
	if len(f.wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %s", f.at, strings.Join(f.wrong, "; "))
}

// parseConfig reads a task from the keys of its file.
func parseConfig(file string, d *chat.Dict) (*Config, error) {
	f := &fields{d: d, at: file}
	f.known(taskKeys, "a task file")
	c := &Config{
		Name: f.text("task", ""), Alias: f.text("task_alias", ""), Tags: f.texts("tag"), File: file, Raw: d,
		DatasetPath: f.text("dataset_path", ""), Generate: f.function("custom_dataset"),
		Train: f.text("training_split", ""), Validation: f.text("validation_split", ""), Test: f.text("test_split", ""),
		ProcessDocs: f.function("process_docs"), Text: f.any("doc_to_text"), Target: f.any("doc_to_target"), Choice: f.any("doc_to_choice"),
		Description: f.any("description"), GenPrefix: f.any("gen_prefix"),
		TargetDelimiter: f.text("target_delimiter", " "), ShotDelimiter: f.text("fewshot_delimiter", "\n\n"),
		Shots: f.int("num_fewshot"), Output: Output(f.text("output_type", string(GenerateUntil))),
		Repeats: 1, Process: f.function("process_results"), UnsafeCode: f.bool("unsafe_code"), Query: f.any("doc_to_decontamination_query"),
		Metadata: f.dict("metadata"),
	}
	if c.Name != "" {
		f.at = file + ": task " + c.Name
	}
	if n := f.any("dataset_name"); n != nil {
		c.DatasetName = chat.Str(n)
	}
	if c.Alias == "" {
		c.Alias = c.Name
	}
	if n := f.int("repeats"); n != nil {
		c.Repeats = *n
	}
	if c.Repeats < 1 {
		f.bad("repeats: expected 1 or more")
	}
	if !slices.Contains(outputs, c.Output) {
		f.bad("output_type: expected one of %v, found %q%s", outputs, c.Output, closest(string(c.Output), outputs))
	}
	c.Turns = f.any("turns")
	c.readJudge(f)
	if f.any("use_prompt") != nil {
		f.bad("use_prompt: prompts of promptsource are not supported; write doc_to_text")
	}
	c.data(f)
	c.generation(f)
	c.filters(f)
	c.metrics(f)
	c.fewshot(f)
	return c, f.err()
}

// data reads dataset_kwargs.
func (c *Config) data(f *fields) {
	kw := &fields{d: f.dict("dataset_kwargs")}
	for _, k := range kw.d.Keys() {
		if !slices.Contains([]string{"data_files", "data_dir", "trust_remote_code", "streaming", "revision", "cache_dir"}, k) {
			f.bad("dataset_kwargs: %s is not supported", k)
		}
	}
	c.DataFiles = map[string][]string{}
	switch v := kw.any("data_files").(type) {
	case nil:
	case *chat.Dict:
		files := &fields{d: v}
		for _, split := range v.Keys() {
			c.DataFiles[split] = files.texts(split)
		}
		f.wrong = append(f.wrong, files.wrong...)
	default:
		c.DataFiles["train"] = kw.texts("data_files")
	}
	f.wrong = append(f.wrong, kw.wrong...)
}

// defaultNewTokens is how much is written where a task does not say.
const defaultNewTokens = 256

func (c *Config) generation(f *fields) {
	if c.Output != GenerateUntil {
		return
	}
	c.Generation = chat.NewDict()
	given := f.dict("generation_kwargs")
	if v, ok := f.d.Get("generation_kwargs"); !ok || v == nil {
		given = chat.NewDict(chat.Field{Name: "temperature", Value: 0.0}, chat.Field{Name: "do_sample", Value: false},
			chat.Field{Name: "max_gen_toks", Value: int64(defaultNewTokens)})
	}
	for _, k := range given.Keys() {
		v, _ := given.Get(k)
		if n, ok := v.(int64); ok && k == "temperature" {
			v = float64(n)
		}
		c.Generation.Set(k, v)
	}
	if _, ok := given.Get("until"); !ok {
		c.Generation.Set("until", []any{c.ShotDelimiter})
	}
}

func (c *Config) filters(f *fields) {
	for i, d := range f.dicts("filter_list") {
		g := &fields{d: d}
		p := FilterConfig{Name: g.text("name", ""), Steps: g.dicts("filter")}
		for _, s := range p.Steps {
			name, _ := s.Get("function")
			if text, _ := name.(string); filterTable[text] == nil {
				f.bad("filter_list[%d]: no filter %q%s", i, chat.Str(name), closest(chat.Str(name), keysOf(filterTable)))
			}
		}
		if p.Name == "" || len(p.Steps) == 0 {
			f.bad("filter_list[%d]: expected a name and a list filter", i)
		}
		f.wrong = append(f.wrong, g.wrong...)
		c.Filters = append(c.Filters, p)
	}
	if c.Filters == nil {
		c.Filters = []FilterConfig{{"none", []*chat.Dict{chat.NewDict(chat.Field{Name: "function", Value: "take_first"})}}}
	}
}

func (c *Config) metrics(f *fields) {
	list := f.dicts("metric_list")
	if f.any("metric_list") == nil {
		for _, name := range defaultMetrics[c.Output] {
			list = append(list, chat.NewDict(chat.Field{Name: "metric", Value: name}))
		}
	}
	for i, d := range list {
		g := &fields{d: d}
		m := MetricConfig{Metric: g.any("metric"), Aggregation: g.any("aggregation"), Options: chat.NewDict()}
		for _, k := range d.Keys() {
			v, _ := d.Get(k)
			switch k {
			case "metric", "aggregation":
			case "higher_is_better":
				b := g.bool(k)
				m.Higher = &b
			case "hf_evaluate":
			default:
				m.Options.Set(k, v)
			}
		}
		switch x := m.Metric.(type) {
		case string:
			m.Name = x
		case Function:
			m.Name = x.Name[strings.LastIndexByte(x.Name, '.')+1:]
		default:
			f.bad("metric_list[%d]: expected a metric, found %s", i, kindOf(x))
		}
		if name, ok := m.Aggregation.(string); ok && aggregations[name].of == nil {
			f.bad("metric_list[%d]: no aggregation %q%s", i, name, closest(name, keysOf(aggregations)))
		}
		f.wrong = append(f.wrong, g.wrong...)
		c.Metrics = append(c.Metrics, m)
	}
}

func (c *Config) fewshot(f *fields) {
	d := f.dict("fewshot_config")
	g := &fields{d: d}
	g.known(fewshotKeys, "fewshot_config")
	or := func(key string, v any) any {
		if x, ok := d.Get(key); ok {
			return x
		}
		return v
	}
	c.Fewshot = FewshotConfig{
		Sampler: g.text("sampler", "default"), Split: g.text("split", f.text("fewshot_split", "")),
		ProcessDocs: or("process_docs", c.ProcessDocs), Samples: g.any("samples"),
		Text: or("doc_to_text", c.Text), Target: or("doc_to_target", c.Target), Choice: or("doc_to_choice", c.Choice),
		GenPrefix:       or("gen_prefix", c.GenPrefix),
		TargetDelimiter: g.text("target_delimiter", c.TargetDelimiter), ShotDelimiter: g.text("fewshot_delimiter", c.ShotDelimiter),
	}
	if s := c.Fewshot.Sampler; s != "default" && s != "first_n" {
		g.bad("sampler: expected default or first_n, found %q", s)
	}
	if list, ok := g.any("fewshot_indices").([]any); ok {
		for _, x := range list {
			n, ok := x.(int64)
			if !ok || n < 0 {
				g.bad("fewshot_indices: expected row numbers, found %s", kindOf(x))
				break
			}
			c.Fewshot.Indices = append(c.Fewshot.Indices, int(n))
		}
	}
	for _, w := range g.wrong {
		f.bad("fewshot_config: %s", w)
	}
}

// check says what a task needs beyond what its keys must be by themselves.
func (c *Config) check() error {
	f := &fields{at: c.File + ": task " + c.Name}
	if c.Name == "" {
		f.bad("expected a name in the key task")
	}
	if c.Test == "" && c.Validation == "" && c.Generate == nil {
		f.bad("expected test_split or validation_split")
	}
	if c.DatasetPath == "" && c.Generate == nil {
		f.bad("expected dataset_path")
	}
	if c.Text == nil && c.Turns == nil {
		f.bad("expected doc_to_text")
	}
	if c.Choice == nil && c.Output == MultipleChoice {
		f.bad("output_type multiple_choice needs doc_to_choice")
	}
	for _, p := range []struct {
		key string
		v   any
	}{{"process_docs", c.ProcessDocs}, {"process_results", c.Process}, {"custom_dataset", c.Generate}, {"doc_to_text", c.Text},
		{"doc_to_target", c.Target}, {"doc_to_choice", c.Choice}, {"fewshot_config: samples", c.Fewshot.Samples}} {
		if fn, ok := p.v.(Function); ok && !fn.known() {
			f.bad("%s: !function %s is not one of the known functions", p.key, fn)
		}
	}
	for _, m := range c.Metrics {
		if fn, ok := m.Metric.(Function); ok && !fn.known() {
			f.bad("metric_list: !function %s is not one of the known functions", fn)
		} else if _, ok := metrics[m.Name]; c.Process == nil && !ok && m.Name != "" {
			if _, isFunction := m.Metric.(Function); !isFunction {
				f.bad("metric_list: no metric %q%s", m.Name, closest(m.Name, keysOf(metrics)))
			}
		}
	}
	if err := f.err(); err != nil {
		return hint.Errorf("`tune eval validate FILE` checks a task file; the functions a file may name are listed in docs/eval.md", "%w", err)
	}
	return nil
}
