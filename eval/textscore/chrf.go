package textscore

import (
	"strings"
	"unicode/utf8"
)

const (
	charOrder = 6
	beta      = 2 // how much more recall counts than precision
)

// ChrF is the corpus score of Popović (2015), 0 to 100: characters without white space, orders 1 to 6, beta 2.
func ChrF(references [][]string, predictions []string) float64 {
	return chrf(references, predictions, 0)
}

// ChrFPlusPlus is ChrF with orders 1 and 2 of words as well (Popović 2017).
func ChrFPlusPlus(references [][]string, predictions []string) float64 {
	return chrf(references, predictions, 2)
}

// overlap counts n-grams of one order: in the prediction, in the reference, in both.
type overlap struct{ pred, ref, both float64 }

func chrf(references [][]string, predictions []string, wordOrder int) float64 {
	total := make([]overlap, charOrder+wordOrder)
	for i, p := range predictions {
		pred := chrfGrams(p, wordOrder)
		best, bestScore := []overlap(nil), -1.0
		for _, r := range references[i] {
			o := overlaps(pred, chrfGrams(r, wordOrder))
			if s := chrfScore(o); s > bestScore {
				best, bestScore = o, s
			}
		}
		for n, o := range best {
			total[n].pred += o.pred
			total[n].ref += o.ref
			total[n].both += o.both
		}
	}
	return chrfScore(total)
}

func chrfGrams(s string, wordOrder int) (out []map[string]int) {
	text := strings.Join(strings.Fields(s), "")
	at := []int{} // where the characters begin
	for i := range text {
		at = append(at, i)
	}
	at = append(at, len(text))
	for n := 1; n <= charOrder; n++ {
		grams := map[string]int{}
		for i := 0; i+n < len(at); i++ {
			grams[text[at[i]:at[i+n]]]++
		}
		out = append(out, grams)
	}
	if wordOrder > 0 {
		words := chrfWords(s)
		for n := 1; n <= wordOrder; n++ {
			out = append(out, ngrams(words, n))
		}
	}
	return out
}

const punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

// chrfWords takes punctuation off one end of the words.
func chrfWords(s string) (out []string) {
	for _, w := range strings.Fields(s) {
		switch last := len(w) - 1; {
		case utf8.RuneCountInString(w) == 1:
			out = append(out, w)
		case strings.IndexByte(punctuation, w[last]) >= 0:
			out = append(out, w[:last], w[last:])
		case strings.IndexByte(punctuation, w[0]) >= 0:
			out = append(out, w[:1], w[1:])
		default:
			out = append(out, w)
		}
	}
	return out
}

func overlaps(pred, ref []map[string]int) []overlap {
	out := make([]overlap, len(pred))
	for n := range out {
		for g, c := range pred[n] {
			out[n].pred += float64(c)
			out[n].both += float64(min(c, ref[n][g]))
		}
		for _, c := range ref[n] {
			out[n].ref += float64(c)
		}
		if len(ref[n]) == 0 {
			out[n].pred = 0
		}
	}
	return out
}

// chrfScore is the F-measure of mean precision and mean recall over the orders that both sides have.
func chrfScore(list []overlap) float64 {
	var precision, recall, orders float64
	for _, o := range list {
		if o.pred > 0 && o.ref > 0 {
			precision += o.both / o.pred
			recall += o.both / o.ref
			orders++
		}
	}
	if precision+recall == 0 {
		return 0
	}
	precision, recall = precision/orders, recall/orders
	return 100 * (1 + beta*beta) * precision * recall / (beta*beta*precision + recall)
}
