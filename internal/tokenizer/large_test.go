package tokenizer

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"tune/internal/testkit"
)

// TestSharedLargeText encodes a book in one call: linear time, and the ids of the reference library.
func TestSharedLargeText(t *testing.T) {
	dir := testkit.Shared(t, "tokenizers")
	book, err := os.ReadFile(testkit.Shared(t, "data/text/war-and-peace.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"smollm2", "llama2", "llama3", "mistral-v3", "qwen3", "gemma3", "falcon", "deepseek-v3", "unigram-c4", "bert-bge"} {
		t.Run(name, func(t *testing.T) {
			var meta struct {
				Book struct {
					HF struct {
						Count  int
						SHA256 string
					}
				} `json:"war_and_peace"`
			}
			data, err := os.ReadFile(filepath.Join(dir, "meta", name+".json"))
			if err == nil {
				err = json.Unmarshal(data, &meta)
			}
			if err != nil {
				t.Fatal(err)
			}
			e, err := loadShared(t, name).Encode(string(book), Options{})
			if err != nil {
				t.Fatal(err)
			}
			h := sha256.New()
			if err := binary.Write(h, binary.LittleEndian, e.IDs); err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(h.Sum(nil)); len(e.IDs) != meta.Book.HF.Count || got != meta.Book.HF.SHA256 {
				t.Errorf("%d ids of hash %s, expected %d of %s", len(e.IDs), got, meta.Book.HF.Count, meta.Book.HF.SHA256)
			}
		})
	}
}
