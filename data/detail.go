package data

import (
	"cmp"
	"slices"

	"tune/internal/chat"
)

// Detail says more about a row than training needs.
type Detail struct {
	Roles []RoleRun // who the tokens are of, in order, without gaps
	// Ends are the last tokens of the supervised turns of a conversation: what a model learns to end its answers with.
	Ends []int
	// Unlike counts supervised turns before which training shows another text than generation would: the messages before them,
	// rendered alone with generation prompt, are not what stands before them in the whole.
	Unlike int
	// Lost says what the template leaves out of the row: "tools" or "tool calls"; "" is nothing.
	Lost string
	Text string // the rendered conversation; "" for other rows
}

// RoleRun is a run of tokens of one role: that of a message, or "template" for what the template writes outside of the turns,
// or text, prompt, completion, tokens.
type RoleRun struct {
	Role     string
	From, To int
}

// details describes a rendered conversation.
func (e encoder) details(c chat.Conversation, r chat.Rendered, offsets [][2]int32, list []stretch, ends []int) *Detail {
	d := &Detail{Ends: ends, Text: r.Text}
	turns := slices.Clone(r.Turns)
	slices.SortFunc(turns, func(a, b chat.Turn) int { return cmp.Compare(a.Start, b.Start) })
	k := 0
	for i, o := range offsets {
		for k < len(turns) && turns[k].End <= int(o[0]) {
			k++
		}
		role := "template"
		if k < len(turns) && int(o[0]) >= turns[k].Start {
			role = c.Messages[turns[k].Message].Role
		}
		d.add(role, i)
	}
	for _, s := range r.Spans {
		if !slices.ContainsFunc(list, func(x stretch) bool { return x.train && x.start <= s.Start && x.end >= s.End }) {
			continue
		}
		if s.Message == 0 {
			continue // nothing comes before it
		}
		if prompt, err := e.template.Prompt(c, e.options, s.Message); err == nil && prompt != r.Text[:s.Start] {
			d.Unlike++
		}
	}
	d.Lost = e.lost(c, r)
	return d
}

// lost finds tools and tool calls without which the text is the same.
func (e encoder) lost(c chat.Conversation, r chat.Rendered) string {
	calls := map[int]bool{}
	for _, s := range r.Spans {
		if len(c.Messages[s.Message].ToolCalls) > 0 {
			calls[s.Message] = true
		}
	}
	if len(calls) > 0 {
		parts, err := e.template.Parts(c, e.options, r)
		for _, p := range parts {
			if p.Kind == chat.PartToolCalls {
				delete(calls, p.Message)
			}
		}
		if err == nil && len(calls) > 0 {
			return "tool calls"
		}
	}
	if len(c.Tools) > 0 {
		o := e.options
		o.Spans, c.Tools = false, nil
		if other, err := e.template.Render(c, o); err == nil && other.Text == r.Text {
			return "tools"
		}
	}
	return ""
}

// add says that token i is of role.
func (d *Detail) add(role string, i int) {
	if n := len(d.Roles); n > 0 && d.Roles[n-1].Role == role {
		d.Roles[n-1].To = i + 1
		return
	}
	d.Roles = append(d.Roles, RoleRun{role, i, i + 1})
}

// textDetail describes running text, or a prompt of so many tokens and its completion.
func textDetail(n, prompt int, completion bool) *Detail {
	if !completion {
		return &Detail{Roles: []RoleRun{{"text", 0, n}}}
	}
	return &Detail{Roles: []RoleRun{{"prompt", 0, prompt}, {"completion", prompt, n}}, Ends: []int{n - 1}}
}
