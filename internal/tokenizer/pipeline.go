package tokenizer

import (
	"encoding/json"
	"fmt"
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
	Start          int               `json:"start"`
	Stop           int               `json:"stop"`
	Single         []templateItem    `json:"single"`
	SpecialTokens  map[string]struct {
		IDs []int32 `json:"ids"`
	} `json:"special_tokens"`
}

type patternFile struct{ String, Regex *string }

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
	switch f.Type {
	case "Sequence":
		return each(f.Normalizers, t.loadNormalizer)
	case "NFC":
		t.normalizers = append(t.normalizers, normNFC)
	case "Prepend":
		t.normalizers = append(t.normalizers, normPrepend(f.Prepend))
	case "Replace":
		if f.Pattern == nil || f.Pattern.String == nil || *f.Pattern.String == "" {
			return fmt.Errorf("in Replace: expected a string as pattern")
		}
		t.normalizers = append(t.normalizers, normReplace(*f.Pattern.String, f.Content))
	default:
		return fmt.Errorf("expected NFC, Prepend, Replace or Sequence, found %q", f.Type)
	}
	return nil
}

func (t *Tokenizer) loadSteps(data json.RawMessage) error {
	f, err := readStep(data)
	if f == nil || err != nil {
		return err
	}
	if t.model.byteLevel {
		return fmt.Errorf("expected ByteLevel to be the last step, found %q after it", f.Type)
	}
	switch f.Type {
	case "Sequence":
		return each(f.Pretokenizers, t.loadSteps)
	case "ByteLevel":
		t.model.byteLevel = true
		if orTrue(f.AddPrefixSpace) {
			t.steps = append(t.steps, stepPrefix)
		}
		if orTrue(f.UseRegex) {
			t.steps = append(t.steps, stepScan(scanGPT2))
		}
	case "Digits":
		t.steps = append(t.steps, stepDigits(f.Individual))
	case "Metaspace":
		if f.Replacement == "" {
			return fmt.Errorf("in Metaspace: expected a replacement")
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
			return fmt.Errorf("in Metaspace: prepend_scheme: expected always, first or never, found %q", scheme)
		}
		t.steps = append(t.steps, stepMetaspace(f.Replacement, scheme, orTrue(f.Split)))
	case "Split":
		return t.loadSplit(f)
	default:
		return fmt.Errorf("expected ByteLevel, Digits, Metaspace, Split or Sequence, found %q", f.Type)
	}
	return nil
}

func (t *Tokenizer) loadSplit(f *stepFile) error {
	var find func(string) ([]part, error)
	switch {
	case f.Pattern == nil:
		return fmt.Errorf("in Split: expected a pattern")
	case f.Pattern.String != nil:
		find = findString(*f.Pattern.String)
	case f.Pattern.Regex != nil:
		// The patterns with a scanner match every character, so keeping the matches and dropping the rest are the same.
		whole := f.Behavior == "Isolated" && !f.Invert || f.Behavior == "Removed" && f.Invert
		if scan := scannerOf(*f.Pattern.Regex); scan != nil && whole {
			t.steps = append(t.steps, stepScan(scan))
			return nil
		}
		var err error
		if find, err = findRegex(*f.Pattern.Regex); err != nil {
			return fmt.Errorf("in Split: %w", err)
		}
	default:
		return fmt.Errorf("in Split: expected a string or regular expression as pattern")
	}
	s, err := stepSplit(find, f.Behavior, f.Invert)
	if err != nil {
		return fmt.Errorf("in Split: %w", err)
	}
	t.steps = append(t.steps, s)
	return nil
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
	default:
		return fmt.Errorf("expected ByteLevel, TemplateProcessing or Sequence, found %q", f.Type)
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
	default:
		return fmt.Errorf("expected ByteLevel, ByteFallback, Fuse, Strip, Replace, Metaspace or Sequence, found %q", f.Type)
	}
	t.decoders = append(t.decoders, d)
	return nil
}
