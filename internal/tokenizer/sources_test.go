package tokenizer

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"tune/internal/testkit"
)

// TestSharedModelFiles: a tokenizer.model gives what its tokenizer.json gives.
func TestSharedModelFiles(t *testing.T) {
	dir := testkit.Shared(t, "tokenizers")
	for _, name := range []string{"llama2", "mistral-v1", "unigram-c4"} {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(dir, "files", name, "tokenizer.model"))
			if err != nil {
				t.Fatal(err)
			}
			tk, err := FromSentencePiece(data, nil)
			if err != nil {
				t.Fatal(err)
			}
			checkCases(t, tk, readFile(t, filepath.Join(dir, "cases", name+".jsonl")))
		})
	}
	// The tokenizer.json of this one differs from its model where a text begins with a space; the model follows sentencepiece.
	t.Run("mistral-v3", func(t *testing.T) {
		data, err := os.ReadFile(filepath.Join(dir, "files/mistral-v3/tokenizer.model"))
		if err != nil {
			t.Fatal(err)
		}
		tk, err := FromSentencePiece(data, nil)
		if err != nil {
			t.Fatal(err)
		}
		eachLine(t, readFile(t, filepath.Join(dir, "cases/mistral-v3.jsonl")), func(line []byte) {
			var c goldenCase
			if err := json.Unmarshal(line, &c); err != nil {
				t.Fatal(err)
			}
			want := c.IDs
			if c.PieceIDs != nil {
				want = *c.PieceIDs
			} else if c.IDsPlain != nil {
				want = *c.IDsPlain
			}
			if e, err := tk.Encode(c.Text, Options{Plain: true}); err != nil || !slices.Equal(e.IDs, want) {
				t.Errorf("%.80q: got %v %v, want %v", c.Text, short(e.IDs), err, short(want))
			}
		})
	})
}

func TestSharedTiktoken(t *testing.T) {
	dir := testkit.Shared(t, "tokenizers")
	file := filepath.Join(dir, "files/llama3")
	config, err := os.ReadFile(filepath.Join(file, "tokenizer_config.json"))
	if err != nil {
		t.Fatal(err)
	}
	tk, err := FromTiktoken(readFile(t, filepath.Join(file, "tokenizer.tiktoken")), config)
	if err != nil {
		t.Fatal(err)
	}
	checkCases(t, tk, readFile(t, filepath.Join(dir, "cases/llama3.jsonl")))
}

func TestTiktokenErrors(t *testing.T) {
	line := func(token string, rank int) string {
		return base64.StdEncoding.EncodeToString([]byte(token)) + fmt.Sprintf(" %d\n", rank)
	}
	for text, want := range map[string]string{
		"":                       "expected one of the published sizes",
		line("a", 0):             "found 1 tokens",
		line("a", 1):             "line 1: expected a token in base64 and the rank 0",
		line("a", 0) + "!!! 1\n": "line 2: expected a token in base64",
		line("a", 0) + "YQ==\n":  "line 2",
	} {
		if _, err := FromTiktoken([]byte(text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

// modelProto writes a ModelProto.
func modelProto(kind int, chars []byte, trims bool, tokens []string, types []int32) (b []byte) {
	for i, token := range tokens {
		var p []byte
		p = protowire.AppendString(protowire.AppendTag(p, 1, protowire.BytesType), token)
		p = protowire.AppendFixed32(protowire.AppendTag(p, 2, protowire.Fixed32Type), math.Float32bits(-float32(i)))
		p = protowire.AppendVarint(protowire.AppendTag(p, 3, protowire.VarintType), uint64(types[i]))
		b = protowire.AppendBytes(protowire.AppendTag(b, 1, protowire.BytesType), p)
	}
	b = protowire.AppendBytes(protowire.AppendTag(b, 2, protowire.BytesType),
		protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), uint64(kind)))
	var n []byte
	if chars != nil {
		n = protowire.AppendBytes(protowire.AppendTag(n, 2, protowire.BytesType), chars)
	}
	n = protowire.AppendVarint(protowire.AppendTag(n, 4, protowire.VarintType), protowire.EncodeBool(trims))
	return protowire.AppendBytes(protowire.AppendTag(b, 3, protowire.BytesType), n)
}

func TestSentencePieceSmall(t *testing.T) {
	tokens := []string{"<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "▁ab", "ba"}
	types := []int32{2, 3, 3, 1, 1, 1, 1, 1, 1}
	for _, c := range []struct {
		kind int
		want []int32
	}{
		{2, []int32{1, 7, 6, 4, 0}}, // <s> ▁ab ab a <unk>: merges by score
		{1, []int32{7, 6, 4, 0, 2}}, // ▁ab ab a <unk> </s>: -7-6-4 is the best sum
	} {
		tk, err := FromSentencePiece(modelProto(c.kind, nil, c.kind == 1, tokens, types), nil)
		if err != nil {
			t.Fatal(err)
		}
		e, err := tk.Encode("ababa€", Options{AddSpecial: true})
		if err != nil || !slices.Equal(e.IDs, c.want) {
			t.Errorf("kind %d: got %v %v, want %v", c.kind, e.IDs, err, c.want)
		}
	}
	unit := binary.LittleEndian.AppendUint32(nil, 4)
	for _, c := range []struct {
		data []byte
		want string
	}{
		{nil, "expected pieces"},
		{[]byte{0x0a, 0xff, 0x01}, "field 1"},
		{[]byte{0xff}, "broken message"},
		{modelProto(4, nil, false, tokens, types), "model_type: expected 1 (unigram) or 2 (BPE), found 4"},
		{modelProto(2, unit, true, tokens, types), "expected no normalisation"},
		{modelProto(1, unit, true, tokens, types), "expected a table"},
		{modelProto(1, nil, true, tokens[3:], types[3:]), "piece of type unknown"},
	} {
		if _, err := FromSentencePiece(c.data, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%x: got %v, want %q", c.data, err, c.want)
		}
	}
}

// FuzzFromSentencePiece: a foreign file gives a tokenizer or an error.
func FuzzFromSentencePiece(f *testing.F) {
	tokens, types := []string{"<unk>", "<s>", "a", "▁a"}, []int32{2, 3, 1, 1}
	f.Add(modelProto(1, nil, true, tokens, types))
	f.Add(modelProto(2, nil, false, tokens, types))
	f.Add(modelProto(1, binary.LittleEndian.AppendUint64(nil, 0x0000020000000004), true, tokens, types))
	f.Fuzz(func(t *testing.T, data []byte) {
		if tk, err := FromSentencePiece(data, nil); err == nil {
			e, err := tk.Encode("a é\u0301 a", Options{AddSpecial: true})
			if err == nil {
				tk.Decode(e.IDs, true)
			}
		}
	})
}

// FuzzFromTiktoken: foreign ranks give a tokenizer or an error.
func FuzzFromTiktoken(f *testing.F) {
	f.Add([]byte("YQ== 0\nYg== 1\nYWI= 2\n"))
	f.Add([]byte("YQ== 0\r\nYQ== 1\r\n"))
	f.Add([]byte("YQ== -1\n! 2\nYQ==\n 9223372036854775807\n"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, ranks []byte) {
		if tk, err := FromTiktoken(ranks, nil); err == nil {
			if e, err := tk.Encode("ab é\u0301 a", Options{AddSpecial: true}); err == nil {
				tk.Decode(e.IDs, true)
			}
		}
	})
}
