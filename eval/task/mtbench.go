package task

import (
	"math"
	"strconv"

	"tune/internal/pyre"
)

// mtbenchQuestions are the questions of MT-Bench; those that have one get the reference answers of the file beside them.
func mtbenchQuestions(_ *Config, s Sources) ([]Doc, error) {
	file, err := s.find("eval/mt_bench/question.jsonl")
	if err != nil {
		return nil, err
	}
	questions, err := s.rows(file)
	if err != nil {
		return nil, err
	}
	references, err := s.find("eval/mt_bench/reference_answer_gpt-4.jsonl")
	if err != nil {
		return nil, err
	}
	rows, err := s.rows(references)
	if err != nil {
		return nil, err
	}
	return eachDoc(func(d Doc) error {
		id, _ := d.Get("question_id")
		d.Set("reference", nil)
		for _, r := range rows {
			if of, _ := r.Get("question_id"); of != id {
				continue
			}
			choices, _ := r.Get("choices")
			if list, ok := choices.([]any); ok && len(list) > 0 {
				if first, ok := list[0].(Doc); ok {
					turns, _ := first.Get("turns")
					d.Set("reference", turns)
				}
			}
		}
		return nil
	})(questions)
}

// ratings are how a judge writes a rating: the first form that a judgement has counts, as in FastChat, so that [1] beside [[8]] is
// no rating.
var ratings = []*pyre.Regexp{pyre.MustCompile(`\[\[(\d+\.?\d*)\]\]`), pyre.MustCompile(`\[(\d+\.?\d*)\]`)}

// ratingIn is the rating of a judgement, NaN when it has none from 1 to 10.
func ratingIn(judgement string) (float64, error) {
	for _, form := range ratings {
		found, err := form.FindAll(judgement)
		if err != nil {
			return 0, err
		}
		if len(found) == 0 {
			continue
		}
		if v, err := strconv.ParseFloat(found[0][0], 64); err == nil && v >= 1 && v <= 10 {
			return v, nil
		}
		break
	}
	return math.NaN(), nil
}

// mtbenchRatings read the judge's ratings, which stand behind the answers, one for each turn. A judgement without a
// rating counts as unrated and in no mean.
func mtbenchRatings(_ Doc, r results) ([]Named, error) {
	turns := len(r.answers) / 2
	sum, unrated := 0.0, 0.0
	var out []Named
	for k := range turns {
		value, err := ratingIn(r.answers[turns+k].Text)
		if err != nil {
			return nil, err
		}
		unrated += float64(b2i(math.IsNaN(value)))
		sum += value
		out = append(out, Named{"rating_turn_" + strconv.Itoa(k+1), value})
	}
	return append(out, Named{"rating", sum / float64(turns)}, Named{"unrated", unrated / float64(turns)}), nil
}
