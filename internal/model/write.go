package model

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"tune/internal/atomicfile"
	"tune/internal/hint"
	"tune/internal/packed"
	"tune/internal/qtype"
	"tune/internal/safetensors"
	"tune/internal/tensor"
)

// HFOptions of Checkpoint.WriteHF.
type HFOptions struct {
	Type     qtype.Type // of all tensors
	Keep     bool       // tensors stay as they are stored, quantized ones become bf16; Type is ignored
	Untied   bool       // weights have a head of their own although the checkpoint's is the embedding
	Metadata map[string]string
	Progress func(done, total int64) // bytes of tensors
}

// shardBytes is the usual size of one file of a sharded checkpoint.
const shardBytes = 5e9

// WriteHF writes a Hugging Face folder: weights (nil: those of the checkpoint), config.json, tokenizer and what else lies
// beside them. The folder appears whole or not at all; one that exists is refused.
func (c *Checkpoint) WriteHF(dir string, weights tensor.Source, o HFOptions) error {
	if weights == nil {
		weights = c.Weights
	}
	if packed.DTypeName(o.Type) == "" && !o.Keep {
		return hint.Errorf("write a GGUF file for quantized types", "write %s: expected f32, f16 or bf16, found %s", dir, o.Type)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return hint.Errorf("give another folder or remove this one", "write %s: the folder exists already", dir)
	}
	to := func(i tensor.Info) qtype.Type {
		switch {
		case !o.Keep:
			return o.Type
		case i.Type.Row().Block > 1:
			return qtype.BF16
		}
		return i.Type
	}
	info, err := weights.Info(EmbedModule + ".weight")
	if err != nil {
		return fmt.Errorf("write %s: %w", dir, err)
	}
	files, err := c.SideFiles(map[string]any{"torch_dtype": packed.DTypeName(to(info))}, o.Untied)
	if err != nil {
		return err
	}
	partial := filepath.Clean(dir) + ".partial"
	if err := os.MkdirAll(partial, 0o777); err != nil {
		return err
	}
	metadata := map[string]string{"format": "pt"}
	for k, v := range o.Metadata {
		metadata[k] = v
	}
	err = safetensors.Write(partial, tensor.Converted{Source: weights, To: to}, safetensors.WriteOptions{ShardBytes: shardBytes, Metadata: metadata, Progress: o.Progress})
	for name, data := range files {
		if err == nil {
			err = atomicfile.Write(filepath.Join(partial, name), data)
		}
	}
	if err == nil {
		err = os.Rename(partial, dir)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", dir, err), os.RemoveAll(partial))
	}
	return nil
}
