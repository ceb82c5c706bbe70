package data

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"tune/internal/chat"
	"tune/internal/testkit"
	"tune/internal/tokenizer"
)

// BenchmarkStream reads, renders, tokenizes and packs real conversations with SmolLM2's tokenizer and template, and again
// from a token cache. A trainer of SmolLM2-135M takes about 120 tokens per CPU second on AVX2.
func BenchmarkStream(b *testing.B) {
	o := benchOptions(b)
	c := Default()
	c.Train, c.Seq, c.Cache = Sources{{Path: testkit.Shared(b, "data/legal/cuad/train.parquet")}}, 1024, b.TempDir()
	for _, c.TokenCache = range []bool{false, true} {
		b.Run(map[bool]string{false: "tokenizing", true: "cached"}[c.TokenCache], func(b *testing.B) {
			tokens := 0
			for b.Loop() {
				s, err := Open(c, o)
				if err != nil {
					b.Fatal(err)
				}
				for {
					p, err := s.Next(b.Context())
					if err == io.EOF {
						break
					}
					if err != nil {
						b.Fatal(err)
					}
					tokens += len(p.IDs)
				}
				s.Close()
			}
			b.ReportMetric(float64(tokens)/float64(b.N), "tokens/epoch")
		})
	}
}

// benchOptions are those of SmolLM2.
func benchOptions(b testing.TB) Options {
	b.Helper()
	files := testkit.Shared(b, "tokenizers/files/smollm2")
	packed, err := os.Open(filepath.Join(files, "tokenizer.json.zst"))
	if err != nil {
		b.Fatal(err)
	}
	defer packed.Close()
	z, err := zstd.NewReader(packed)
	if err != nil {
		b.Fatal(err)
	}
	defer z.Close()
	text, err := io.ReadAll(z)
	if err != nil {
		b.Fatal(err)
	}
	tok, err := tokenizer.FromJSON(text, nil)
	if err != nil {
		b.Fatal(err)
	}
	if text, err = os.ReadFile(filepath.Join(files, "chat_template.jinja")); err != nil {
		b.Fatal(err)
	}
	template, err := chat.Parse(string(text))
	if err != nil {
		b.Fatal(err)
	}
	return Options{Split: "train", Tokenizer: tok, Template: template}
}
