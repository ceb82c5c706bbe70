package tokenizer

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// part of a pipeline in a tokenizer.json: the union of the fields of all kinds.
type stepFile struct {
	Type           string            `json:"type"`
	Normalizers    []json.RawMessage `json:"normalizers"`
	Pretokenizers  []json.RawMessage `json:"pretokenizers"`
	Processors     []json.RawMessage `json:"processors"`
	Decoders       []json.RawMessage `json:"decoders"`
	Prepend        string            `json:"prepend"`
	Pattern        *patternFile      `json:"pattern"`
	Content        string            `json:"content"`
	Behavior       string            `json:"behavior"`
	Invert         bool              `json:"invert"`
	AddPrefixSpace *bool             `json:"add_prefix_space"`
	TrimOffsets    *bool             `json:"trim_offsets"`
	UseRegex       *bool             `json:"use_regex"`
	Individual     bool              `json:"individual_digits"`
	Replacement    string            `json:"replacement"`
	PrependScheme  string            `json:"prepend_scheme"`
	Split          *bool             `json:"split"`
	StripLeft      *bool             `json:"strip_left"`
	StripRight     *bool             `json:"strip_right"`
	CleanText      *bool             `json:"clean_text"`
	Chinese        *bool             `json:"handle_chinese_chars"`
	StripAccents   *bool             `json:"strip_accents"`
	Lowercase      *bool             `json:"lowercase"`
	CharsMap       []byte            `json:"precompiled_charsmap"`
	Delimiter      string            `json:"delimiter"`
	Prefix         string            `json:"prefix"`
	Cleanup        *bool             `json:"cleanup"`
	CLS            pairItem          `json:"cls"`
	SEP            pairItem          `json:"sep"`
	Start          int               `json:"start"`
	Stop           int               `json:"stop"`
	Single         []templateItem    `json:"single"`
	SpecialTokens  map[string]struct {
		IDs []int32 `json:"ids"`
	} `json:"special_tokens"`
}

type patternFile struct{ String, Regex *string }

// pairItem is a token written as ["[CLS]", 101].
type pairItem struct{ id int32 }

func (p *pairItem) UnmarshalJSON(b []byte) error {
	var name string
	return json.Unmarshal(b, &[]any{&name, &p.id})
}

// finder returns what finds the pattern in a text.
func (p *patternFile) finder() (finder, error) {
	switch {
	case p != nil && p.String != nil && *p.String != "":
		return findString(*p.String), nil
	case p != nil && p.Regex != nil:
		return findRegex(*p.Regex)
	}
	return nil, fmt.Errorf("expected a string or regular expression as pattern")
}

// kinds lists the types of a table of steps, for an error.
func kinds[T any](table map[string]T) string {
	return strings.Join(append(slices.Sorted(maps.Keys(table)), "Sequence"), ", ")
}

type templateItem struct {
	SpecialToken *struct {
		ID string `json:"id"`
	}
	Sequence *struct {
		ID string `json:"id"`
	}
}

func orTrue(b *bool) bool { return b == nil || *b }

// readStep returns nil for null.
func readStep(data json.RawMessage) (*stepFile, error) {
	if len(data) == 0 || string(data) == "null" {
		return nil, nil
	}
	f := new(stepFile)
	return f, json.Unmarshal(data, f)
}

func each(list []json.RawMessage, read func(json.RawMessage) error) error {
	for i, data := range list {
		if err := read(data); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

func (t *Tokenizer) loadNormalizer(data json.RawMessage) error {
	f, err := readStep(data)
	if f == nil || err != nil {
		return err
	}
	if f.Type == "Sequence" {
		return each(f.Normalizers, t.loadNormalizer)
	}
	load := normalizerKinds[f.Type]
	if load == nil {
		return fmt.Errorf("expected one of %s, found %q", kinds(normalizerKinds), f.Type)
	}
	n, err := load(f)
	t.normalizers = append(t.normalizers, n)
	return err
}

func (t *Tokenizer) loadPreTokenizer(data json.RawMessage) error {
	l := stepLoader{t: t}
	err := l.load(data)
	l.flush()
	return err
}

// stepLoader makes the steps of a pre-tokenizer, of several that cut around runs of characters one.
type stepLoader struct {
	t    *Tokenizer
	runs *cutter // that is not among the steps yet
}

// flush adds the steps that cut around runs.
func (l *stepLoader) flush() {
	if l.runs == nil {
		return
	}
	s := step(l.runs.cut)
	if l.t.model.byteLevel {
		s = onLetters(s, l.runs.touches)
	}
	l.t.steps, l.runs = append(l.t.steps, s), nil
}

func (l *stepLoader) load(data json.RawMessage) error {
	f, err := readStep(data)
	if f == nil || err != nil {
		return err
	}
	if f.Type == "Sequence" {
		return each(f.Pretokenizers, l.load)
	}
	if f.isRun() {
		return l.run(f)
	}
	l.flush()
	t := l.t
	if f.Type == "ByteLevel" {
		if t.model.byteLevel {
			return fmt.Errorf("expected ByteLevel once")
		}
		t.model.byteLevel = true
		if orTrue(f.AddPrefixSpace) {
			t.steps = append(t.steps, stepPrefix)
		}
		if orTrue(f.UseRegex) {
			t.steps = append(t.steps, stepScan(scanGPT2))
		}
		return nil
	}
	load := stepKinds[f.Type]
	if load == nil {
		return fmt.Errorf("expected one of ByteLevel, Digits, %s, found %q", kinds(stepKinds), f.Type)
	}
	s, err := load(f)
	if err != nil {
		return fmt.Errorf("in %s: %w", f.Type, err)
	}
	if t.model.byteLevel {
		if f.Type == "Metaspace" {
			return fmt.Errorf("expected no Metaspace after ByteLevel")
		}
		s = onLetters(s, func(rune) bool { return true })
	}
	t.steps = append(t.steps, s)
	return nil
}

// isRun says whether a step cuts around runs of characters.
func (f *stepFile) isRun() bool {
	if f.Type != "Split" || f.Pattern == nil || f.Pattern.Regex == nil {
		return f.Type == "Digits"
	}
	pattern := *f.Pattern.Regex
	return f.Behavior == "Isolated" && !f.Invert && scannerOf(pattern) == nil && (pattern == patternTail || simplePattern(pattern) != nil)
}

// run adds a step that cuts around runs.
func (l *stepLoader) run(f *stepFile) error {
	if l.runs != nil && len(l.runs.runs) == maxRuns {
		l.flush()
	}
	if l.runs == nil {
		l.runs = &cutter{}
	}
	switch {
	case f.Type == "Digits":
		l.runs.add(digits(f.Individual))
	case *f.Pattern.Regex == patternTail:
		find, err := findRegex(patternTail)
		if err != nil {
			return err
		}
		l.runs.add(nil)
		l.runs.tail, err = stepSplit(find, f.Behavior, false)
		return err
	default:
		l.runs.add(simplePattern(*f.Pattern.Regex))
	}
	return nil
}

// stepKinds makes the pre-tokenizers by their types. ByteLevel, Digits and Sequence are not among them.
var stepKinds = map[string]func(*stepFile) (step, error){
	"Metaspace": loadMetaspace,
	"Split":     loadSplit,
	"Punctuation": func(f *stepFile) (step, error) {
		return stepSplit(findChars(isPunct), cmp.Or(f.Behavior, "Isolated"), false)
	},
	"WhitespaceSplit":  func(*stepFile) (step, error) { return stepSplit(findChars(unicode.IsSpace), "Removed", false) },
	"Whitespace":       func(*stepFile) (step, error) { return stepWhitespace, nil },
	"BertPreTokenizer": func(*stepFile) (step, error) { return stepBert, nil },
	"CharDelimiterSplit": func(f *stepFile) (step, error) {
		if f.Delimiter == "" {
			return nil, fmt.Errorf("expected a delimiter")
		}
		return stepSplit(findString(f.Delimiter), "Removed", false)
	},
}

func loadMetaspace(f *stepFile) (step, error) {
	if f.Replacement == "" {
		return nil, fmt.Errorf("expected a replacement")
	}
	scheme := f.PrependScheme
	switch scheme {
	case "":
		scheme = "always"
		if f.AddPrefixSpace != nil && !*f.AddPrefixSpace { // the old way to say it
			scheme = "never"
		}
	case "always", "first", "never":
	default:
		return nil, fmt.Errorf("prepend_scheme: expected always, first or never, found %q", scheme)
	}
	return stepMetaspace(f.Replacement, scheme, orTrue(f.Split)), nil
}

func loadSplit(f *stepFile) (step, error) {
	if f.Pattern != nil && f.Pattern.Regex != nil {
		// The patterns with a scanner match every character, so keeping the matches and dropping the rest are the same.
		isolated := f.Behavior == "Isolated" && !f.Invert
		if scan := scannerOf(*f.Pattern.Regex); scan != nil && (isolated || f.Behavior == "Removed" && f.Invert) {
			return stepScan(scan), nil
		}
	}
	find, err := f.Pattern.finder()
	if err != nil {
		return nil, err
	}
	return stepSplit(find, f.Behavior, f.Invert)
}

func (t *Tokenizer) loadPost(data json.RawMessage) error {
	f, err := readStep(data)
	if f == nil || err != nil {
		return err
	}
	switch f.Type {
	case "Sequence":
		return each(f.Processors, t.loadPost)
	case "ByteLevel":
		t.trim, t.trimFirst = orTrue(f.TrimOffsets), orTrue(f.AddPrefixSpace)
	case "TemplateProcessing":
		seen := false
		for _, item := range f.Single {
			switch {
			case item.Sequence != nil && item.Sequence.ID == "A" && !seen:
				seen = true
			case item.SpecialToken != nil:
				s, ok := f.SpecialTokens[item.SpecialToken.ID]
				if !ok {
					return fmt.Errorf("in TemplateProcessing: %q is not among its special tokens", item.SpecialToken.ID)
				}
				if seen {
					t.after = append(t.after, s.IDs...)
				} else {
					t.before = append(t.before, s.IDs...)
				}
			default:
				return fmt.Errorf("in TemplateProcessing: expected special tokens and the sequence A once in single")
			}
		}
		if !seen {
			return fmt.Errorf("in TemplateProcessing: expected the sequence A in single")
		}
	case "BertProcessing":
		t.before, t.after = append(t.before, f.CLS.id), append(t.after, f.SEP.id)
	case "RobertaProcessing":
		t.before, t.after = append(t.before, f.CLS.id), append(t.after, f.SEP.id)
		t.trim, t.trimFirst = orTrue(f.TrimOffsets), orTrue(f.AddPrefixSpace)
	default:
		return fmt.Errorf("expected BertProcessing, ByteLevel, RobertaProcessing, TemplateProcessing or Sequence, found %q", f.Type)
	}
	return nil
}

func (t *Tokenizer) loadDecoder(data json.RawMessage) error {
	f, err := readStep(data)
	if f == nil || err != nil {
		return err
	}
	var d decodeStep
	switch f.Type {
	case "Sequence":
		return each(f.Decoders, t.loadDecoder)
	case "ByteLevel":
		d = decodeByteLevel
	case "ByteFallback":
		d = decodeByteFallback
	case "Fuse":
		d = decodeFuse
	case "Strip":
		d = decodeStrip(f.Content, f.Start, f.Stop)
	case "Replace":
		if f.Pattern == nil || f.Pattern.String == nil || *f.Pattern.String == "" {
			return fmt.Errorf("in Replace: expected a string as pattern")
		}
		d = decodeReplace(*f.Pattern.String, f.Content)
	case "Metaspace":
		scheme := f.PrependScheme
		if f.AddPrefixSpace != nil && !*f.AddPrefixSpace {
			scheme = "never"
		}
		d = decodeMetaspace(f.Replacement, scheme)
	case "WordPiece":
		d = decodeWordPiece(f.Prefix, orTrue(f.Cleanup))
	default:
		return fmt.Errorf("expected ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Strip, WordPiece or Sequence, found %q", f.Type)
	}
	t.decoders = append(t.decoders, d)
	return nil
}
