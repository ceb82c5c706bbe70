package cli

import (
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"golang.org/x/term"

	"tune/train"
)

// progress prints to a terminal one line that changes, elsewhere a line now and then.
type progress struct {
	w        io.Writer
	terminal bool
	width    int
	open     bool // an unfinished line is on the screen

	counted string // what count tells of, since when, and how many quarters of it are done
	began   time.Time
	quarter int
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.terminal = true
		p.width, _, _ = term.GetSize(int(f.Fd()))
	}
	return p
}

func (p *progress) status(s train.Status) {
	text := s.Line()
	if p.terminal {
		if p.width > 1 && len(text) >= p.width {
			text = text[:p.width-1]
		}
		fmt.Fprintf(p.w, "\r\x1b[K%s", text)
		p.open = true
		if s.Eval != nil {
			p.end()
		}
	} else if s.Due || s.Eval != nil || math.IsNaN(s.Loss) {
		fmt.Fprintln(p.w, text)
	}
	if s.Note != "" {
		p.line(s.Note)
	}
}

// text shows where something is: on a terminal in the line that changes.
func (p *progress) text(s string) {
	if !p.terminal {
		fmt.Fprintln(p.w, s)
		return
	}
	if p.width > 1 && len(s) >= p.width {
		s = s[:p.width-1]
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s", s)
	p.open = true
}

// count shows that done of total steps of something are behind, and about how long the others take. A total of 0 is not known.
func (p *progress) count(what string, done, total int) {
	if p.counted != what || done <= 1 {
		p.counted, p.began, p.quarter = what, time.Now(), 0
	}
	text := fmt.Sprintf("%s %d", what, done)
	if total > 0 {
		text += fmt.Sprintf(" of %d", total)
	}
	if 1 < done && done < total {
		left := time.Since(p.began) / time.Duration(done-1) * time.Duration(total-done) // the first one began the clock
		text += fmt.Sprintf(", %s left", left.Round(time.Second))
	}
	p.quarters(text, int64(done), int64(total))
}

// quarters shows a text that tells of done of total: on a terminal always, elsewhere when a quarter more is done.
func (p *progress) quarters(text string, done, total int64) {
	quarter := int(4 * done / max(total, 1))
	if p.terminal || total > 0 && quarter > p.quarter {
		p.text(text)
	}
	p.quarter = quarter
}

func (p *progress) chunks(done, total int) { p.count("chunk", done, total) }

func (p *progress) layers(done, total int) { p.count("layer", done, total) }

// line prints a line of its own.
func (p *progress) line(text string) {
	p.end()
	fmt.Fprintln(p.w, text)
}

// end finishes the line under way.
func (p *progress) end() {
	if p.open {
		fmt.Fprintln(p.w)
		p.open = false
	}
}
