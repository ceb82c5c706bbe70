package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"tune/internal/model"
	"tune/internal/tokenizer"
	"tune/quantize"
	"tune/train"
)

// exported is an artifact that was written and, when it was verified, how it compares with the trained model.
type exported struct {
	Form    string   `json:"form"`
	Type    string   `json:"type"` // of storage, the mix, or the scheme
	Method  string   `json:"method,omitempty"`
	Path    string   `json:"path"`
	Bytes   int64    `json:"bytes"`
	Checked *checked `json:"verify,omitempty"`

	values int64 // of all tensors
	maxKL  float64
}

// checked is what reading an artifact again has shown.
type checked struct {
	WorstTensor string               `json:"worst_tensor"` // "" when all are equal
	WorstRMSE   float64              `json:"worst_relative_rmse"`
	SameTokens  bool                 `json:"same_tokens"`
	Template    string               `json:"chat_template"`         // as in verifyReport
	Predictions *quantize.Divergence `json:"predictions,omitempty"` // of the answers in the test data
	Answers     *quantize.Answers    `json:"answers,omitempty"`
	Trained     *quantize.Answers    `json:"trained_answers,omitempty"` // those of the model itself, in the same run
}

// exports are the artifacts of a job.
type exports []*exported

// verify reads the artifacts again and compares them with the trained model: tensors, tokenizer, chat template and, when
// there is held-out data, predictions and right answers.
func (j *job) verify(ctx context.Context, list exports, show *progress) error {
	if len(list) == 0 {
		return nil
	}
	t, err := j.trained(ctx)
	if err != nil {
		return err
	}
	ref := quantize.Side{Model: j.Model, Trained: j.Trainable, Weights: t.weights}
	text, err := j.text(ctx, verifyTokens)
	if err != nil {
		return err
	}
	var cands []quantize.Side
	for _, x := range list {
		s, err := openSide(x.Path, "", model.Options{Exact: j.Model.Exact})
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		defer s.base.Close()
		if err := j.verifyFile(ctx, x, ref, s, text); err != nil {
			return fmt.Errorf("verify: %s: %w", x.Path, err)
		}
		cands = append(cands, s.Side)
	}
	s := j.streams["test"]
	split := "test"
	if s == nil {
		s, split = j.streams["valid"], "valid"
	}
	if s == nil {
		return nil
	}
	show.line("comparing the files with the trained model on held-out data")
	if err := s.Seek(j.begin[split]); err != nil {
		return err
	}
	done, total := 0, 0
	for _, x := range s.Sources() {
		total += int(max(x.Rows, 0))
	}
	next := func() (*quantize.Documents, error) {
		p, err := s.Next(ctx)
		if err != nil {
			return nil, err
		}
		done += p.Docs
		show.count("compared, rows:", done, total)
		return &quantize.Documents{IDs: p.IDs, Pos: p.Pos, Start: p.Start, Labels: p.Labels}, nil
	}
	answers, divs, err := quantize.CompareAnswers(ctx, ref, cands, max(j.Seq, j.Config.MicroTokens), next, j.Pool)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	for i, x := range list {
		x.Checked.Predictions, x.Checked.Answers, x.Checked.Trained = divs[i], &answers[i+1], &answers[0]
	}
	return nil
}

// verifyFile compares what needs no run of the model; text is what both tokenizers read.
func (j *job) verifyFile(ctx context.Context, x *exported, ref quantize.Side, s *side, text string) error {
	x.Checked = &checked{SameTokens: true, Template: compareTemplates(templateOf(j.base), templateOf(s.base))}
	tensors, err := quantize.CompareTensors(ctx, ref, s.Side, j.Pool)
	if err != nil {
		return err
	}
	for _, e := range tensors {
		if e.RMSE > x.Checked.WorstRMSE {
			x.Checked.WorstTensor, x.Checked.WorstRMSE = e.Name, e.RMSE
		}
	}
	for _, name := range s.base.Weights.Names() {
		i, err := s.base.Weights.Info(name)
		if err != nil {
			return err
		}
		x.values += int64(i.Elems())
	}
	if j.tokenizer == nil {
		return nil
	}
	tok, err := s.base.Tokenizer()
	if err != nil {
		return err
	}
	p := tokenizer.Options{AddSpecial: true}
	a, err := j.tokenizer.Encode(text, p)
	if err != nil {
		return err
	}
	b, err := tok.Encode(text, p)
	x.Checked.SameTokens = slices.Equal(a.IDs, b.IDs)
	return err
}

// text is that of the first training data, special tokens and all; "" without a tokenizer.
func (j *job) text(ctx context.Context, tokens int) (string, error) {
	ids, err := j.trainingIDs(ctx, tokens)
	if err != nil || j.tokenizer == nil {
		return "", err
	}
	return j.tokenizer.Decode(ids, false), nil
}

// table compares the files; the first row of values is the trained model.
func (l exports) table() [][]string {
	if len(l) == 0 {
		return nil
	}
	rows := [][]string{{"exported", "size", "bits per value"}}
	if l[0].Checked == nil {
		for _, x := range l {
			rows = append(rows, []string{x.label(), bytesText(x.Bytes), ""})
		}
		return rows
	}
	rows[0] = append(rows[0], "tokens, template", "worst tensor error")
	if l[0].Checked.Answers != nil {
		rows[0] = append(rows[0], "mean KL", "same top token", "whole answers", "loss")
		t := l[0].Checked.Trained
		rows = append(rows, []string{"trained model", "", "", "", "", "", "", fmt.Sprintf("%.1f %%", 100*t.Exact), fmt.Sprintf("%.4f", t.Loss)})
	}
	for _, x := range l {
		c := x.Checked
		same := "same"
		if !c.SameTokens || c.Template == templateOther {
			same = "DIFFERENT"
		}
		row := []string{x.label(), bytesText(x.Bytes), fmt.Sprintf("%.2f", 8*float64(x.Bytes)/float64(max(x.values, 1))), same, fmt.Sprintf("%.2g", c.WorstRMSE)}
		if p := c.Predictions; p != nil {
			row = append(row, fmt.Sprintf("%.3g", p.Mean), fmt.Sprintf("%.1f %%", 100*p.Top1), fmt.Sprintf("%.1f %%", 100*c.Answers.Exact), fmt.Sprintf("%.4f", c.Answers.Loss))
		}
		rows = append(rows, row)
	}
	return rows
}

// label is what an artifact is called in tables.
func (x *exported) label() string {
	if x.Form == "gguf" {
		return "GGUF " + x.Type
	}
	return strings.TrimSpace(x.Form + " " + strings.ToLower(x.Type) + " " + x.Method)
}

// facts lists where the files are.
func (l exports) facts() (facts []train.Fact) {
	for _, x := range l {
		facts = append(facts, train.Fact{Name: x.label(), Value: x.Path})
	}
	return facts
}

// gate is the error of files that are worse than the recipe allows.
func (l exports) gate() error {
	var missed []string
	for _, x := range l {
		if x.maxKL > 0 && x.Checked != nil && x.Checked.Predictions != nil && x.Checked.Predictions.Mean > x.maxKL {
			missed = append(missed, fmt.Sprintf("%s: expected a mean KL of at most %g, found %.6g", x.Path, x.maxKL, x.Checked.Predictions.Mean))
		}
	}
	if len(missed) > 0 {
		return gateError{errors.New(strings.Join(missed, "; "))}
	}
	return nil
}
