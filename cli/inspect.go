package cli

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"tune/internal/gguf"
	"tune/internal/hint"
	"tune/internal/safetensors"
	"tune/internal/tensor"
)

func inspectCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "show what is in a model file, a model folder or an adapter",
		UsageText: "tune inspect FILE|DIR [--json] [--hash]",
		Description: `Shapes and offsets are printed as the file states them: GGUF shapes begin with the width of a row, safetensors
shapes end with it; offsets count from the start of the tensors' data.`,
		Flags: []cli.Flag{
			jsonFlag(),
			&cli.BoolFlag{Name: "hash", Usage: "add the SHA-256 of each tensor's bytes"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usagef(c, "expected one file or folder, found %d", c.NArg())
			}
			x, err := inspect(c.Args().First(), c.Bool("hash"))
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return writeJSON(e.stdout, x)
			}
			return x.print(e.stdout)
		},
	}
}

// inspection is what `tune inspect --json` prints.
type inspection struct {
	Format     string            `json:"format"` // gguf, safetensors, hf or peft
	Version    uint32            `json:"version,omitempty"`
	Alignment  uint32            `json:"alignment,omitempty"`
	Files      []inspectedFile   `json:"files"`
	Metadata   orderedValues     `json:"metadata"`
	Config     json.RawMessage   `json:"config,omitempty"`     // config.json or adapter_config.json
	Adapter    *adapterFacts     `json:"adapter,omitempty"`    // of a PEFT folder or a GGUF adapter
	Provenance json.RawMessage   `json:"provenance,omitempty"` // what this program wrote about the making of the files
	Values     int64             `json:"values"`
	Bytes      int64             `json:"bytes"` // of the tensors
	Types      []typeCount       `json:"types"`
	Tensors    []inspectedTensor `json:"tensors"`
}

type inspectedFile struct {
	Name      string `json:"name"`
	Bytes     int64  `json:"bytes"`
	DataStart int64  `json:"data_start"`
}

type inspectedTensor struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Shape  []int  `json:"shape"`
	File   string `json:"file,omitempty"` // of a folder, or of a model in parts
	Offset int64  `json:"offset"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256,omitempty"`
}

type typeCount struct {
	Type    string `json:"type"`
	Tensors int    `json:"tensors"`
	Bytes   int64  `json:"bytes"`
}

type adapterFacts struct {
	Method         string          `json:"method"`
	Base           string          `json:"base_model"`
	Rank           int             `json:"rank"`
	Alpha          float64         `json:"alpha"`
	Scale          float64         `json:"scale"`
	RSLoRA         bool            `json:"rslora"`
	DoRA           bool            `json:"dora"`
	Targets        json.RawMessage `json:"target_modules"`
	RankPattern    json.RawMessage `json:"rank_pattern,omitempty"`
	AlphaPattern   json.RawMessage `json:"alpha_pattern,omitempty"`
	ModulesToSave  []string        `json:"modules_to_save,omitempty"`
	AdaptedModules int             `json:"adapted_modules"`
	Ranks          []int           `json:"ranks,omitempty"` // of a GGUF adapter, when they differ; rank is the largest then
}

// orderedValues is an object with its keys in the order of the file.
type orderedValues []struct {
	key   string
	value any
}

func (o *orderedValues) add(key string, value any) {
	*o = append(*o, struct {
		key   string
		value any
	}{key, value})
}

// MarshalJSON writes the object; numbers that JSON does not have become strings.
func (o orderedValues) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, kv := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		for j, v := range []any{kv.key, jsonValue(kv.value)} {
			if j == 1 {
				b.WriteByte(':')
			}
			enc := json.NewEncoder(&b)
			enc.SetEscapeHTML(false)
			if err := enc.Encode(v); err != nil {
				return nil, err
			}
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func jsonValue(v any) any {
	finite := func(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
	switch x := v.(type) {
	case float32:
		if !finite(float64(x)) {
			return fmt.Sprint(x)
		}
		return float64(x) // every digit, so that the bits can be told
	case float64:
		if !finite(x) {
			return fmt.Sprint(x)
		}
	case []float32:
		out := make([]any, len(x))
		for i := range x {
			out[i] = jsonValue(x[i])
		}
		return out
	case []float64:
		out := make([]any, len(x))
		for i := range x {
			out[i] = jsonValue(x[i])
		}
		return out
	case []uint8: // not as base64
		out := make([]int, len(x))
		for i := range x {
			out[i] = int(x[i])
		}
		return out
	}
	return v
}

const adapterConfig = "adapter_config.json"

func inspect(path string, hash bool) (*inspection, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	x := &inspection{Format: "safetensors", Metadata: orderedValues{}, Types: []typeCount{}, Tensors: []inspectedTensor{}}
	if st.IsDir() {
		if found, err := filepath.Glob(filepath.Join(path, "*.gguf")); err == nil && !isFile(filepath.Join(path, "config.json")) {
			if file, ok := gguf.Only(found); ok {
				return x, x.gguf(file, hash)
			}
		}
		x.Format = "hf"
		for _, name := range []string{"config.json", adapterConfig} {
			text, err := os.ReadFile(filepath.Join(path, name))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if err := x.readConfig(name, text); err != nil {
				return nil, fmt.Errorf("%s: %w", filepath.Join(path, name), err)
			}
		}
	} else if isGGUF, err := hasMagic(path, "GGUF"); err != nil {
		return nil, err
	} else if isGGUF || strings.HasSuffix(path, ".gguf") {
		return x, x.gguf(path, hash)
	}
	d, err := safetensors.Open(path)
	if err != nil {
		if x.Config == nil && !strings.HasSuffix(path, ".safetensors") {
			return nil, hint.Errorf("give a .gguf or .safetensors file, or the folder of a model or an adapter; `tune data show` is for rows of data", "%w", err)
		}
		return nil, err
	}
	defer d.Close() // read only
	meta := d.Metadata()
	for _, key := range slices.Sorted(maps.Keys(meta)) {
		x.Metadata.add(key, meta[key])
	}
	for _, f := range d.Files() {
		name := ""
		if st.IsDir() {
			name = filepath.Base(f.Name())
		}
		if err := x.tensors(f, name, f.Name(), f.Offset, hash, false); err != nil {
			return nil, err
		}
	}
	x.sum()
	return x, nil
}

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}

func hasMagic(path, magic string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close() // read only
	b := make([]byte, len(magic))
	n, err := io.ReadFull(f, b)
	if err != nil && n == 0 && err != io.EOF {
		return false, err
	}
	return string(b[:n]) == magic, nil
}

// readConfig takes the facts from config.json or adapter_config.json.
func (x *inspection) readConfig(name string, text []byte) error {
	var keys struct {
		Tune json.RawMessage `json:"tune"`
	}
	if err := json.Unmarshal(text, &keys); err != nil {
		return err
	}
	x.Config, x.Provenance = text, keys.Tune
	if name != adapterConfig {
		return nil
	}
	var a struct {
		Method        string          `json:"peft_type"`
		Base          string          `json:"base_model_name_or_path"`
		Rank          int             `json:"r"`
		Alpha         float64         `json:"lora_alpha"`
		RSLoRA        bool            `json:"use_rslora"`
		DoRA          bool            `json:"use_dora"`
		Targets       json.RawMessage `json:"target_modules"`
		RankPattern   json.RawMessage `json:"rank_pattern"`
		AlphaPattern  json.RawMessage `json:"alpha_pattern"`
		ModulesToSave []string        `json:"modules_to_save"`
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return err
	}
	x.Format = "peft"
	f := &adapterFacts{Method: a.Method, Base: a.Base, Rank: a.Rank, Alpha: a.Alpha, RSLoRA: a.RSLoRA, DoRA: a.DoRA, Targets: a.Targets,
		RankPattern: unlessEmpty(a.RankPattern), AlphaPattern: unlessEmpty(a.AlphaPattern), ModulesToSave: a.ModulesToSave}
	if a.Rank > 0 {
		f.Scale = a.Alpha / float64(a.Rank)
		if a.RSLoRA {
			f.Scale = a.Alpha / math.Sqrt(float64(a.Rank))
		}
	}
	x.Adapter = f
	return nil
}

func unlessEmpty(object json.RawMessage) json.RawMessage {
	if s := strings.Join(strings.Fields(string(object)), ""); s == "{}" || s == "null" {
		return nil
	}
	return object
}

func (x *inspection) gguf(path string, hash bool) error {
	f, err := gguf.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() // read only
	x.Format, x.Version, x.Alignment = "gguf", f.Version, f.Alignment
	for _, key := range f.Meta().Keys() {
		v, _ := f.Meta().Get(key)
		x.Metadata.add(key, v)
	}
	shards := f.Shards()
	for _, s := range shards {
		name := ""
		if len(shards) > 1 {
			name = filepath.Base(s.Name())
		}
		if err := x.tensors(s, name, s.Name(), s.Offset, hash, true); err != nil {
			return err
		}
	}
	x.sum()
	x.ggufFacts(f.Meta())
	return nil
}

// tensors lists a file's tensors. file is its name in the list, "" for the only one.
func (x *inspection) tensors(src tensor.Source, file, path string, offset func(string) int64, hash, innermostFirst bool) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	entry := inspectedFile{Name: filepath.Base(path), Bytes: st.Size()}
	for i, name := range src.Names() {
		t, err := src.Tensor(name)
		if err != nil {
			return err
		}
		if i == 0 {
			entry.DataStart = offset(name) // the first tensor is where the data starts
		}
		shape := slices.Clone(t.Shape)
		if innermostFirst {
			slices.Reverse(shape)
		}
		if shape == nil {
			shape = []int{}
		}
		it := inspectedTensor{Name: name, Type: t.Type.String(), Shape: shape, File: file, Offset: offset(name) - entry.DataStart, Bytes: t.Bytes()}
		if hash {
			h := sha256.Sum256(t.Data)
			it.SHA256 = hex.EncodeToString(h[:])
		}
		x.Values += int64(t.Elems())
		x.Tensors = append(x.Tensors, it)
	}
	x.Files = append(x.Files, entry)
	return nil
}

// sum counts the types, and takes the provenance from the metadata where no configuration has it.
func (x *inspection) sum() {
	var facts orderedValues
	for _, kv := range x.Metadata {
		if rest, ok := strings.CutPrefix(kv.key, "tune."); ok {
			facts.add(rest, kv.value)
		}
	}
	if text, err := json.Marshal(facts); x.Provenance == nil && facts != nil && err == nil {
		x.Provenance = text
	}
	for _, t := range x.Tensors {
		x.Bytes += t.Bytes
		i := slices.IndexFunc(x.Types, func(c typeCount) bool { return c.Type == t.Type })
		if i < 0 {
			i, x.Types = len(x.Types), append(x.Types, typeCount{Type: t.Type})
		}
		x.Types[i].Tensors++
		x.Types[i].Bytes += t.Bytes
		if x.Adapter != nil && (strings.Contains(t.Name, ".lora_A.") || strings.Contains(t.Name, ".lora_embedding_A")) {
			x.Adapter.AdaptedModules++
		}
	}
	slices.SortStableFunc(x.Types, func(a, b typeCount) int { return cmp.Compare(b.Bytes, a.Bytes) })
}

// print is the form for people.
func (x *inspection) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	format := x.Format
	if x.Format == "gguf" {
		format = fmt.Sprintf("gguf, version %d, alignment %d", x.Version, x.Alignment)
	}
	fmt.Fprintf(w, "format\t%s\n", format)
	for _, f := range x.Files {
		fmt.Fprintf(w, "file\t%s, %s, data at %d\n", f.Name, bytesText(f.Bytes), f.DataStart)
	}
	fmt.Fprintf(w, "values\t%d in %d tensors, %s\n", x.Values, len(x.Tensors), bytesText(x.Bytes))
	for _, t := range x.Types {
		fmt.Fprintf(w, "type\t%s: %d tensors, %s\n", t.Type, t.Tensors, bytesText(t.Bytes))
	}
	if a := x.Adapter; a != nil {
		fmt.Fprintf(w, "adapter\t%s of %s, rank %d, alpha %g, scale %g, %d modules\n", a.Method, cmp.Or(a.Base, "an unnamed base"), a.Rank, a.Alpha, a.Scale, a.AdaptedModules)
		fmt.Fprintf(w, "target modules\t%s\n", oneLine(a.Targets))
		for _, v := range []struct {
			name string
			text json.RawMessage
		}{{"rank pattern", a.RankPattern}, {"alpha pattern", a.AlphaPattern}} {
			if v.text != nil {
				fmt.Fprintf(w, "%s\t%s\n", v.name, oneLine(v.text))
			}
		}
		if len(a.ModulesToSave) > 0 {
			fmt.Fprintf(w, "modules to save\t%s\n", strings.Join(a.ModulesToSave, ", "))
		}
		if a.Ranks != nil {
			fmt.Fprintf(w, "ranks\t%v; the scale is that of rank %d\n", a.Ranks, a.Rank)
		}
		if x.Format == "peft" {
			fmt.Fprintf(w, "variants\trslora %t, dora %t\n", a.RSLoRA, a.DoRA)
		}
	}
	prefix := "metadata."
	if x.Format == "gguf" {
		prefix = "" // those keys are names with a prefix already
	}
	for _, kv := range x.Metadata {
		fmt.Fprintf(w, "%s%s\t%s\n", prefix, kv.key, valueText(kv.value))
	}
	if err := x.printConfig(w); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nTENSOR\tTYPE\tSHAPE\tOFFSET\tBYTES")
	for _, t := range x.Tensors {
		fmt.Fprintf(w, "\n%s\t%s\t%v\t%d\t%d", t.Name, t.Type, t.Shape, t.Offset, t.Bytes)
		if t.SHA256 != "" {
			fmt.Fprintf(w, "\t%s", t.SHA256)
		}
		if t.File != "" && len(x.Files) > 1 {
			fmt.Fprintf(w, "\t%s", t.File)
		}
	}
	fmt.Fprintln(w)
	return w.Flush()
}

// printConfig lists the keys of config.json and the provenance; an adapter's are printed by print.
func (x *inspection) printConfig(w io.Writer) error {
	for _, part := range []struct {
		prefix string
		text   json.RawMessage
	}{{"config.", x.Config}, {"provenance.", x.Provenance}} {
		if part.text == nil || part.prefix == "config." && x.Adapter != nil {
			continue
		}
		var keys map[string]json.RawMessage
		if err := json.Unmarshal(part.text, &keys); err != nil {
			return err
		}
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			if k != "tune" {
				fmt.Fprintf(w, "%s%s\t%s\n", part.prefix, k, oneLine(keys[k]))
			}
		}
	}
	return nil
}

func oneLine(text json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, text) != nil {
		return string(text)
	}
	return shorten(b.String())
}

// shorten cuts what would fill the screen.
func shorten(s string) string {
	const most = 160
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// valueText is a metadata value in one line; long arrays are counted.
func valueText(v any) string {
	if s, ok := v.(string); ok {
		return shorten(fmt.Sprintf("%q", s))
	}
	text := fmt.Sprint(v)
	if kind := gguf.TypeName(v); strings.HasPrefix(kind, "array") && len(text) > 100 {
		return fmt.Sprintf("%s of %d", kind, reflect.ValueOf(v).Len())
	}
	return text
}
