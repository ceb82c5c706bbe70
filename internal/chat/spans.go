package chat

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"tune/internal/hint"
	"tune/internal/pyre"
)

// spans finds what of a rendered text the assistant's messages produce. In order of preference:
//
//  1. The template says it: {% generation %} blocks.
//  2. Provenance: what the template's loop over the messages writes while it is at an assistant message is the turn of that
//     message. The generation prompt in front of it is not the model's work; where values of the message begin, the
//     prompt has ended at the latest.
//  3. Prefixes: the text of the messages up to and with an assistant message, less the text before it with generation prompt.
func (r *rendering) spans(full str) ([]Span, error) {
	var want []int // assistant messages
	for i, role := range r.roles {
		if role == assistant {
			want = append(want, i)
		}
	}
	if len(want) == 0 {
		return nil, nil
	}
	if r.t.generation {
		return generationSpans(full, want)
	}
	plain := full
	if r.o.AddGenerationPrompt {
		var err error
		if plain, err = r.run(len(r.messages), false); err != nil {
			return nil, err
		}
		if !strings.HasPrefix(full.s, plain.s) {
			return nil, spanError(want[len(want)-1])
		}
	}
	if spans := r.turnSpans(plain, want); spans != nil {
		return spans, nil
	}
	return r.prefixSpans(plain.s, want)
}

func spanError(message int) error {
	return hint.Errorf("a template with {% generation %} around what the assistant says can be trained with",
		"message %d: cannot tell which part of the text the assistant produces", message)
}

func generationSpans(full str, want []int) ([]Span, error) {
	var spans []Span
	for _, m := range full.m {
		if m.kind == markGeneration {
			spans = append(spans, Span{m.start, m.end, int(m.msg)})
		}
	}
	slices.SortFunc(spans, func(a, b Span) int { return cmp.Or(a.Start-b.Start, a.End-b.End) })
	for i := range spans {
		if spans[i].Message < 0 { // outside of a loop over messages: in order
			if len(spans) != len(want) {
				return nil, fmt.Errorf("expected %d generation blocks, one for each assistant message, found %d", len(want), len(spans))
			}
			spans[i].Message = want[i]
		}
	}
	for _, i := range want {
		if !slices.ContainsFunc(spans, func(s Span) bool { return s.Message == i }) {
			return nil, fmt.Errorf("message %d: the template has generation blocks, but none for this message", i)
		}
	}
	return spans, nil
}

// turnSpans is provenance; nil when the turn of a message is not one piece of the text.
func (r *rendering) turnSpans(full str, want []int) []Span {
	var spans []Span
	prompt := r.generationPrompt(full, want[0])
	for _, i := range want {
		turn := mark{start: -1}
		for _, m := range full.m {
			if m.kind == markTurn && int(m.msg) == i {
				if turn.start >= 0 {
					return nil
				}
				turn = m
			}
		}
		if turn.start < 0 {
			return nil
		}
		first, last, outside := turn.end, turn.start, false
		for _, m := range full.m {
			if m.kind != markContent || int(m.msg) != i {
				continue
			}
			if m.start >= turn.start && m.end <= turn.end {
				first, last = min(first, m.start), max(last, m.end)
			} else {
				outside = true
			}
		}
		if outside && last == turn.start {
			return nil
		}
		start := r.answerStart(full.s, prompt, turn, first, i)
		end := turn.start + len(strings.TrimRightFunc(full.s[turn.start:turn.end], pyre.IsSpace))
		if end = max(end, last); end > start {
			spans = append(spans, Span{start, end, i})
		}
	}
	if len(spans) != len(want) {
		return nil
	}
	slices.SortFunc(spans, func(a, b Span) int { return a.Start - b.Start })
	for i := 1; i < len(spans); i++ {
		if spans[i].Start < spans[i-1].End {
			return nil
		}
	}
	return spans
}

// answerStart returns where in a turn the model begins to write: behind what the generation prompt says already. first is where
// the first value of message i stands.
func (r *rendering) answerStart(full, prompt string, turn mark, first, i int) int {
	if strings.HasPrefix(full[turn.start:first], prompt) {
		return turn.start + len(prompt)
	}
	if i > 0 { // another prompt than before the first answer, for example after a tool's result
		if before, err := r.run(i, true); err == nil && len(before.s) >= turn.start && len(before.s) <= first && strings.HasPrefix(full, before.s) {
			return len(before.s)
		}
	}
	n := 0
	for n < len(prompt) && turn.start+n < first && full[turn.start+n] == prompt[n] {
		n++
	}
	if turn.start+n < first { // they part inside of something: keep the whole lines and <tags> in common
		n = strings.LastIndexAny(prompt[:n], "\n>]") + 1
	}
	return turn.start + n
}

// generationPrompt returns what the template puts in front of an answer, judged by the messages before the first assistant
// message (or by all, if that is the first one): the end of that text with generation prompt. "" when it has none.
func (r *rendering) generationPrompt(full str, first int) string {
	before := full
	var err error
	if first == 0 {
		first = len(r.messages)
	} else if before, err = r.run(first, false); err != nil {
		return ""
	}
	with, err := r.run(first, true)
	if err != nil {
		return ""
	}
	if prompt, ok := strings.CutPrefix(with.s, before.s); ok {
		return prompt
	}
	end := 0 // the text ends differently without a prompt: what comes after the last turn
	for _, m := range with.m {
		if m.kind == markTurn {
			end = max(end, m.end)
		}
	}
	return with.s[end:]
}

func (r *rendering) prefixSpans(full string, want []int) ([]Span, error) {
	var spans []Span
	for _, i := range want {
		if i == 0 { // nothing can be rendered without it
			return nil, spanError(i)
		}
		before, err := r.run(i, true)
		if err != nil || !strings.HasPrefix(full, before.s) {
			return nil, spanError(i)
		}
		with, err := r.run(i+1, false)
		if err != nil {
			return nil, spanError(i)
		}
		text := strings.TrimRightFunc(with.s, pyre.IsSpace)
		if len(text) <= len(before.s) || !strings.HasPrefix(full, text) {
			return nil, spanError(i)
		}
		spans = append(spans, Span{len(before.s), len(text), i})
	}
	return spans, nil
}
