package data

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"unicode"

	"tune/internal/chat"
)

// Finding is one thing that would fail or that looks wrong, with how many rows it concerns.
type Finding struct {
	Name    string `json:"name"`
	Error   bool   `json:"error"` // training would fail, or teach something wrong; otherwise it only looks wrong
	Split   string `json:"split,omitempty"`
	Rows    int    `json:"rows,omitempty"`
	Of      int    `json:"of,omitempty"`
	Key     string `json:"first,omitempty"` // the first such row
	Message string `json:"message"`         // what is wrong; for rows, with that one
	Hint    string `json:"hint"`
}

// kind is a sort of mistake in rows.
type kind struct {
	name    string
	error   bool
	message string
	hint    string
}

// kinds, in the order of the report.
var kinds = []kind{
	{"unreadable", true, "rows that cannot be read", "mend the rows, or convert the file with tune data convert"},
	{"invalid-utf8", true, "text that is not UTF-8", "utf8: replace puts U+FFFD in its place and counts the rows; better save the file as UTF-8"},
	{"unknown-role", true, "roles that chat templates do not know", "roles are system, developer, user, assistant and tool; columns and format can map others"},
	{"null-content", true, "turns without content", "templates print None there; drop the turns or give them an empty string"},
	{"template-error", true, "conversations that the chat template refuses", "the message is the template's own"},
	{"role-order", true, "turns in an order that has no answer to learn, or out of turn", "a conversation goes user, assistant, user, assistant, and ends with the assistant"},
	{"tool-call", true, "tool calls that are not closed, not answered or not JSON", "each call is followed by a message of role tool; arguments are a JSON object"},
	{"empty-turn", true, "assistant turns without anything in them", "the model would learn to answer nothing; drop them or set train: false in the message"},
	{"markup", true, "content with a chat template's own marks", "give the turns as messages and let the model's template write the marks"},
	{"doubled-bos", true, "two beginning-of-text tokens", "take the token out of the text: the tokenizer or the template adds it"},
	{"no-stop", true, "trained turns that do not end in a token at which generation stops", "the template must end a turn with the end-of-turn token, and eos_token_id must list it"},
	{"unsupervised", true, "rows without a token to learn", "unsupervised: drop leaves them out and counts them"},
	{"too-long", true, "rows longer than seq", "raise seq, or choose overlength: truncate, drop or split"},
	{"leak", true, "rows of the held-out data that are also in train", "the score on them is no measure; split by a key column or drop them"},
	{"near-leak", false, "rows of the held-out data that are nearly in train", "rows that share most of their words, or a long prompt: split by a key column, or dedup: minhash"},
	{"unlike-generation", false, "trained turns before which training shows another text than generation would", "the template treats past turns differently; loss: last trains only where both agree"},
	{"same-pair", true, "preferences whose two answers are the same", "they teach nothing; drop them"},
	{"left-out", true, "tools or tool calls that the chat template leaves out", "use a model whose template knows tools, or put them into the content"},
	{"duplicate", false, "rows that occur before", "they count twice; drop them"},
	{"same-answer", false, "rows with the same answer", "a model learns to give it always"},
	{"mojibake", false, "text that was decoded wrongly (Ã©, â€™, U+FFFD)", "read the source again as what it is: UTF-8 taken for Latin-1"},
	{"unknown-tokens", false, "characters that the tokenizer has no token for", "they become the unknown token or vanish"},
	{"empty", false, "rows without text", "they are skipped"},
}

// Checks are the names of what Check looks for, with what they mean.
func Checks() (list [][2]string) {
	for _, k := range kinds {
		list = append(list, [2]string{k.name, k.message})
	}
	return list
}

// CheckOptions of Check.
type CheckOptions struct {
	Stops   []int32  // tokens at which generation stops; nil: not looked at
	HeldOut *HeldOut // rows of train are compared with it and those of other splits go to it; nil: neither
	Rows    int      // of each source, its first ones; 0: all
}

// Checked is what Check has seen.
type Checked struct {
	Findings   []Finding
	Rows       int
	Tokens     int
	Supervised int
}

// Check reads the split once and lists what is wrong.
func (s *Stream) Check(ctx context.Context, o CheckOptions) (*Checked, error) {
	c := newChecker(s, o)
	var near *minHash
	if o.HeldOut != nil {
		near = o.HeldOut.near
	}
	err := s.walk(ctx, o.Rows, near, func(x walked) bool {
		c.row(x)
		return true
	})
	if ctx.Err() != nil {
		return nil, errCanceled
	}
	if err != nil { // the rest of the file cannot be read
		c.bad(err, "")
	}
	c.sameAnswers()
	c.list()
	return &c.Checked, nil
}

// Inspect is Scan that also says what Check finds in each row by itself. A row that is left out because nobody wants it is not
// visited.
func (s *Stream) Inspect(ctx context.Context, o CheckOptions, visit func(Scanned, []Finding) bool) error {
	return s.walk(ctx, o.Rows, nil, func(x walked) bool {
		c := newChecker(s, o)
		c.row(x)
		c.list()
		return x.unwanted || visit(x.Scanned, c.Findings)
	})
}

func newChecker(s *Stream, o CheckOptions) *checker {
	return &checker{s: s, o: o, found: map[string]*Finding{}, answers: map[uint64]*frequent{}, seen: map[uint64]bool{}}
}

// list puts what was found in the order of kinds.
func (c *checker) list() {
	config := &c.s.config
	for _, k := range kinds {
		if f := c.found[k.name]; f != nil {
			f.Split, f.Of = c.s.options.Split, c.Rows
			if k.name == "too-long" && config.Overlength != "error" || k.name == "unsupervised" && config.Unsupervised == "drop" {
				f.Error = false // as the recipe wishes
			}
			c.Findings = append(c.Findings, *f)
		}
	}
}

// FindingOf says as a finding why a split cannot be opened.
func FindingOf(split string, err error) Finding {
	c := &checker{found: map[string]*Finding{}}
	c.bad(err, "")
	for _, f := range c.found {
		f.Split, f.Rows = split, 0
		return *f
	}
	panic("data: an error is always a finding")
}

type checker struct {
	Checked
	s       *Stream
	o       CheckOptions
	found   map[string]*Finding
	seen    map[uint64]bool      // footprints of rows
	answers map[uint64]*frequent // by hash, of short ones as long ones do not repeat by accident
}

type frequent struct {
	text, key string
	rows      int
}

// add counts a row; detail, when not empty, says more about the first one.
func (c *checker) add(name, key, detail string) {
	f := c.found[name]
	if f == nil {
		k := kinds[slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })]
		f = &Finding{Name: name, Error: k.error, Message: k.message, Hint: k.hint, Key: key}
		if detail != "" {
			f.Message += ": " + detail
		}
		c.found[name] = f
	}
	f.Rows++
}

func (c *checker) row(x walked) {
	if x.unwanted {
		return
	}
	c.Rows++
	if t := x.item.chat; t != nil {
		for _, look := range conversationChecks {
			if detail := look.find(t, c.s.encoder.marks()); detail != "" {
				c.add(look.name, x.key, detail)
			}
		}
	}
	if x.Err != nil {
		c.bad(x.Err, x.key)
		return
	}
	ex := &x.Example
	switch {
	case ex.Unsupervised:
		c.add("unsupervised", x.key, "")
		return
	case len(ex.IDs) == 0:
		c.add("empty", x.key, "")
		return
	}
	c.Tokens += len(ex.IDs)
	c.Supervised += ex.Supervised()
	if n := ex.size(); n > c.s.config.Seq && !(x.item.text != nil && x.item.prompt == 0) {
		c.add("too-long", x.key, fmt.Sprintf("%d tokens of at most %d (overlength: %s)", n, c.s.config.Seq, c.s.config.Overlength))
	}
	c.tokens(x)
	h := footprint(x.item, ex)
	if x.rejected != nil && (x.item.chat != nil || x.item.text != nil) && footprint(*x.rejected, ex) == h {
		c.add("same-pair", x.key, "")
	}
	if c.seen[h] {
		c.add("duplicate", x.key, "")
	}
	c.seen[h] = true
	switch held := c.o.HeldOut; {
	case held == nil:
	case c.s.options.Split == "train":
		held.compare(x.key, h, x.sketch)
	default:
		held.add(c.s.options.Split, x.key, h, x.sketch)
	}
	c.remember(x)
}

// tokens looks at what the row has become.
func (c *checker) tokens(x walked) {
	tok, ex := c.s.encoder.tok, &x.Example
	if tok == nil || ex.Detail == nil {
		return
	}
	if unk, ok := tok.Unk(); ok {
		if i := slices.Index(ex.IDs, unk); i >= 0 {
			c.add("unknown-tokens", x.key, fmt.Sprintf("token %d", i))
		}
	}
	if ex.Detail.Lost != "" {
		c.add("left-out", x.key, ex.Detail.Lost)
	}
	if ex.Detail.Unlike > 0 {
		c.add("unlike-generation", x.key, "")
	}
	if strings.ContainsRune(ex.Detail.Text, unicode.ReplacementChar) || hasMojibake(ex.Detail.Text) {
		c.add("mojibake", x.key, "")
	}
	if c.o.Stops == nil {
		return
	}
	for _, end := range ex.Detail.Ends {
		if id := ex.IDs[end]; !slices.Contains(c.o.Stops, id) {
			c.add("no-stop", x.key, fmt.Sprintf("a turn ends in %q, generation stops at %s", tok.Decode([]int32{id}, false), c.stopNames()))
			return
		}
	}
}

func (c *checker) stopNames() string {
	var names []string
	for _, id := range c.o.Stops {
		names = append(names, fmt.Sprintf("%q", c.s.encoder.tok.Token(id)))
	}
	return strings.Join(names, ", ")
}

// bad sorts an error by what it says about the row. What was found in the conversation itself explains it already.
func (c *checker) bad(err error, key string) {
	name := "unreadable"
	var raised *chat.RaisedError
	switch {
	case errors.Is(err, errNotUTF8):
		name = "invalid-utf8"
	case errors.Is(err, errDoubled):
		name = "doubled-bos"
	case errors.Is(err, errUnsupervised):
		name = "unsupervised"
	case errors.Is(err, errRender) || errors.As(err, &raised):
		name = "template-error"
	}
	c.add(name, key, strings.TrimPrefix(err.Error(), key+": "))
}

// footprint identifies a row by its text, whatever its case and white space; rows of tokens by these.
func footprint(it item, ex *Example) uint64 {
	h := fnv.New64a()
	write := func(s string) {
		for _, w := range strings.Fields(strings.ToLower(s)) {
			h.Write([]byte(w))
			h.Write([]byte{' '})
		}
		h.Write([]byte{0})
	}
	switch {
	case it.chat != nil:
		for _, m := range it.chat.Messages {
			write(m.Role)
			write(m.Content)
			for _, call := range m.ToolCalls {
				text, _ := json.Marshal(call) // what came from JSON goes to JSON
				write(string(text))
			}
		}
	case it.text != nil:
		write(*it.text)
	default:
		return ex.hash()
	}
	return h.Sum64()
}

// Bounds of the answers that are counted: bytes of one, and how many different ones.
const (
	shortAnswer = 400
	maxAnswers  = 1 << 18
)

// remember counts the last answer of a conversation.
func (c *checker) remember(x walked) {
	if x.item.chat == nil {
		return
	}
	messages := x.item.chat.Messages
	last := messages[len(messages)-1]
	if last.Role != "assistant" || last.Content == "" || len(last.Content) > shortAnswer {
		return
	}
	h := fnv.New64a()
	h.Write([]byte(last.Content))
	a := c.answers[h.Sum64()]
	if a == nil {
		if len(c.answers) == maxAnswers {
			return
		}
		a = &frequent{text: last.Content, key: x.key}
		c.answers[h.Sum64()] = a
	}
	a.rows++
}

// sameAnswers reports the most frequent answer when it is more than a tenth of the rows and there are enough rows to tell. Few
// different answers in all are a classification, which is as it should be.
func (c *checker) sameAnswers() {
	const enough, share, classes = 100, 0.1, 0.25
	var top *frequent
	for _, a := range c.answers {
		if top == nil || a.rows > top.rows || a.rows == top.rows && a.key < top.key {
			top = a
		}
	}
	if top == nil || c.Rows < enough || float64(top.rows) < share*float64(c.Rows) || float64(len(c.answers)) < classes*float64(c.Rows) {
		return
	}
	c.add("same-answer", top.key, fmt.Sprintf("%.60q", top.text))
	c.found["same-answer"].Rows = top.rows
}
