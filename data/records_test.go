package data

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tune/internal/chat"
	"tune/internal/testkit"
)

func TestRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.jsonl")
	if err := os.WriteFile(path, []byte("{\"q\": \"[1]\", \"n\": 3, \"o\": {\"b\": [null, 1.5], \"a\": true}}\n{\"q\": null, \"n\": 4}\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	var rows []*chat.Dict
	if err := Records(path, func(r *chat.Dict, key string) error { rows = append(rows, r); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 {
		t.Fatalf("found %d rows, want 2", len(rows))
	}
	if q, _ := rows[0].Get("q"); q != "[1]" {
		t.Errorf("q = %#v, want the text as it stands", q)
	}
	if q, ok := rows[1].Get("q"); q != nil || !ok {
		t.Errorf("null: found %#v, %v", q, ok)
	}
	o, _ := rows[0].Get("o")
	if keys := o.(*chat.Dict).Keys(); strings.Join(keys, " ") != "b a" {
		t.Errorf("keys %v, want those of the file in their order", keys)
	}
	stop := errors.New("stop")
	if err := Records(path, func(*chat.Dict, string) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("error %v, want visit's", err)
	}
	if err := Records(filepath.Join(t.TempDir(), "none.jsonl"), nil); err == nil {
		t.Error("a file that is not there was read")
	}
}

func TestRecordsOfParquet(t *testing.T) {
	n := 0
	err := Records(testkit.Shared(t, "data/eval/arc_easy/test.parquet"), func(r *chat.Dict, _ string) error {
		if n++; n == 1 {
			c, _ := r.Get("choices")
			text, _ := c.(*chat.Dict).Get("text")
			if got := text.([]any)[0]; got != "Sunlight is the source of energy for nearly all ecosystems." {
				t.Errorf("first choice %q", got)
			}
		}
		return nil
	})
	if err != nil || n != 2376 {
		t.Errorf("%d rows, %v, want 2376", n, err)
	}
}
