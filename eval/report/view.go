package report

import (
	"fmt"
	"strconv"
	"strings"
)

// prompt is the context of a sample's first request.
func prompt(s *Sample) string {
	if len(s.Arguments) == 0 || len(s.Arguments[0]) == 0 {
		return ""
	}
	text, _ := s.Arguments[0][0].(string)
	return text
}

// choice is one continuation with its log-probability.
type choice struct {
	Text    string
	LogProb float64
	Best    bool // the highest
	Gold    bool
}

// choices are the continuations of a sample in which log-likelihoods were asked for; nil for others.
func choices(s *Sample) []choice {
	list, ok := s.Filtered.([]any)
	if !ok || len(list) != len(s.Arguments) {
		return nil
	}
	var out []choice
	best := 0
	for i, r := range list {
		pair, ok := r.([]any)
		if !ok || len(pair) != 2 || len(s.Arguments[i]) < 2 {
			return nil
		}
		lp, ok := logProb(pair[0])
		text, isText := s.Arguments[i][1].(string)
		if !ok || !isText {
			return nil
		}
		if first, _ := s.Arguments[0][1].(string); i > 0 && text == first { // the contexts differ instead
			text, _ = s.Arguments[i][0].(string)
		}
		out = append(out, choice{Text: text, LogProb: lp, Gold: s.Target == strconv.Itoa(i)})
		if lp > out[best].LogProb {
			best = i
		}
	}
	if len(out) > 0 {
		out[best].Best = true
	}
	return out
}

func logProb(v any) (float64, bool) {
	switch x := v.(type) {
	case float64:
		return x, true
	case string:
		f, err := strconv.ParseFloat(x, 64)
		return f, err == nil
	}
	return 0, false
}

// answer is what the model said: its likeliest choice, or its filtered text.
func answer(s *Sample) string {
	list := choices(s)
	for i, c := range list {
		if c.Best {
			if len(list) == 1 {
				return fmt.Sprintf("log-probability %.3f", c.LogProb)
			}
			return fmt.Sprintf("%d: %s", i, strings.TrimSpace(c.Text))
		}
	}
	return flat(s.Filtered)
}

// response is what the model wrote before any filter.
func response(s *Sample) string { return flat(s.Resps) }

// flat is the text inside nested lists of one.
func flat(v any) string {
	switch x := v.(type) {
	case []any:
		var parts []string
		for _, y := range x {
			parts = append(parts, flat(y))
		}
		return strings.Join(parts, " | ")
	case nil:
		return ""
	}
	return fmt.Sprint(v)
}
