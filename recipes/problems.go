package recipes

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing wrong with a recipe.
type Problem struct {
	File         string // the file, or "override" for a key=value argument
	Line, Column int    // from 1; 0 for an override
	Override     string // the argument
	Path         string // dotted key
	Message      string // expected ..., found ...
}

// Problems is the error of a recipe: everything that is wrong with it.
type Problems struct {
	List   []Problem
	source map[string][]string // lines of the files, for excerpts
}

func (ps *Problems) Error() string {
	var b strings.Builder
	for i, p := range ps.List {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.String())
		b.WriteString(excerpt(ps.source[p.File], p.Line, p.Column))
	}
	return b.String()
}

func (p Problem) String() string {
	at := fmt.Sprintf("%s:%d:%d: ", p.File, p.Line, p.Column)
	if p.Override != "" {
		at = "override " + p.Override + ": "
	}
	if p.Path == "" {
		return at + p.Message
	}
	return at + p.Path + ": " + p.Message
}

// excerpt draws the line with its neighbours and a mark below the column.
func excerpt(lines []string, line, column int) string {
	if line < 1 || line > len(lines) {
		return ""
	}
	var b strings.Builder
	for n := max(1, line-1); n <= min(len(lines), line+1); n++ {
		fmt.Fprintf(&b, "\n  %4d | %s", n, lines[n-1])
		if n == line {
			fmt.Fprintf(&b, "\n       | %s^", strings.Repeat(" ", max(0, column-1)))
		}
	}
	return b.String()
}

// sorted brings problems into the order of the file, overrides last, and drops a second one of the same key.
func sorted(ps []Problem) []Problem {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		if (a.Override != "") != (b.Override != "") {
			return strings.Compare(a.Override, b.Override)
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	seen := map[string]bool{}
	return slices.DeleteFunc(ps, func(p Problem) bool {
		key := fmt.Sprint(p.Path, p.Line, p.Column)
		again := seen[key]
		seen[key] = true
		return again
	})
}
