// Package textscore compares texts that a model wrote with texts that are right: BLEU, chrF and TER as sacreBLEU 2.6
// computes them, ROUGE as the rouge-score package does.
package textscore

import (
	"math"
	"regexp"
	"strings"
)

// BLEU is the corpus score of Papineni et al. (2002), 0 to 100, with sacreBLEU's defaults: tokens of mteval-v13a, orders 1
// to 4, exponential smoothing. references[i] are the right texts for predictions[i].
func BLEU(references [][]string, predictions []string) float64 {
	return bleu(references, predictions, tokens13a)
}

// IntlBLEU is BLEU of one text with the tokens of mteval-v14's international mode.
func IntlBLEU(reference, prediction string) float64 {
	return bleu([][]string{{reference}}, []string{prediction}, tokensIntl)
}

const bleuOrder = 4

func bleu(references [][]string, predictions []string, tokens func(string) []string) float64 {
	var correct, total [bleuOrder]float64
	var length, refLength int
	for i, p := range predictions {
		words := tokens(p)
		length += len(words)
		var most [bleuOrder]map[string]int // of an n-gram in any one reference
		nearest, diff := 0, -1
		for _, ref := range references[i] {
			r := tokens(ref)
			d := len(r) - len(words)
			if d = max(d, -d); diff < 0 || d < diff || d == diff && len(r) < nearest {
				nearest, diff = len(r), d
			}
			for n := range most {
				if most[n] == nil {
					most[n] = map[string]int{}
				}
				for g, c := range ngrams(r, n+1) {
					most[n][g] = max(most[n][g], c)
				}
			}
		}
		refLength += nearest
		for n := range most {
			for g, c := range ngrams(words, n+1) {
				correct[n] += float64(min(c, most[n][g]))
				total[n] += float64(c)
			}
		}
	}
	return bleuScore(correct, total, length, refLength)
}

func bleuScore(correct, total [bleuOrder]float64, length, refLength int) float64 {
	if correct == [bleuOrder]float64{} {
		return 0
	}
	penalty := 1.0
	if length < refLength {
		penalty = math.Exp(1 - float64(refLength)/float64(length))
	}
	const logZero = -9999999999 // what the reference takes for log 0
	sum, smooth := 0.0, 1.0
	for n := range correct {
		switch {
		case total[n] == 0:
			sum += logZero
		case correct[n] == 0:
			smooth *= 2
			sum += math.Log(100 / (smooth * total[n]))
		default:
			sum += math.Log(100 * correct[n] / total[n])
		}
	}
	return penalty * math.Exp(sum/bleuOrder)
}

// ngrams counts the sequences of n words.
func ngrams(words []string, n int) map[string]int {
	out := map[string]int{}
	for i := 0; i+n <= len(words); i++ {
		out[strings.Join(words[i:i+n], " ")]++
	}
	return out
}

// A rule is a step of a tokenizer.
type rule struct {
	re *regexp.Regexp
	to string
}

var rules13a = []rule{
	{regexp.MustCompile("([{-~\\[-` -&(-+:-@/])"), " $1 "},
	{regexp.MustCompile(`([^0-9])([.,])`), "$1 $2 "},
	{regexp.MustCompile(`([.,])([^0-9])`), " $1 $2"},
	{regexp.MustCompile(`([0-9])(-)`), "$1 $2 "},
}

var entities = strings.NewReplacer("&quot;", `"`, "&amp;", "&", "&lt;", "<", "&gt;", ">")

func tokens13a(s string) []string {
	s = strings.TrimRight(s, " \t\n\r\v\f")
	s = strings.ReplaceAll(s, "<skipped>", "")
	s = strings.ReplaceAll(strings.ReplaceAll(s, "-\n", ""), "\n", " ")
	return apply(rules13a, " "+entities.Replace(s)+" ")
}

var rulesIntl = []rule{
	{regexp.MustCompile(`(\PN)(\pP)`), "$1 $2 "},
	{regexp.MustCompile(`(\pP)(\PN)`), " $1 $2"},
	{regexp.MustCompile(`(\pS)`), " $1 "},
}

func tokensIntl(s string) []string { return apply(rulesIntl, s) }

func apply(rules []rule, s string) []string {
	for _, r := range rules {
		s = r.re.ReplaceAllString(s, r.to)
	}
	return strings.Fields(s)
}
