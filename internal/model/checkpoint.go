package model

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"tune/internal/chat"
	"tune/internal/gguf"
	"tune/internal/hint"
	"tune/internal/packed"
	"tune/internal/safetensors"
	"tune/internal/tensor"
	"tune/internal/tokenizer"
)

// Checkpoint is a model as it lies in files: what it is, its weights (mapped, not read) and what goes with them.
type Checkpoint struct {
	Path    string
	Format  string // "hf" or "gguf"
	Spec    Spec
	Config  []byte        // config.json; for a GGUF file, one that says the same as its metadata, nil where it cannot
	Weights tensor.Source // Hugging Face names and layouts; nil for a model that has none yet
	// Quantized is Weights when they are those of GPTQ, AWQ, compressed-tensors, FP8 or bitsandbytes; else nil.
	Quantized *packed.Source

	configErr error
	raw       tensor.Source // as stored, for the hash
	files     fs.FS         // beside the weights; nil: none
	meta      *gguf.Meta
	close     func() error
	tokenizer func() (*tokenizer.Tokenizer, error)
}

// Open reads a Hugging Face directory (config.json and safetensors, sharded or not) or a GGUF file, whole or any of its parts.
func Open(path string) (*Checkpoint, error) {
	info, err := os.Stat(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, hint.Errorf("a model is a directory with config.json and *.safetensors, a .gguf file, or builtin:lex-5m", "no model at %s", path)
		}
		return nil, err
	}
	if !info.IsDir() {
		return openGGUF(path)
	}
	if _, err := os.Stat(filepath.Join(path, "config.json")); errors.Is(err, fs.ErrNotExist) {
		found, _ := filepath.Glob(filepath.Join(path, "*.gguf"))
		if file, ok := gguf.Only(found); ok {
			return openGGUF(file)
		}
		return nil, hint.Errorf("a model is a directory with config.json and *.safetensors, or a .gguf file", "%s: expected config.json, found none", path)
	}
	c, err := openHF(os.DirFS(path), path)
	if err != nil {
		return nil, err
	}
	w, err := safetensors.Open(path)
	if err != nil {
		return nil, err
	}
	c.close = w.Close
	if err := c.setWeights(w); err != nil {
		c.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// setWeights takes stored tensors, with a name for each matrix of an expert.
func (c *Checkpoint) setWeights(stored tensor.Source) error {
	err := c.unpack(stored)
	if err == nil {
		c.Weights = splitExperts(&c.Spec, c.Weights)
	}
	return err
}

// unpack takes stored tensors, and puts weights together that a quantization_config says are spread over several.
func (c *Checkpoint) unpack(stored tensor.Source) error {
	c.Weights, c.raw = stored, stored
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(c.Config, &keys); err != nil {
		return err
	}
	const key = "quantization_config"
	text := keys[key]
	if text == nil || string(text) == "null" {
		beside, err := c.side("quantize_config.json") // where older GPTQ checkpoints say it
		if err != nil || beside == nil {
			return err
		}
		text = beside
	}
	config, err := packed.ParseConfig(text)
	if err != nil {
		return err
	}
	c.Quantized = packed.NewSource(stored, config)
	c.Weights = c.Quantized
	delete(keys, key) // copies of the weights are plain
	if c.Config, err = json.Marshal(keys); err != nil {
		return err
	}
	needed := map[string]bool{}
	for _, t := range c.Spec.Tensors() {
		needed[t.Name] = true
	}
	return c.Quantized.DropBiases(func(name string) bool { return needed[name] })
}

// OpenFS reads a checkpoint whose weights are one model.safetensors, such as the embedded base model.
func OpenFS(fsys fs.FS, name string) (*Checkpoint, error) {
	c, err := openHF(fsys, name)
	if err != nil {
		return nil, err
	}
	const file = "model.safetensors"
	data, err := fs.ReadFile(fsys, file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	w, err := safetensors.Parse(name+"/"+file, data)
	if err != nil {
		return nil, err
	}
	if err := c.setWeights(w); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// Fresh is a model without weights, to be trained from nothing. The tokenizer is read from fsys, which may be nil.
func Fresh(config []byte, name string, fsys fs.FS) (*Checkpoint, error) {
	s, err := ParseConfig(config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c := &Checkpoint{Path: name, Format: "hf", Spec: s, Config: config, files: fsys}
	c.tokenizer = sync.OnceValues(c.readTokenizer)
	return c, nil
}

func openHF(fsys fs.FS, name string) (*Checkpoint, error) {
	config, err := readSide(fsys, "config.json")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return Fresh(config, name, fsys)
}

func openGGUF(path string) (*Checkpoint, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	s, err := SpecFromGGUF(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	c := &Checkpoint{Path: path, Format: "gguf", Spec: s, Weights: NewRenamed(f, &s), raw: f, meta: f.Meta(), close: f.Close}
	c.Config, c.configErr = s.ConfigJSON()
	c.tokenizer = sync.OnceValues(c.readTokenizer)
	return c, nil
}

// Close unmaps the files. Nothing that came from Weights may be used afterwards.
func (c *Checkpoint) Close() error {
	if c.close == nil {
		return nil
	}
	f := c.close
	c.close = nil
	return f()
}

// maxSide bounds what is read whole beside the weights; tokenizers of published models stay below 40 MB.
const maxSide = 1 << 28

func readSide(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSide+1))
	if err == nil && len(data) > maxSide {
		err = fmt.Errorf("%s: expected at most %d bytes, found more", name, maxSide)
	}
	return data, err
}

// side reads a file that may be absent.
func (c *Checkpoint) side(name string) ([]byte, error) {
	if c.files == nil {
		return nil, nil
	}
	data, err := readSide(c.files, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Path, err)
	}
	return data, nil
}

// ErrNoTokenizer is wrapped by the error of a checkpoint that has weights alone; token ids can still be trained on and scored.
var ErrNoTokenizer = errors.New("found none")

// Tokenizer reads the model's tokenizer, once.
func (c *Checkpoint) Tokenizer() (*tokenizer.Tokenizer, error) { return c.tokenizer() }

func (c *Checkpoint) readTokenizer() (*tokenizer.Tokenizer, error) {
	if c.meta != nil {
		t, err := tokenizer.FromGGUF(c.meta.Get)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Path, err)
		}
		return t, nil
	}
	config, err := c.side("tokenizer_config.json")
	if err != nil {
		return nil, err
	}
	for _, name := range tokenizer.Files {
		data, err := c.side(name)
		if err != nil {
			return nil, err
		}
		if data == nil {
			continue
		}
		t, err := tokenizer.FromFile(name, data, config)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Path, err)
		}
		return t, nil
	}
	return nil, hint.Errorf("copy one of "+strings.Join(tokenizer.Files, ", ")+" of the model into the directory",
		"%s: expected tokenizer.json, %w", c.Path, ErrNoTokenizer)
}

// ChatTemplate is the model's own template, "" when it has none.
func (c *Checkpoint) ChatTemplate() string {
	if text, err := c.side("chat_template.jinja"); err == nil && text != nil {
		return string(text)
	}
	t, err := c.Tokenizer()
	if err != nil {
		return ""
	}
	return t.ChatTemplate()
}

// Template is ChatTemplate parsed, nil when there is none.
func (c *Checkpoint) Template() (*chat.Template, error) {
	text := c.ChatTemplate()
	if text == "" {
		return nil, nil
	}
	t, err := chat.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: chat template: %w", c.Path, err)
	}
	return t, nil
}

// Stops are the ids that end an answer: those of the configuration, the generation settings and the tokenizer.
func (c *Checkpoint) Stops() []int32 {
	ids := slices.Clone(c.Spec.EOS)
	if text, err := c.side("generation_config.json"); err == nil && text != nil {
		if g, err := newConfig(text); err == nil {
			ids = append(ids, g.ids("eos_token_id")...)
		}
	}
	if t, err := c.Tokenizer(); err == nil {
		if id, ok := t.EOS(); ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// sideFiles go with the weights wherever they are copied to.
var sideFiles = []string{"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
	"tokenizer.model", "tokenizer.tiktoken", "tiktoken.model", "generation_config.json", "chat_template.jinja", "LICENSE", "LICENSE.txt"}

// SideFiles returns the files to write beside a copy of the weights; set are keys of config.json with other values. untied: the copy
// has a head of its own although the checkpoint's is the embedding.
func (c *Checkpoint) SideFiles(set map[string]any, untied bool) (map[string][]byte, error) {
	if untied {
		set["tie_word_embeddings"] = false
	}
	config, err := c.withConfig(set)
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{"config.json": append(config, '\n')}
	for _, name := range sideFiles {
		data, err := c.side(name)
		if err != nil {
			return nil, err
		}
		if data != nil {
			out[name] = data
		}
	}
	if c.Format == "gguf" {
		t, err := c.Tokenizer()
		if err != nil {
			return nil, err
		}
		out["tokenizer.json"], out["tokenizer_config.json"] = t.JSON(), t.ConfigJSON()
	}
	return out, nil
}

// withConfig returns Config with some keys set to other values, indented and with sorted keys.
func (c *Checkpoint) withConfig(set map[string]any) ([]byte, error) {
	if c.configErr != nil {
		return nil, fmt.Errorf("%s: %w", c.Path, c.configErr)
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(c.Config, &keys); err != nil {
		return nil, err
	}
	for k, v := range set {
		b, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		keys[k] = b
	}
	return json.MarshalIndent(keys, "", "  ")
}

// Hash is the SHA-256 of all weights: name, type, shape and bytes of every stored tensor, in the order of names. How the
// tensors are spread over files does not change it.
func (c *Checkpoint) Hash() (string, error) {
	h := sha256.New()
	if c.raw == nil {
		h.Write(c.Config)
		return hex.EncodeToString(h.Sum(nil)), nil
	}
	for _, name := range slices.Sorted(slices.Values(c.raw.Names())) {
		t, err := c.raw.Tensor(name)
		if err != nil {
			return "", fmt.Errorf("%s: %w", c.Path, err)
		}
		fmt.Fprintf(h, "%s %s %s\n", name, t.Type, strings.Trim(fmt.Sprint(t.Shape), "[]"))
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(t.Data))))
		h.Write(t.Data)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
