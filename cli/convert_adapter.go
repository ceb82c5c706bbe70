package cli

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"tune/internal/gguf"
	"tune/internal/hint"
	"tune/internal/model"
	"tune/internal/qtype"
	"tune/lora"
)

// isAdapter recognises a PEFT folder and a GGUF file that says it is an adapter. What cannot be read is none: the reader of
// models tells what is wrong with it.
func isAdapter(path string) bool {
	st, err := os.Stat(path)
	if err != nil {
		return false
	}
	if st.IsDir() {
		return isFile(filepath.Join(path, adapterConfig))
	}
	f, err := gguf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close() // read only
	return lora.IsGGUFAdapter(f.Meta())
}

// convertAdapter writes an adapter as a GGUF file or a PEFT folder.
func convertAdapter(c *cli.Context, src, dst, format string, as qtype.Type) (*convertReport, error) {
	if !c.IsSet("base") {
		return nil, usagef(c, "%s is an adapter: expected --base MODEL, the model it was made for", src)
	}
	if format == "hf" && c.String("type") != "keep" && as != qtype.F32 {
		return nil, usagef(c, "type: an adapter's folder holds f32, found %q", c.String("type"))
	}
	base, err := openBase(c.String("base"), false)
	if err != nil {
		return nil, err
	}
	defer base.Close() // read only
	m, err := model.New(base, model.Options{})
	if err != nil {
		return nil, err
	}
	if err := checkDistinct(src, dst); err != nil {
		return nil, err
	}
	a, err := lora.Load(src, m)
	if err != nil {
		return nil, err
	}
	r := &convertReport{Output: dst, Format: format}
	if format == "hf" {
		r.Format = "peft"
		out := a.Tensors()
		for _, name := range out.Names() {
			if t, err := out.Tensor(name); err == nil {
				r.Bytes += t.Bytes()
			}
		}
		r.Tensors = len(out.Names())
		if err := clearAdapter(dst, c.Bool("overwrite")); err != nil {
			return nil, err
		}
		return r, a.Save(dst, lora.SaveOptions{Base: c.String("base")})
	}
	name := c.String("name")
	if name == "" {
		name = model.TitleOf(src)
	}
	x, err := a.GGUF(lora.GGUFOptions{Type: as, Name: name, Fold: c.Bool("fold")})
	if err != nil {
		return nil, err
	}
	r.Notes, r.Tensors = x.Notes, len(x.Src.Names())
	if err := clearOutput(dst, c.Bool("overwrite")); err != nil {
		return nil, err
	}
	return r, gguf.Write(dst, x.Meta, x.Src, gguf.WriteOptions{Progress: func(_, total int64) { r.Bytes = total }})
}

// clearAdapter is clearOutput for a folder of an adapter.
func clearAdapter(path string, overwrite bool) error {
	_, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !overwrite:
		return hint.Errorf("choose another DST or add --overwrite", "output %s exists already", path)
	case !isFile(filepath.Join(path, adapterConfig)):
		return hint.Errorf("remove it yourself if it may go", "output %s: expected an adapter's folder to overwrite, found no %s in it", path, adapterConfig)
	}
	return os.RemoveAll(path)
}

// ggufFacts takes what a GGUF adapter says of itself.
func (x *inspection) ggufFacts(meta *gguf.Meta) {
	if !lora.IsGGUFAdapter(meta) {
		return
	}
	a := &adapterFacts{}
	kind, err := meta.String("adapter.type")
	if a.Method = strings.ToUpper(kind); err != nil {
		a.Method = "unknown"
	}
	if arch, err := meta.String("general.architecture"); err == nil {
		a.Base = "a model of " + arch
	}
	a.Alpha, _ = meta.Float("adapter.lora.alpha") // readers take 0 where it is missing
	ranks, targets := []int{}, []string{}
	for _, t := range x.Tensors {
		module, ok := strings.CutSuffix(t.Name, ".weight.lora_b")
		if !ok || len(t.Shape) < 2 {
			continue
		}
		a.AdaptedModules++
		ranks = added(ranks, t.Shape[0])
		targets = added(targets, module[strings.LastIndexByte(module, '.')+1:])
	}
	for _, r := range ranks {
		a.Rank = max(a.Rank, r)
	}
	if a.Scale = 1; a.Alpha != 0 && a.Rank > 0 {
		a.Scale = a.Alpha / float64(a.Rank)
	}
	a.Targets, _ = json.Marshal(targets) // strings: it cannot fail
	if len(ranks) > 1 {
		a.Ranks = ranks
	}
	x.Adapter = a
}

// added appends what is not there yet.
func added[T comparable](list []T, v T) []T {
	if slices.Contains(list, v) {
		return list
	}
	return append(list, v)
}
