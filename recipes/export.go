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
	Loader     string  `yaml:"loader,omitempty" json:"loader,omitempty" jsonschema:"enum=vllm,enum=transformers,description=with these folders: whose rules they must meet; vllm if not given"`
	MaxKL      float64 `yaml:"max_kl,omitempty" json:"max_kl,omitempty" jsonschema:"description=gate: largest mean KL divergence from the trained model on held-out answers in nats; 0 sets none"`
}

// Trained as Artifact.Imatrix asks for importance measured on the training data.
const Trained = "train"

// forms an artifact can have.
var forms = []struct {
	key   string // the key that says so
	value func(*Artifact) string
	check func(*Artifact) error
	path  func(*Artifact) string // in the output folder
}{
	{"merged", func(a *Artifact) string { return a.Merged }, checkMerged, func(*Artifact) string { return "merged" }},
	{"gguf", func(a *Artifact) string { return a.GGUF }, checkGGUF, func(a *Artifact) string { return "model-" + strings.ToUpper(a.GGUF) + ".gguf" }},
	{"gptq", func(a *Artifact) string { return a.GPTQ }, checkPacked, packedPath},
	{"awq", func(a *Artifact) string { return a.AWQ }, checkPacked, packedPath},
	{"compressed_tensors", func(a *Artifact) string { return a.Compressed }, checkPacked, packedPath},
	{"bitsandbytes", func(a *Artifact) string { return a.BnB }, checkPacked, packedPath},
}

// packedPath tells format and scheme: model-gptq-W4.
func packedPath(a *Artifact) string {
	o, name, _ := a.packed()
	return "model-" + o.Format + "-" + name
}

// Form is the key that says what the artifact is, "" when none or several do.
func (a *Artifact) Form() string {
	form := ""
	for _, f := range forms {
		if f.value(a) == "" {
			continue
		}
		if form != "" {
			return ""
		}
		form = f.key
	}
	return form
}

// Path is the file or folder of a checked artifact, in the output folder.
func (a *Artifact) Path() string {
	for _, f := range forms {
		if f.key == a.Form() {
			return f.path(a)
		}
	}
	return ""
}

// Type is the value of the form: a storage type or a mix, in capitals.
func (a *Artifact) Type() string {
	for _, f := range forms {
		if f.key == a.Form() {
			return strings.ToUpper(f.value(a))
		}
	}
	return ""
}

// checkExport checks the list; each artifact has a place of its own.
func checkExport(list []Artifact, bad func(wrong bool, path, format string, args ...any)) {
	var names []string
	for _, f := range forms {
		names = append(names, f.key)
	}
	taken := map[string]int{}
	for i := range list {
		a, at := &list[i], fmt.Sprintf("export[%d]", i)
		form := a.Form()
		if form == "" {
			bad(true, at, "expected one of the keys %s", strings.Join(names, ", "))
			continue
		}
		if _, packed := a.Packed(); !packed && (a.GroupSize != 0 || a.Loader != "") {
			bad(true, at, "group_size and loader are for gptq, awq, compressed_tensors and bitsandbytes")
		}
		bad(!(a.MaxKL >= 0), at+".max_kl", "expected at least 0, found %g", a.MaxKL)
		if err := forms[slices.Index(names, form)].check(a); err != nil {
			bad(true, at+"."+form, "%v", err)
			continue
		}
		first, again := taken[a.Path()]
		bad(again, at, "expected another file than that of export[%d], found %s again", first, a.Path())
		taken[a.Path()] = i
	}
}

func checkMerged(a *Artifact) error {
	types := []string{"bf16", "f16", "f32"}
	switch {
	case !slices.Contains(types, a.Merged):
		return fmt.Errorf("expected one of %s, found %q", strings.Join(types, ", "), a.Merged)
	case a.Imatrix != "":
		return fmt.Errorf("expected no imatrix, which is for gguf, found %q", a.Imatrix)
	}
	return nil
}

// Packed are the options of a folder for GPU servers; false for other forms.
func (a *Artifact) Packed() (packed.Options, bool) {
	o, _, ok := a.packed()
	return o, ok
}

func (a *Artifact) packed() (o packed.Options, name string, ok bool) {
	for _, f := range []struct{ format, value string }{{"gptq", a.GPTQ}, {"awq", a.AWQ}, {"compressed-tensors", a.Compressed}, {"nf4", a.BnB}} {
		if f.value != "" {
			o.Format, name = f.format, strings.ToUpper(f.value)
		}
	}
	if a.GroupSize != 0 {
		o.Group = &a.GroupSize
	}
	switch bits, asym := strings.CutSuffix(name, "_ASYM"); o.Format {
	case "gptq", "awq":
		if len(bits) == 2 {
			o.Bits = int(bits[1] - '0')
		}
		if asym {
			o.Sym = new(bool)
		}
	case "compressed-tensors":
		o.Scheme = name
	}
	return o, name, o.Format != ""
}

func checkPacked(a *Artifact) error {
	o, name, _ := a.packed()
	names := map[string][]string{"gptq": {"W4", "W8", "W3", "W2", "W4_ASYM"}, "awq": {"W4"}, "compressed-tensors": packed.SchemeNames(), "nf4": {"NF4"}}[o.Format]
	switch {
	case !slices.Contains(names, name):
		return fmt.Errorf("expected one of %s, found %q", strings.Join(names, ", "), name)
	case a.Imatrix != "":
		return fmt.Errorf("expected no imatrix, which is for gguf, found %q", a.Imatrix)
	case a.Loader != "" && !slices.Contains(packed.Loaders(), a.Loader):
		return fmt.Errorf("expected a loader of %s, found %q", strings.Join(packed.Loaders(), ", "), a.Loader)
	}
	_, err := packed.ParseScheme(o)
	return err
}

func checkGGUF(a *Artifact) error {
	mix, err := quantize.ParseMix(a.GGUF)
	switch {
	case err != nil:
		return fmt.Errorf("expected a mix such as Q8_0 or Q4_K_M, found %q", a.GGUF)
	case mix.NeedsImportance() && a.Imatrix == "":
		return fmt.Errorf("%s needs to know the importance of columns: add imatrix: %s, or a file", mix.Name, Trained)
	}
	return nil
}
