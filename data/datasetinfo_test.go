package data

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tune/internal/testkit"
)

func TestDatasetInfo(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"dataset_info.json": `{"a":{"file_name":"a.json","columns":{"prompt":"q","response":"r"}},"b":{"file_name":"b.jsonl","columns":{"prompt":"text"}},
			"c":{"hf_hub_url":"org/name","subset":"en","formatting":"sharegpt"},"d":{"file_name":"d.json","columns":{"images":"x"}},"e":{},
			"f":{"file_name":"f.json","formatting":"sharegpt","tags":{"role_tag":"who"}}}`,
		"a.json": `[{"q":"hi","r":"yo"}]`, "b.jsonl": `{"text":"the cat"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HF_HUB_OFFLINE", "1")
	t.Setenv("HF_HUB_CACHE", dir)
	for entry, want := range map[string]string{
		"a": "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n[[yo<|im_end|>]]\n|", "b": "the[[ cat<|end|>]]|",
		"c": "hf://datasets/org/name: offline, and not in the cache", "d": "dataset_info.json#d: columns: images: expected one of chosen, ",
		"e": "expected file_name or hf_hub_url", "f": `tags: role_tag: expected from or role, found "who"`, "g": `expected an entry of a, b, c, d, e, f, found "g"`,
	} {
		c := Default()
		c.Train = Sources{{Path: filepath.Join(dir, "dataset_info.json") + "#" + entry}}
		o := chatOptions(t, "train")
		s, err := Open(c, o)
		if err != nil {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", entry, err, want)
			}
			continue
		}
		if got := marked(t, o, epoch(t, s)); got != want {
			t.Errorf("%s: got %q, want %q", entry, got, want)
		}
		s.Close()
	}
}

// TestDatasetInfoShared reads the demos by their descriptions, and understands every description but those of images, sound
// and video.
func TestDatasetInfoShared(t *testing.T) {
	file := testkit.Shared(t, "data/instruct/dataset_info.json")
	for entry, rows := range map[string]int{"alpaca_en_demo": 999, "dpo_en_demo": 300, "kto_en_demo": 300, "glaive_toolcall_en_demo": 300} {
		c := Default()
		c.Test, c.Seq = Sources{{Path: file + "#" + entry}}, 32768
		o := chatOptions(t, "test")
		o.Pairs = true
		s, err := Open(c, o)
		if err != nil {
			t.Errorf("%s: %v", entry, err)
			continue
		}
		epoch(t, s)
		if st := s.Stats(); st.Rows != rows {
			t.Errorf("%s: %s, want %d rows", entry, st.Line(), rows)
		}
		s.Close()
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var entries map[string]infoEntry
	if err := json.Unmarshal(text, &entries); err != nil {
		t.Fatal(err)
	}
	var refused []string
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		if _, err := (Source{Path: file + "#" + name}).described(); err != nil {
			refused = append(refused, name)
			t.Log(err)
		}
	}
	t.Logf("%d of %d descriptions are understood", len(entries)-len(refused), len(entries))
	if len(refused) > len(entries)/4 {
		t.Errorf("refused: %v", refused)
	}
}
