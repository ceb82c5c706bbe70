package model

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"tune/internal/gguf"
)

// A piece of a SentencePiece model.
type piece struct {
	text  string
	score float32
	kind  uint64 // 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte; the numbers of GGUF
}

var errPieces = errors.New("tokenizer.model: not a SentencePiece model")

// readPieces reads the pieces of a tokenizer.model, a protocol buffer: message field 1 is a piece with text 1, score 2, type 3.
func readPieces(data []byte) (pieces []piece, err error) {
	err = fields(data, func(field uint64, value uint64, body []byte) error {
		if field != 1 || body == nil {
			return nil
		}
		p := piece{kind: 1}
		err := fields(body, func(field uint64, value uint64, body []byte) error {
			switch {
			case field == 1 && body != nil:
				p.text = string(body)
			case field == 2:
				p.score = math.Float32frombits(uint32(value))
			case field == 3:
				p.kind = value
			}
			return nil
		})
		pieces = append(pieces, p)
		return err
	})
	if err == nil && len(pieces) == 0 {
		err = errPieces
	}
	return pieces, err
}

// fields calls f for each field of a message; body is nil unless the field is a string or a message.
func fields(b []byte, f func(field, value uint64, body []byte) error) error {
	for len(b) > 0 {
		key, n := binary.Uvarint(b)
		if n <= 0 {
			return errPieces
		}
		b = b[n:]
		var value uint64
		var body []byte
		switch key & 7 {
		case 0:
			if value, n = binary.Uvarint(b); n <= 0 {
				return errPieces
			}
		case 1, 5:
			if n = 8; key&7 == 5 {
				n = 4
			}
			if len(b) < n {
				return errPieces
			}
			if value = uint64(binary.LittleEndian.Uint32(b)); n == 8 {
				value = binary.LittleEndian.Uint64(b)
			}
		case 2:
			size, k := binary.Uvarint(b)
			if k <= 0 || size > uint64(len(b)-k) {
				return errPieces
			}
			n = k + int(size)
			body = b[k:n:n]
		default:
			return errPieces
		}
		b = b[n:]
		if err := f(key>>3, value, body); err != nil {
			return err
		}
	}
	return nil
}

// Scores of tokens that the SentencePiece model does not have.
const (
	paddingScore = -10000
	addedScore   = -1000
)

// putSentencePiece writes the vocabulary of a tokenizer.model, with the added tokens of tokenizer_config.json.
func putSentencePiece(m *gguf.Meta, model []byte, config map[string]json.RawMessage, size int) error {
	pieces, err := readPieces(model)
	if err != nil {
		return err
	}
	if len(pieces) > size {
		return fmt.Errorf("tokenizer.model: expected at most vocab_size %d pieces, found %d", size, len(pieces))
	}
	v := &vocabulary{make([]string, size), make([]float32, size), make([]int32, size)}
	for i := range size {
		v.tokens[i], v.scores[i], v.types[i] = fmt.Sprintf("[PAD%d]", i), paddingScore, tokenUnused
	}
	for i, p := range pieces {
		v.tokens[i], v.scores[i], v.types[i] = p.text, p.score, tokenNormal
		switch kind := int32(p.kind); kind {
		case tokenUnknown, tokenControl, tokenUnused, tokenByte:
			v.types[i] = kind
		}
	}
	var added map[string]struct {
		Content string
		Special bool
	}
	if raw := config["added_tokens_decoder"]; raw != nil {
		if err := json.Unmarshal(raw, &added); err != nil {
			return fmt.Errorf("tokenizer_config.json: added_tokens_decoder: %w", err)
		}
	}
	for key, a := range added {
		id, err := strconv.Atoi(key)
		if err != nil || id < 0 || id >= size {
			return fmt.Errorf("tokenizer_config.json: added token %q: expected an id below vocab_size %d, found %q", a.Content, size, key)
		}
		v.tokens[id], v.scores[id], v.types[id] = a.Content, addedScore, tokenControl
		if !a.Special && !looksSpecial(a.Content) {
			v.tokens[id], v.types[id] = strings.ReplaceAll(a.Content, "▁", " "), tokenUser
		}
	}
	v.put(m, "llama", "default")
	return nil
}
