package recipes

import (
	"fmt"
	"slices"
	"strings"

	"tune/internal/packed"
	"tune/quantize"
)

// An Artifact is one entry of the `export` list: a form of the trained model to write beside the adapter or the checkpoint.
// One of its keys says which form, see forms; the others are for that form.
type Artifact struct {
	Merged     string  `yaml:"merged,omitempty" json:"merged,omitempty" jsonschema:"enum=bf16,enum=f16,enum=f32,description=form: a Hugging Face folder of this type"`
	GGUF       string  `yaml:"gguf,omitempty" json:"gguf,omitempty" jsonschema:"description=form: a GGUF file of this mix such as Q8_0 or Q4_K_M"`
	Imatrix    string  `yaml:"imatrix,omitempty" json:"imatrix,omitempty" jsonschema:"description=with gguf: a file of column importance; or train to measure it on the training data"`
	GPTQ       string  `yaml:"gptq,omitempty" json:"gptq,omitempty" jsonschema:"enum=W4,enum=W8,enum=W3,enum=W2,enum=W4_ASYM,description=form: a GPTQ folder of so many bits"`
	AWQ        string  `yaml:"awq,omitempty" json:"awq,omitempty" jsonschema:"enum=W4,description=form: an AWQ folder"`
	Compressed string  `yaml:"compressed_tensors,omitempty" json:"compressed_tensors,omitempty" jsonschema:"description=form: a compressed-tensors folder of a scheme such as W4A16 or FP8_DYNAMIC"`
	BnB        string  `yaml:"bitsandbytes,omitempty" json:"bitsandbytes,omitempty" jsonschema:"enum=NF4,description=form: a folder as bitsandbytes stores it"`
	GroupSize  int     `yaml:"group_size,omitempty" json:"group_size,omitempty" jsonschema:"description=with gptq awq and compressed_tensors: inputs that share a scale; 0 leaves it to the format and -1 is a whole row"`
	Method     string  `yaml:"method,omitempty" json:"method,omitempty" jsonschema:"enum=rtn,enum=gptq,enum=awq,enum=awq+gptq,description=with gptq awq and compressed_tensors: how codes are chosen; all but rtn are calibrated on the training data; if not given that of the form and rtn for compressed_tensors"`
	Loader     string  `yaml:"loader,omitempty" json:"loader,omitempty" jsonschema:"enum=vllm,enum=transformers,description=with these folders: whose rules they must meet; vllm if not given"`
	MaxKL      float64 `yaml:"max_kl,omitempty" json:"max_kl,omitempty" jsonschema:"description=gate: largest mean KL divergence from the trained model on held-out answers in nats; 0 sets none"`
}

// Trained as Artifact.Imatrix asks for importance measured on the training data.
const Trained = "train"

// A form that an artifact can have.
type form struct {
	key    string                  // that says so
	value  func(*Artifact) *string // of the key
	takes  []string                // nil: mixes of GGUF files
	format string                  // of a folder for GPU servers, "" for others
}

var forms = []form{
	{key: "merged", value: func(a *Artifact) *string { return &a.Merged }, takes: []string{"bf16", "f16", "f32"}},
	{key: "gguf", value: func(a *Artifact) *string { return &a.GGUF }},
	{key: "gptq", value: func(a *Artifact) *string { return &a.GPTQ }, format: "gptq", takes: []string{"W4", "W8", "W3", "W2", "W4_ASYM"}},
	{key: "awq", value: func(a *Artifact) *string { return &a.AWQ }, format: "awq", takes: []string{"W4"}},
	{key: "compressed_tensors", value: func(a *Artifact) *string { return &a.Compressed }, format: "compressed-tensors", takes: packed.SchemeNames()},
	{key: "bitsandbytes", value: func(a *Artifact) *string { return &a.BnB }, format: "nf4", takes: []string{"NF4"}},
}

// form that the artifact has; an empty one when it has none or several.
func (a *Artifact) form() (found form) {
	for _, f := range forms {
		switch {
		case *f.value(a) == "":
		case found.key != "":
			return form{}
		default:
			found = f
		}
	}
	return found
}

// Form is the key that says what the artifact is, "" when none or several do.
func (a *Artifact) Form() string { return a.form().key }

// Type is the value of the form: a storage type, a mix or a scheme, in capitals.
func (a *Artifact) Type() string {
	f := a.form()
	if f.key == "" {
		return ""
	}
	return strings.ToUpper(*f.value(a))
}

// Path is the file or folder of a checked artifact, in the output folder. A method that is not the usual one is in its name.
func (a *Artifact) Path() string {
	switch f := a.form(); {
	case f.key == "merged":
		return "merged"
	case f.format == "":
		return "model-" + a.Type() + ".gguf"
	case a.Method == "" || a.Method == f.format:
		return "model-" + f.format + "-" + a.Type()
	default:
		return "model-" + f.format + "-" + a.Type() + "-" + a.Method
	}
}

// Packed are the options of a folder for GPU servers; false for other forms.
func (a *Artifact) Packed() (o packed.Options, ok bool) {
	f := a.form()
	o.Format = f.format
	if a.GroupSize != 0 {
		o.Group = &a.GroupSize
	}
	switch bits, asym := strings.CutSuffix(a.Type(), "_ASYM"); f.format {
	case "gptq", "awq":
		o.Bits = int(bits[1] - '0')
		if asym {
			o.Sym = new(bool)
		}
	case "compressed-tensors":
		o.Scheme = a.Type()
	}
	return o, f.format != ""
}

// checkExport checks the list; each artifact has a place of its own.
func checkExport(list []Artifact, bad func(wrong bool, path, format string, args ...any)) {
	taken := map[string]int{}
	for i := range list {
		a, at := &list[i], fmt.Sprintf("export[%d]", i)
		f := a.form()
		if f.key == "" {
			var names []string
			for _, f := range forms {
				names = append(names, f.key)
			}
			bad(true, at, "expected one of the keys %s", strings.Join(names, ", "))
			continue
		}
		bad(f.format == "" && (a.GroupSize != 0 || a.Loader != "" || a.Method != ""), at, "group_size, method and loader are for gptq, awq, compressed_tensors and bitsandbytes")
		bad(f.key != "gguf" && a.Imatrix != "", at, "expected no imatrix, which is for gguf, found %q", a.Imatrix)
		bad(!(a.MaxKL >= 0), at+".max_kl", "expected at least 0, found %g", a.MaxKL)
		if err := a.check(f); err != nil {
			bad(true, at+"."+f.key, "%v", err)
			continue
		}
		first, again := taken[a.Path()]
		bad(again, at, "expected another file than that of export[%d], found %s again", first, a.Path())
		taken[a.Path()] = i
	}
}

// check holds the value of the form against what it takes.
func (a *Artifact) check(f form) error {
	value := *f.value(a)
	if f.takes == nil {
		mix, err := quantize.ParseMix(value)
		switch {
		case err != nil:
			return fmt.Errorf("expected a mix such as Q8_0 or Q4_K_M, found %q", value)
		case mix.NeedsImportance() && a.Imatrix == "":
			return fmt.Errorf("%s needs to know the importance of columns: add imatrix: %s, or a file", mix.Name, Trained)
		}
		return nil
	}
	if !slices.ContainsFunc(f.takes, func(x string) bool { return strings.EqualFold(x, value) }) {
		return fmt.Errorf("expected one of %s, found %q", strings.Join(f.takes, ", "), value)
	}
	o, ok := a.Packed()
	if !ok {
		return nil
	}
	if a.Loader != "" && !slices.Contains(packed.Loaders(), a.Loader) {
		return fmt.Errorf("expected a loader of %s, found %q", strings.Join(packed.Loaders(), ", "), a.Loader)
	}
	s, err := packed.ParseScheme(o)
	if err == nil {
		_, err = quantize.MethodOf(a.Method, s)
	}
	return err
}
