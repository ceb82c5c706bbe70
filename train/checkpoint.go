package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tune/data"
	"tune/internal/atomicfile"
	"tune/internal/hint"
	"tune/internal/safetensors"
	"tune/internal/tensor"
)

// State is what a run is besides its numbers: where it stands after a whole number of steps.
type State struct {
	Fingerprint string     `json:"fingerprint"` // of everything that decides the numbers; a run continues only under its own
	Step        int        `json:"step"`        // steps done
	Steps       int        `json:"steps"`       // of the whole run
	Tokens      int64      `json:"tokens"`
	Supervised  int64      `json:"supervised_tokens"`
	Seconds     float64    `json:"seconds"`
	Data        data.State `json:"data"`
	Before      *Quality   `json:"before,omitempty"` // held-out data before the first step
	Best        *Quality   `json:"best,omitempty"`
	BestStep    int        `json:"best_step"`         // steps done at Best; 0 when there was none
	Worse       int        `json:"worse"`             // evaluations since Best
	Baseline    float64    `json:"baseline"`          // exact match of always giving the most frequent held-out answer
	Stopped     bool       `json:"stopped"`           // ended early
	Pending     *Metric    `json:"pending,omitempty"` // of the last step, when its evaluation was interrupted
}

// vector is a named parameter or optimizer state.
type vector struct {
	name  string
	shape []int
	data  []float32
}

const (
	stateFile     = "state.json"
	paramsFile    = "params.safetensors"
	optimizerFile = "optimizer.safetensors"
)

// checkpointDir is the folder of the checkpoint after so many steps.
func checkpointDir(dir string, step int) string {
	return filepath.Join(dir, "checkpoints", fmt.Sprintf("step-%08d", step))
}

// writeCheckpoint writes a folder that appears whole or not at all, and removes older ones except that of the best step.
func writeCheckpoint(dir string, s State, params, optimizer []vector) error {
	final := checkpointDir(dir, s.Step)
	partial := final + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if err := os.MkdirAll(partial, 0o755); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = errors.Join(writeVectors(filepath.Join(partial, paramsFile), params),
			writeVectors(filepath.Join(partial, optimizerFile), optimizer),
			atomicfile.Write(filepath.Join(partial, stateFile), append(text, '\n')))
	}
	if err == nil {
		err = os.RemoveAll(final)
	}
	if err == nil {
		err = os.Rename(partial, final)
	}
	if err != nil {
		os.RemoveAll(partial)
		return fmt.Errorf("checkpoint: %w", err)
	}
	if f, err := os.Open(filepath.Dir(final)); err == nil { // the new name is on disk before older ones go
		f.Sync() // folders cannot be synced everywhere
		f.Close()
	}
	steps, err := checkpoints(dir)
	for _, step := range steps {
		if step != s.Step && step != s.BestStep {
			err = errors.Join(err, os.RemoveAll(checkpointDir(dir, step)))
		}
	}
	return err
}

// checkpoints lists the steps of the whole checkpoints of a run, in order.
func checkpoints(dir string) ([]int, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "checkpoints"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	var steps []int
	for _, e := range entries {
		var step int
		if _, err := fmt.Sscanf(e.Name(), "step-%d", &step); err == nil && !strings.HasSuffix(e.Name(), ".partial") {
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	return steps, nil
}

// readState reads the state of the last checkpoint of a run; nil when there is none.
func readState(dir string) (*State, error) {
	steps, err := checkpoints(dir)
	if err != nil || len(steps) == 0 {
		return nil, err
	}
	path := filepath.Join(checkpointDir(dir, steps[len(steps)-1]), stateFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	s := &State{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("%s: expected the state of a run: %w", path, err)
	}
	return s, nil
}

// readVectors fills vectors from a file written by writeCheckpoint; names and shapes must be the same.
func readVectors(path string, into []vector) error {
	d, err := safetensors.Open(path)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	defer d.Close()
	if n := len(d.Names()); n != len(into) {
		return fmt.Errorf("%s: expected %d tensors, found %d", path, len(into), n)
	}
	for _, v := range into {
		t, err := d.Tensor(v.name)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if !slices.Equal(t.Shape, v.shape) {
			return fmt.Errorf("%s: %s: expected shape %v, found %v", path, v.name, v.shape, t.Shape)
		}
		x, err := tensor.Floats(t)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		copy(v.data, x)
	}
	return nil
}

func writeVectors(path string, vs []vector) error {
	m := tensor.NewMap()
	for _, v := range vs {
		m.Add(tensor.FromFloats(v.name, v.shape, v.data))
	}
	return safetensors.WriteFile(path, m, safetensors.WriteOptions{})
}

// checkFingerprint refuses to continue another run.
func checkFingerprint(dir string, s *State, want string) error {
	if s.Fingerprint == want {
		return nil
	}
	return hint.Errorf("continue with the recipe.yaml in that folder, or start anew with --overwrite",
		"%s: expected a checkpoint of this recipe, base, data and seed, found one of another run", dir)
}
