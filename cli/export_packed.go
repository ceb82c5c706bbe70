package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"tune/internal/model"
	"tune/internal/packed"
	"tune/internal/tensor"
	"tune/quantize"
	"tune/recipes"
)

// planExport plans a folder of a recipe's list; nil when the artifact has another form.
func planExport(base *model.Checkpoint, weights tensor.Source, untied bool, a *recipes.Artifact, stamp string) (*quantize.PackedPlan, error) {
	o := quantize.PackedOptions{Untied: untied, Loader: a.Loader, Method: a.Method, Version: "tune " + readBuildInfo().Version, Stamp: stamp}
	var ok bool
	if o.Scheme, ok = a.Packed(); !ok {
		return nil, nil
	}
	if o.Loader == "" {
		o.Loader = packed.Loaders()[0]
	}
	return quantize.PlanPacked(base, weights, o)
}

// checkExports refuses, before anything is trained, folders that the base cannot be stored as.
func checkExports(base *model.Checkpoint, list []recipes.Artifact) error {
	if base.Weights == nil {
		return nil // a model from nothing: its weights come with the training
	}
	for i := range list {
		if _, err := planExport(base, nil, false, &list[i], ""); err != nil {
			return fmt.Errorf("export[%d]: %w", i, err)
		}
	}
	return nil
}

// exportPacked replaces the folder of an earlier run.
func exportPacked(ctx context.Context, t *trained, a *recipes.Artifact, path string) ([]string, error) {
	p, err := planExport(&t.base, t.weights, t.untied, a, "")
	if err != nil {
		return nil, err
	}
	if err := os.RemoveAll(path); err != nil {
		return nil, err
	}
	notes, o := p.Notes, quantize.WriteOptions{Fresh: true}
	if p.Method == quantize.RTN {
		return notes, p.Write(ctx, path, o, nil)
	}
	if err := t.calibrate(ctx); err != nil {
		return nil, err
	}
	x := t.calibrated
	m := quantize.DefaultMethod()
	m.Pool = t.job.Pool
	s, err := quantize.StartMethod(ctx, p, x.model, t.weights, x.Calibration, m)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if p, err = planExport(&t.base, s.Weights, t.untied, a, s.Stamp); err != nil {
		return nil, err
	}
	notes = append(notes, fmt.Sprintf("%s: %s calibrated on %d tokens of the training data", filepath.Base(path), p.Method, x.Tokens))
	return notes, p.Write(ctx, path, o, s.Linear)
}

// Pieces of the training data that a trained model is calibrated on: as many tokens as the libraries' defaults, or what there is.
const (
	calibrationPieces = 64
	calibrationPiece  = 512
)

// calibrated is a trained model as a model of its own, and its statistics on the data it was trained on.
type calibrated struct {
	*quantize.Calibration
	model *model.Model
	path  string
}

// calibrate runs the first training data through the trained model, once for all that is written. Held-out data stay unseen.
func (t *trained) calibrate(ctx context.Context) error {
	if t.calibrated != nil {
		return nil
	}
	j, merged := t.job, t.base
	merged.Weights = t.weights
	m, err := model.New(&merged, model.Options{Exact: j.Model.Exact, Lazy: true})
	if err != nil {
		return err
	}
	ids, err := j.trainingIDs(ctx, calibrationPieces*calibrationPiece)
	if err != nil {
		return err
	}
	text := quantize.Text{IDs: ids[:min(len(ids), calibrationPieces*calibrationPiece)], Length: min(calibrationPiece, len(ids), j.Seq)}
	path := filepath.Join(j.recipe.Output, "export.calibration")
	if _, err := quantize.CalibrateOnce(ctx, path, m, t.weights, quantize.CalibrateOptions{Text: text, Memory: j.Memory, Copied: true, Pool: j.Pool}); err != nil {
		return fmt.Errorf("training data: %w", err)
	}
	c, err := quantize.OpenCalibration(path)
	if err != nil {
		return err
	}
	t.calibrated = &calibrated{c, m, path}
	return nil
}

// close gives the statistics back; a run that ends before its list is written leaves their file to the next one.
func (t *trained) close() {
	if t.calibrated != nil {
		t.calibrated.Close()
	}
}

// forget removes the statistics when everything is written.
func (t *trained) forget() error {
	t.close()
	if t.calibrated == nil {
		return nil
	}
	return os.Remove(t.calibrated.path)
}
