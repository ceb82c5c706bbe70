package textscore

import (
	"regexp"
	"slices"
	"strings"
)

var notAlphanumeric = regexp.MustCompile(`[^a-z0-9]+`)

// rougeWords are the sequences of ASCII letters and digits, in lower case, unstemmed.
func rougeWords(s string) []string {
	return strings.Fields(notAlphanumeric.ReplaceAllString(strings.ToLower(s), " "))
}

// Rouge1 is the F-measure of shared words, 0 to 1 (Lin 2004).
func Rouge1(reference, prediction string) float64 { return rougeN(reference, prediction, 1) }

// Rouge2 is the F-measure of shared pairs of words.
func Rouge2(reference, prediction string) float64 { return rougeN(reference, prediction, 2) }

func rougeN(reference, prediction string, n int) float64 {
	ref, pred := ngrams(rougeWords(reference), n), ngrams(rougeWords(prediction), n)
	both, inRef, inPred := 0, 0, 0
	for g, c := range ref {
		both += min(c, pred[g])
		inRef += c
	}
	for _, c := range pred {
		inPred += c
	}
	return fMeasure(both, inPred, inRef)
}

func fMeasure(both, inPred, inRef int) float64 {
	precision, recall := float64(both)/float64(max(inPred, 1)), float64(both)/float64(max(inRef, 1))
	if precision+recall == 0 {
		return 0
	}
	return 2 * precision * recall / (precision + recall)
}

// RougeL is the F-measure of the longest common subsequence of words.
func RougeL(reference, prediction string) float64 {
	ref, pred := rougeWords(reference), rougeWords(prediction)
	return fMeasure(len(common(ref, pred)), len(pred), len(ref))
}

// RougeLSum is RougeL of a text whose sentences stand on lines of their own: for every sentence of the reference the
// words that any sentence of the prediction shares in order.
func RougeLSum(reference, prediction string) float64 {
	ref, pred := rougeLines(reference), rougeLines(prediction)
	left, inRef, inPred := [2]map[string]int{{}, {}}, 0, 0
	for side, lines := range [2][][]string{ref, pred} {
		for _, l := range lines {
			for _, w := range l {
				left[side][w]++
			}
			if side == 0 {
				inRef += len(l)
			} else {
				inPred += len(l)
			}
		}
	}
	if inRef == 0 || inPred == 0 {
		return 0
	}
	hits := 0
	for _, r := range ref {
		union := map[int]bool{}
		for _, p := range pred {
			for _, i := range common(r, p) {
				union[i] = true
			}
		}
		for i, w := range r {
			if union[i] && left[0][w] > 0 && left[1][w] > 0 {
				hits++
				left[0][w]--
				left[1][w]--
			}
		}
	}
	return fMeasure(hits, inPred, inRef)
}

func rougeLines(s string) (out [][]string) {
	for line := range strings.SplitSeq(s, "\n") {
		if line != "" {
			out = append(out, rougeWords(line))
		}
	}
	return out
}

// common are the places in a of a longest common subsequence of a and b.
func common(a, b []string) []int {
	t := make([][]int, len(a)+1)
	t[0] = make([]int, len(b)+1)
	for i := range a {
		t[i+1] = make([]int, len(b)+1)
		for j := range b {
			if a[i] == b[j] {
				t[i+1][j+1] = t[i][j] + 1
			} else {
				t[i+1][j+1] = max(t[i][j+1], t[i+1][j])
			}
		}
	}
	var out []int
	for i, j := len(a), len(b); i > 0 && j > 0; {
		switch {
		case a[i-1] == b[j-1]:
			i--
			j--
			out = append(out, i)
		case t[i][j-1] > t[i-1][j]:
			j--
		default:
			i--
		}
	}
	slices.Reverse(out)
	return out
}
