package lora

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tune/internal/atomicfile"
	"tune/internal/hint"
	"tune/internal/model"
	"tune/internal/safetensors"
	"tune/internal/tensor"
)

const (
	configFile  = "adapter_config.json"
	weightsFile = "adapter_model.safetensors"
	maxConfig   = 1 << 24 // bytes
)

// peftConfig are the keys of adapter_config.json that mean something here.
type peftConfig struct {
	PeftType  string          `json:"peft_type"`
	Rank      int             `json:"r"`
	Alpha     float64         `json:"lora_alpha"`
	Dropout   float64         `json:"lora_dropout"`
	RSLoRA    bool            `json:"use_rslora"`
	DoRA      bool            `json:"use_dora"`
	Targets   Names           `json:"target_modules"`
	Exclude   Names           `json:"exclude_modules"`
	Layers    json.RawMessage `json:"layers_to_transform"`
	Ranks     Patterns        `json:"rank_pattern"`
	Alphas    Patterns        `json:"alpha_pattern"`
	Save      []string        `json:"modules_to_save"`
	Bias      string          `json:"bias"`
	Init      json.RawMessage `json:"init_lora_weights"`
	Base      string          `json:"base_model_name_or_path"`
	TaskType  json.RawMessage `json:"task_type"`
	Inference json.RawMessage `json:"inference_mode"`
}

var peftKeys = strings.Fields(`peft_type r lora_alpha lora_dropout use_rslora use_dora target_modules exclude_modules layers_to_transform
	rank_pattern alpha_pattern modules_to_save bias init_lora_weights base_model_name_or_path task_type inference_mode`)

// Keys that do not change what an adapter computes once it is trained.
var peftHarmless = strings.Fields(`auto_mapping peft_version revision megatron_core qalora_group_size loftq_config eva_config corda_config
	lora_ga_config runtime_config ensure_weight_tying tune`)

// readConfig reads adapter_config.json. A key that is not understood must have an empty value: null, false, {} or [].
func readConfig(dir string) (Config, error) {
	name := filepath.Join(dir, configFile)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, hint.Errorf("an adapter is a directory with adapter_config.json and adapter_model.safetensors", "%s: expected %s, found none", dir, configFile)
	}
	if err != nil {
		return Config{}, err
	}
	if len(text) > maxConfig {
		return Config{}, fmt.Errorf("%s: expected at most %d bytes, found %d", name, maxConfig, len(text))
	}
	c, err := parseConfig(text)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

func parseConfig(text []byte) (Config, error) {
	p := peftConfig{Rank: 8, Alpha: 8, Bias: "none"}
	if err := json.Unmarshal(text, &p); err != nil {
		return Config{}, err
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(text, &keys); err != nil {
		return Config{}, err
	}
	var problems []string
	if p.PeftType != "LORA" {
		problems = append(problems, fmt.Sprintf("peft_type: expected LORA, found %q", p.PeftType))
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if slices.Contains(peftKeys, k) || slices.Contains(peftHarmless, k) {
			continue
		}
		if v := string(keys[k]); !slices.Contains([]string{"null", "false", "{}", "[]"}, v) {
			problems = append(problems, fmt.Sprintf("%s: not supported, value %.40s", k, v))
		}
	}
	c := Config{Rank: p.Rank, Alpha: p.Alpha, RSLoRA: p.RSLoRA, Dropout: p.Dropout, Targets: p.Targets, Exclude: p.Exclude, RankPattern: p.Ranks,
		AlphaPattern: p.Alphas, ModulesToSave: p.Save, Bias: p.Bias, DoRA: p.DoRA, Init: "default"}
	if len(p.Layers) > 0 && p.Layers[0] != '[' && string(p.Layers) != "null" {
		p.Layers = slices.Concat([]byte{'['}, p.Layers, []byte{']'})
	}
	if len(p.Layers) > 0 {
		if err := json.Unmarshal(p.Layers, &c.Layers); err != nil {
			problems = append(problems, fmt.Sprintf("layers_to_transform: expected layer numbers, found %.40s", p.Layers))
		}
	}
	// Of the ways to start, only those that changed the base matter afterwards.
	var init string
	if json.Unmarshal(p.Init, &init) == nil {
		switch {
		case init == "pissa" || strings.HasPrefix(init, "pissa_niter_"):
			c.Init = "pissa"
		case slices.Contains([]string{"olora", "corda", "lora_ga", "loftq", "mica"}, init):
			problems = append(problems, fmt.Sprintf("init_lora_weights: %s changes the base model, which is not supported; convert the adapter to an ordinary one", init))
		}
	}
	if problems != nil {
		return c, errors.New(strings.Join(problems, "; "))
	}
	return c, nil
}

// Load reads a PEFT directory, or a GGUF adapter, for a model. Every tensor must have its place and its shape.
func Load(dir string, m *model.Model) (*Adapter, error) {
	if st, err := os.Stat(dir); err == nil && !st.IsDir() {
		return LoadGGUF(dir, m)
	}
	c, err := readConfig(dir)
	if err != nil {
		return nil, err
	}
	a, err := attach(m, c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if c.Init == "pissa" {
		if err := a.pissa(exactRounds); err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
	}
	f, err := safetensors.Open(filepath.Join(dir, weightsFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := a.fill(f); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, weightsFile), err)
	}
	return a, nil
}

// fill takes the parameters' values from a file.
func (a *Adapter) fill(src tensor.Source) error {
	var problems []string
	missing := map[string]bool{}
	for _, p := range a.params {
		missing[p.Name] = true
	}
	for _, name := range src.Names() {
		t, err := src.Tensor(name)
		if err != nil {
			return err
		}
		x, err := tensor.Floats(t)
		if err != nil {
			return err
		}
		to, ok := a.place(name)
		switch {
		case !ok && strings.HasSuffix(name, ".base_layer.weight"):
			if err := a.sameBase(name, x); err != nil {
				problems = append(problems, err.Error())
			}
			continue
		case !ok || !missing[to]:
			problems = append(problems, "unused "+name)
			continue
		}
		p := a.params[a.index[to]]
		if !slices.Equal(t.Shape, fileShape(p)) {
			problems = append(problems, fmt.Sprintf("%s: expected shape %v, found %v", name, fileShape(p), t.Shape))
		}
		for i, v := range x {
			if v-v != 0 {
				return fmt.Errorf("tensor %s: expected finite numbers, found %g at %d", name, v, i)
			}
		}
		copy(p.Data, x)
		missing[to] = false
	}
	for _, p := range a.params {
		if missing[p.Name] {
			problems = append(problems, "missing "+p.Name)
		}
	}
	if problems != nil {
		return hint.Errorf("the adapter was made for another model, or adapter_config.json is not its own", "the adapter does not fit the model: %s", strings.Join(problems, "; "))
	}
	return nil
}

// place is the parameter that a stored name means. Older versions of PEFT stored a trained bias without base_layer.
func (a *Adapter) place(name string) (string, bool) {
	if _, ok := a.index[name]; ok {
		return name, true
	}
	to, ok := a.whole[strings.TrimPrefix(name, prefix)]
	return to, ok
}

// sameBase compares a base weight that PEFT put beside the adapter of an embedding or a head with the model's own.
func (a *Adapter) sameBase(name string, x []float32) error {
	module := strings.TrimSuffix(strings.TrimPrefix(name, prefix), ".base_layer.weight")
	w, ok := a.model.Matrix(module + ".weight")
	if !ok || a.modules[module] == nil {
		return errors.New("unused " + name)
	}
	if !slices.Equal(floats(w), x) {
		return fmt.Errorf("%s: expected the model's own weights, found others", name)
	}
	return nil
}

// fileShape is the shape a parameter has in files: vectors have one dimension there.
func fileShape(p model.Param) []int {
	if strings.HasSuffix(p.Name, ".lora_magnitude_vector") || p.Shape[0] == 1 && !strings.Contains(p.Name, ".lora_") {
		return []int{p.Shape.Size()}
	}
	return p.Shape[:]
}

// SaveOptions are facts to write beside an adapter.
type SaveOptions struct {
	Base       string         // name or path of the base model
	Provenance map[string]any // written under the key "tune", which other readers pass over
}

// Save writes a PEFT directory. A PiSSA adapter is written in the form that fits the stored base: twice the rank, the second
// half taking back what left the base.
func (a *Adapter) Save(dir string, o SaveOptions) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	if err := safetensors.WriteFile(filepath.Join(dir, weightsFile), a.Tensors(), safetensors.WriteOptions{Metadata: map[string]string{"format": "pt"}}); err != nil {
		return err
	}
	text, err := a.configJSON(o)
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, configFile), text)
}

// Tensors are the tensors Save writes, by name.
func (a *Adapter) Tensors() *tensor.Map {
	byName := map[string]tensor.Tensor{}
	for _, p := range a.params {
		byName[p.Name] = tensor.FromFloats(p.Name, fileShape(p), p.Data)
	}
	for _, name := range a.order {
		x := a.modules[name]
		if x.a0 != nil {
			first, second := x.portable(a.Data(x.a), a.Data(x.b))
			byName[x.a] = tensor.FromFloats(x.a, []int{2 * x.rank, x.In}, first)
			byName[x.b] = tensor.FromFloats(x.b, []int{x.Out, 2 * x.rank}, second)
		}
		if x.Kind == model.Linear {
			continue
		}
		if w, ok := a.model.Matrix(name + ".weight"); ok { // PEFT stores these so that a resized vocabulary is kept
			n := prefix + name + ".base_layer.weight"
			byName[n] = tensor.FromFloats(n, []int{w.Rows, w.Cols}, floats(w))
		}
	}
	m := tensor.NewMap()
	for _, n := range slices.Sorted(maps.Keys(byName)) {
		m.Add(byName[n])
	}
	return m
}

// portable gives A' = [A; A0] and B' = [B, -B0], so that B' A' = B A - B0 A0.
func (x *attached) portable(a, b []float32) (first, second []float32) {
	first = slices.Concat(a, x.a0)
	for o := range x.Out {
		second = append(second, b[o*x.rank:][:x.rank]...)
		for _, v := range x.b0[o*x.rank:][:x.rank] {
			second = append(second, -v)
		}
	}
	return first, second
}

// configJSON writes the keys that every version of PEFT knows and those in use.
func (a *Adapter) configJSON(o SaveOptions) ([]byte, error) {
	c := a.saved()
	init := any(true)
	if c.Init == "gaussian" {
		init = "gaussian"
	}
	var base any
	if o.Base != "" {
		base = o.Base
	}
	keys := map[string]any{"auto_mapping": nil, "base_model_name_or_path": base, "bias": c.Bias, "fan_in_fan_out": false, "inference_mode": true,
		"init_lora_weights": init, "layers_pattern": nil, "layers_to_transform": list(c.Layers), "loftq_config": struct{}{}, "lora_alpha": integer(c.Alpha),
		"lora_dropout": c.Dropout, "megatron_config": nil, "megatron_core": "megatron.core", "modules_to_save": list(c.ModulesToSave), "peft_type": "LORA",
		"r": c.Rank, "rank_pattern": c.RankPattern, "alpha_pattern": c.AlphaPattern, "revision": nil, "target_modules": c.Targets.plain(), "task_type": "CAUSAL_LM",
		"use_dora": c.DoRA, "use_rslora": c.RSLoRA}
	if !c.Exclude.Empty() {
		keys["exclude_modules"] = c.Exclude.plain()
	}
	if o.Provenance != nil {
		keys["tune"] = o.Provenance
	}
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(keys)
	return buf.Bytes(), err
}

func list[T any](x []T) any {
	if len(x) == 0 {
		return nil
	}
	return x
}

// saved is the configuration that describes the written tensors: all-linear becomes the modules it stood for, because PEFT's
// readers differ in what they make of it, patterns that overlap become exact names, because PEFT sorts them, and PiSSA
// becomes an ordinary adapter of twice the rank.
func (a *Adapter) saved() Config {
	c := a.Config
	if c.Bias == "" {
		c.Bias = "none"
	}
	if c.Targets.Pattern == allLinear {
		c.Targets = Names{List: a.order}
		c.Exclude, c.Layers = Names{}, nil
	}
	twice := 1
	if a.frozen != nil {
		c.Rank, c.RSLoRA, c.Init, twice = 2*c.Rank, false, "default", 2
	}
	if twice == 1 && c.RankPattern.sortable(a.order) && c.AlphaPattern.sortable(a.order) {
		sorted := func(x, y Pattern) int { return strings.Compare(x.Key, y.Key) }
		c.RankPattern, c.AlphaPattern = slices.Clone(c.RankPattern), slices.Clone(c.AlphaPattern)
		slices.SortFunc(c.RankPattern, sorted)
		slices.SortFunc(c.AlphaPattern, sorted)
		return c
	}
	c.RankPattern, c.AlphaPattern = nil, nil
	for i, name := range a.order {
		x := a.modules[name]
		alpha := float64(twice) * x.alpha
		if a.Config.RSLoRA && twice == 2 {
			alpha = x.scale * float64(2*x.rank)
		}
		if i == 0 {
			c.Rank, c.Alpha = twice*x.rank, alpha
		}
		if key := strings.ReplaceAll(name, ".", `\.`); twice*x.rank != c.Rank {
			c.RankPattern = append(c.RankPattern, Pattern{key, float64(twice * x.rank)})
		}
		if key := strings.ReplaceAll(name, ".", `\.`); alpha != c.Alpha {
			c.AlphaPattern = append(c.AlphaPattern, Pattern{key, alpha})
		}
	}
	return c
}

// sortable says whether sorted patterns give every module the same value.
func (ps Patterns) sortable(modules []string) bool {
	sorted := slices.Clone(ps)
	slices.SortFunc(sorted, func(x, y Pattern) int { return strings.Compare(x.Key, y.Key) })
	return !slices.ContainsFunc(modules, func(m string) bool {
		x, err := ps.find(m, 0)
		y, err2 := sorted.find(m, 0)
		return err != nil || err2 != nil || x != y
	})
}
