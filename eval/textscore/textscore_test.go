package textscore

import (
	"bufio"
	"encoding/json"
	"math"
	"os"
	"testing"
)

// tolerance: the same sums in another order.
const tolerance = 1e-9

func TestScores(t *testing.T) {
	f, err := os.Open("testdata/cases.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	n := 0
	for ; lines.Scan(); n++ {
		var texts struct {
			References  [][]string
			Predictions []string
		}
		var want map[string]any
		if err := json.Unmarshal(lines.Bytes(), &texts); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(lines.Bytes(), &want); err != nil {
			t.Fatal(err)
		}
		refs, preds := texts.References, texts.Predictions
		got := map[string]float64{
			"bleu": BLEU(refs, preds), "chrf": ChrF(refs, preds), "chrf++": ChrFPlusPlus(refs, preds), "ter": TER(refs, preds),
			"intl": IntlBLEU(refs[0][0], preds[0]), "rouge1": Rouge1(refs[0][0], preds[0]), "rouge2": Rouge2(refs[0][0], preds[0]),
			"rougeL": RougeL(refs[0][0], preds[0]), "rougeLsum": RougeLSum(refs[0][0], preds[0]),
		}
		for name, g := range got {
			if w := want[name].(float64); math.Abs(g-w) > tolerance {
				t.Errorf("case %d: %s = %v, want %v", n, name, g, w)
			}
		}
	}
	if n != 60 {
		t.Errorf("%d cases, want 60", n)
	}
}
