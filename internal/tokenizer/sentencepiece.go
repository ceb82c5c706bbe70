package tokenizer

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Types of pieces, the same in SentencePiece's ModelProto and in tokenizer.ggml.token_type.
const (
	pieceNormal      = 1
	pieceUnknown     = 2
	pieceControl     = 3
	pieceUserDefined = 4
)

// pieces is a SentencePiece vocabulary.
type pieces struct {
	tokens []string
	scores []float32
	types  []int32 // nil: all normal
	unk    string
	prefix bool   // a space is put in front of the text
	trims  bool   // spaces at the end are cut, runs of spaces are one (remove_extra_whitespaces)
	chars  []byte // precompiled_charsmap
}

// proto is what is read of a ModelProto (sentencepiece_model.proto).
type proto struct {
	pieces
	kind int // TrainerSpec.model_type: 1 unigram, 2 BPE
	bos  string
	eos  string
	pad  string
}

// FromSentencePiece reads a tokenizer.model and, when configJSON is not nil, the tokenizer_config.json beside it. Without a word
// about it there a BPE model begins a text with the beginning-of-text token and a unigram model ends it with the end-of-text token,
// as the models that began with them do (Llama, T5).
func FromSentencePiece(model, configJSON []byte) (*Tokenizer, error) {
	m := &proto{kind: 1, bos: "<s>", eos: "</s>", pad: "<pad>"}
	m.prefix, m.trims = true, true
	if err := m.read(model); err != nil {
		return nil, fmt.Errorf("tokenizer.model: %w", err)
	}
	s := &spec{tokens: m.tokens}
	has := func(name string) string {
		if !slices.Contains(m.tokens, name) {
			return ""
		}
		return name
	}
	s.config = config{BOS: tokenName(has(m.bos)), EOS: tokenName(has(m.eos)), Pad: tokenName(has(m.pad))}
	var own struct {
		AddBOS *bool `json:"add_bos_token"`
		AddEOS *bool `json:"add_eos_token"`
	}
	if configJSON != nil {
		if err := json.Unmarshal(configJSON, &own); err != nil {
			return nil, fmt.Errorf("tokenizer_config.json: %w", err)
		}
	}
	var err error
	switch m.kind {
	case 1:
		err = s.fromUnigram(&m.pieces)
	case 2:
		err = s.fromBPE(&m.pieces)
	default:
		err = fmt.Errorf("model_type: expected 1 (unigram) or 2 (BPE), found %d", m.kind)
	}
	if err != nil {
		return nil, fmt.Errorf("tokenizer.model: %w", err)
	}
	s.config.Unk = tokenName(m.unk)
	s.around(either(own.AddBOS, m.kind == 2), either(own.AddEOS, m.kind == 1))
	s.addSpecial(m.types)
	return s.buildWith(configJSON)
}

func either(b *bool, def bool) bool {
	if b == nil {
		return def
	}
	return *b
}

// read parses the message; fields that do not matter here are skipped.
func (m *proto) read(b []byte) error {
	err := eachField(b, func(num protowire.Number, _ uint64, msg []byte) error {
		switch num {
		case 1:
			return m.readPiece(msg)
		case 2:
			return m.readTrainer(msg)
		case 3:
			return m.readNormalizer(msg)
		}
		return nil
	})
	if err == nil && len(m.tokens) == 0 {
		err = errors.New("expected pieces, found none")
	}
	return err
}

func (m *proto) readPiece(b []byte) error {
	text, score, kind := "", float32(0), int32(pieceNormal)
	err := eachField(b, func(num protowire.Number, n uint64, msg []byte) error {
		switch num {
		case 1:
			text = string(msg)
		case 2:
			score = math.Float32frombits(uint32(n))
		case 3:
			kind = int32(min(n, 1<<16))
		}
		return nil
	})
	if kind == pieceUnknown {
		m.unk = text
	}
	m.tokens, m.scores, m.types = append(m.tokens, text), append(m.scores, score), append(m.types, kind)
	return err
}

func (m *proto) readTrainer(b []byte) error {
	return eachField(b, func(num protowire.Number, n uint64, msg []byte) error {
		switch num {
		case 3:
			m.kind = int(min(n, 1<<16))
		case 24:
			if n != 0 {
				return errors.New("treat_whitespace_as_suffix: expected false")
			}
		case 46:
			m.bos = string(msg)
		case 47:
			m.eos = string(msg)
		case 48:
			m.pad = string(msg)
		}
		return nil
	})
}

func (m *proto) readNormalizer(b []byte) error {
	return eachField(b, func(num protowire.Number, n uint64, msg []byte) error {
		switch num {
		case 2:
			m.chars = msg
		case 3:
			m.prefix = n != 0
		case 4:
			m.trims = n != 0
		case 5:
			if n == 0 {
				return errors.New("escape_whitespaces: expected true")
			}
		}
		return nil
	})
}

// eachField calls f for every field of a message: with its number when it is a varint or fixed, with its bytes otherwise.
func eachField(b []byte, f func(num protowire.Number, n uint64, msg []byte) error) error {
	for len(b) > 0 {
		num, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return fmt.Errorf("broken message: %w", protowire.ParseError(size))
		}
		b = b[size:]
		var n uint64
		var msg []byte
		switch kind {
		case protowire.VarintType:
			n, size = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var x uint32
			x, size = protowire.ConsumeFixed32(b)
			n = uint64(x)
		case protowire.BytesType:
			msg, size = protowire.ConsumeBytes(b)
		default:
			size = protowire.ConsumeFieldValue(num, kind, b)
		}
		if size < 0 {
			return fmt.Errorf("field %d: %w", num, protowire.ParseError(size))
		}
		b = b[size:]
		if err := f(num, n, msg); err != nil {
			return err
		}
	}
	return nil
}

// fromUnigram describes a unigram model as the reference library's converter does.
func (s *spec) fromUnigram(p *pieces) error {
	s.kind, s.scores, s.unk = "Unigram", p.scores, p.unk
	if p.unk == "" {
		return errors.New("expected a piece of type unknown, found none")
	}
	var norms []object
	if len(p.chars) > 0 {
		norms = append(norms, object{"type": "Precompiled", "precompiled_charsmap": p.chars})
	}
	if p.trims {
		norms = append(norms, object{"type": "Strip", "strip_left": false, "strip_right": true},
			object{"type": "Replace", "pattern": object{"Regex": " {2,}"}, "content": metaspace})
	}
	if norms != nil {
		s.normalizer = object{"type": "Sequence", "normalizers": norms}
	}
	scheme := "never"
	if p.prefix {
		scheme = "always"
	}
	m := object{"type": "Metaspace", "replacement": metaspace, "prepend_scheme": scheme, "split": true}
	s.steps, s.decoder = []object{m}, m
	return nil
}

// fromBPE derives the merges of a vocabulary from its scores, in the order of the reference library's converter: a piece of higher
// score first, then the longer left part, then the longer right one.
func (s *spec) fromBPE(p *pieces) error {
	if p.trims && len(p.chars) > 0 {
		return errors.New("normalizer_spec: expected no normalisation for a BPE model")
	}
	s.unk, s.byteFallback = p.unk, true
	norms := []object{{"type": "Replace", "pattern": object{"String": " "}, "content": metaspace}}
	dec := []object{{"type": "Replace", "pattern": object{"String": metaspace}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}}
	if p.prefix {
		norms = append([]object{{"type": "Prepend", "prepend": metaspace}}, norms...)
		dec = append(dec, object{"type": "Strip", "content": " ", "start": 1, "stop": 0})
	}
	s.normalizer, s.decoder = object{"type": "Sequence", "normalizers": norms}, object{"type": "Sequence", "decoders": dec}
	ids := make(map[string]int, len(p.tokens))
	for id, token := range p.tokens {
		if p.types == nil || p.types[id] == pieceNormal || p.types[id] == pieceUserDefined {
			ids[token] = id
		}
	}
	type derived struct {
		score      float32
		n, m       int // characters of the parts
		left, rest int // ids of the parts
	}
	var list []derived
	for id, token := range p.tokens {
		if ids[token] != id || p.types != nil && p.types[id] != pieceNormal {
			continue
		}
		total := utf8.RuneCountInString(token)
		n := 0
		for i := range token {
			if i > 0 {
				left, okL := ids[token[:i]]
				rest, okR := ids[token[i:]]
				if okL && okR {
					list = append(list, derived{p.scores[id], n, total - n, left, rest})
				}
			}
			n++
		}
	}
	slices.SortStableFunc(list, func(a, b derived) int {
		return cmp.Or(cmp.Compare(b.score, a.score), b.n-a.n, b.m-a.m, a.left-b.left, a.rest-b.rest)
	})
	for _, d := range list {
		s.merges = append(s.merges, [2]string{p.tokens[d.left], p.tokens[d.rest]})
	}
	return nil
}
