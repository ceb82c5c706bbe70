package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"tune/data"
	"tune/eval"
	"tune/eval/overlap"
	"tune/eval/report"
	"tune/recipes"
)

// overlapsOf looks for the documents of a job's tasks in a recipe's training data.
func overlapsOf(ctx context.Context, r *recipes.Recipe, j *eval.Job) ([]report.Overlap, error) {
	var all []sought
	for _, t := range j.Selection.Tasks {
		docs, err := queries(t, j.Sources)
		if err != nil {
			return nil, err
		}
		all = append(all, sought{t.Name, overlap.New(docs, 0)})
	}
	base, err := openBase(r.Base, false)
	if err != nil {
		return nil, err
	}
	defer base.Close()
	tok, err := base.Tokenizer()
	if err != nil {
		return nil, err
	}
	template, err := base.Template()
	if err != nil {
		return nil, err
	}
	s, err := data.Open(r.Data, data.Options{Split: "train", Seed: r.Seed, Tokenizer: tok, Vocab: base.Spec.V, Template: template, Cache: cacheDir()})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	err = lookFor(ctx, s, all, func(ids []int32) string { return tok.Decode(ids, true) })
	return overlapOf(trainingNames(r), all), err
}

// trainingNames are the paths of a recipe's training data.
func trainingNames(r *recipes.Recipe) string {
	var names []string
	for _, x := range r.Data.Train {
		names = append(names, x.Path)
	}
	return strings.Join(names, ", ")
}

// tellTraining adds to the results of a model what its training data shares with the tasks, when the recipe that a training writes
// beside its results is there; a note when that data is not.
func tellTraining(ctx context.Context, base, adapter string, j *eval.Job, r *report.Results) {
	for _, path := range []string{adapter, base} {
		file := filepath.Join(filepath.Dir(filepath.Clean(path)), "recipe.yaml")
		if path == "" || !exists(path) || !exists(file) {
			continue
		}
		recipe, err := recipes.Load(file, nil)
		if err != nil {
			r.Tune.Notes = append(r.Tune.Notes, fmt.Sprintf("trained by %s, which cannot be read: %v", file, err))
			continue
		}
		found, err := overlapsOf(ctx, recipe, j)
		if err != nil {
			r.Tune.Notes = append(r.Tune.Notes, fmt.Sprintf("trained on %s, in which the tasks could not be looked for: %v", trainingNames(recipe), err))
			continue
		}
		r.Tune.Trained = append(r.Tune.Trained, found...)
	}
}
