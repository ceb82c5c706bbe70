package data

import "fmt"

// Example is one row as tokens.
type Example struct {
	IDs    []int32 // (T)
	Labels []int32 // (T): the token to predict at position i, IDs[i] itself, or -100 where nothing is supervised
	Key    string  // file:row, for messages
	Role   Role
	Detail *Detail // only from Scan
	// Unsupervised says that the row has no token to learn and is to be dropped; then the rest is empty.
	Unsupervised bool
	// Rejected is the worse answer to the same prompt, beside a Chosen one.
	Rejected *Example
}

// size is the number of tokens of an example with its pair.
func (e *Example) size() int {
	if e.Rejected == nil {
		return len(e.IDs)
	}
	return len(e.IDs) + len(e.Rejected.IDs)
}

// Supervised counts the labels that a model is trained on: those that a token before them can predict.
func (e *Example) Supervised() int {
	n := 0
	for i := 1; i < len(e.Labels); i++ {
		if e.Labels[i] >= 0 {
			n++
		}
	}
	return n
}

// Pack is what a model sees at once: one or more documents one after another, of any total length up to Config.Seq.
type Pack struct {
	IDs    []int32 // (T)
	Pos    []int32 // (T): position within the own document
	Start  []int32 // (T): index in the pack of the first token that this token may see: the begin of its document
	Labels []int32 // (T): what token i must predict, the token after it, or -1 for nothing
	Doc    []int32 // (T): number of the document
	// Keys name the rows of the documents.
	Keys       []string // (Docs)
	Roles      []Role   // (Docs): a Chosen document is followed by its Rejected one
	Docs       int
	Supervised int // labels that are not -1
}

// Stats counts what a stream has read since it was opened or sought: rows, and what became of them.
type Stats struct {
	Rows       int `json:"rows"`       // read, after where, filter, dedup and limit
	Filtered   int `json:"filtered"`   // rows that where or filter did not keep
	Duplicates int `json:"duplicates"` // rows that dedup did not keep
	Examples   int `json:"examples"`   // documents in packs; more than rows when long ones were split
	Tokens     int `json:"tokens"`     // in packs
	Supervised int `json:"supervised"` // labels in packs
	Packs      int `json:"packs"`
	Waiting    int `json:"waiting,omitempty"` // packs of the rows read that were not taken yet
	Truncated  int `json:"truncated"`         // rows that lost tokens
	Lost       int `json:"lost"`              // tokens of truncated and dropped rows that are in no pack
	Dropped    int `json:"dropped"`           // rows that are too long and in no pack
	Split      int `json:"split"`             // rows that became several documents
	Empty      int `json:"empty"`             // rows without text, which are in no pack
	Untaught   int `json:"untaught"`          // rows without a supervised token, which are in no pack
	Unwanted   int `json:"unwanted"`          // rejected and undesirable answers, which only Options.Pairs takes
	Repaired   int `json:"repaired"`          // rows that held invalid UTF-8
	Seq        int `json:"seq"`
}

// Fill is the share of the packs' room that holds tokens.
func (s Stats) Fill() float64 {
	if s.Packs == 0 {
		return 0
	}
	return float64(s.Tokens) / float64(s.Packs*s.Seq)
}

// State is a place in a stream. It is small and can be written as JSON; Seek continues at it exactly.
type State struct {
	Epoch  int     `json:"epoch"`
	Window int     `json:"window"`          // windows begun in this epoch
	Places []Place `json:"places"`          // per source: where the window begins
	Draws  uint64  `json:"draws"`           // rows drawn in this epoch before the window
	Packs  int     `json:"packs"`           // packs already taken from the window
	Exact  bool    `json:"exact,omitempty"` // local sources are drawn from token caches, because they exceed a window
}

// Place is where the next row of a source is.
type Place struct {
	Block  int   `json:"block"`            // index in the epoch's order of blocks (row group, record batch, range of lines)
	Row    int   `json:"row"`              // rows of that block already read
	Offset int64 `json:"offset,omitempty"` // where the row begins, in text files
	Line   int   `json:"line,omitempty"`   // lines before it, where they were counted
	Taken  int   `json:"taken"`            // rows of the source taken in this epoch
}

func (p Place) mark() mark { return mark{p.Row, p.Offset, p.Line} }

// pass moves behind a row of a batch.
func (p *Place) pass(b batch, i int) {
	p.Row++
	if b.ends != nil {
		p.Offset, p.Line = b.ends[i].offset, b.ends[i].line
	}
}

// Line says in a line what became of the rows: every loss is named.
func (s Stats) Line() string {
	text := fmt.Sprintf("%d rows -> %d packs, %.1f %% full", s.Rows, s.Packs+s.Waiting, 100*s.Fill())
	for _, x := range []struct {
		n    int
		what string
	}{{s.Waiting, "not taken"}, {s.Dropped, "dropped: too long"}, {s.Untaught, "dropped: nothing to learn"}, {s.Truncated, "truncated"}, {s.Split, "split"}, {s.Empty, "empty"}, {s.Filtered, "filtered out"},
		{s.Duplicates, "duplicates left out"}, {s.Unwanted, "bad answers left out"}, {s.Repaired, "with invalid UTF-8 replaced"}} {
		if x.n > 0 {
			text += fmt.Sprintf(", %d %s", x.n, x.what)
		}
	}
	if s.Lost > 0 {
		text += fmt.Sprintf("; %d tokens lost", s.Lost)
	}
	return text
}
