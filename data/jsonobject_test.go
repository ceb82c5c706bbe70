package data

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// FuzzSplitObject compares the cuts of an object with what encoding/json reads token by token.
func FuzzSplitObject(f *testing.F) {
	for _, s := range []string{`{}`, ` { "a" : 1 , "b":[{"c":"}"}, "\\"], "é\n":"\"" , "d" : null}`, `{"a":"\\\\\"","b":{}}`, `{"a":1`, `{"a":1} 2`, `[1]`, `"x"`, ``,
		`{"a":"\ud800","b":-1.5e3,"b":true}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		o, err := splitObject(text)
		dec := json.NewDecoder(bytes.NewReader(text))
		if !json.Valid(text) || !bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("{")) {
			if err == nil {
				t.Fatalf("%q: no error", text)
			}
			return
		}
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		dec.Token()
		for i := range o.keys {
			key, _ := dec.Token()
			var v json.RawMessage
			err := dec.Decode(&v)
			sameKey := key == o.keys[i] || !utf8.ValidString(o.keys[i]) // files are UTF-8 when they come here
			if err != nil || !sameKey || !bytes.Equal(v, o.values[i]) {
				t.Fatalf("%q: key %d: got %q: %q, want %q: %q, %v", text, i, o.keys[i], o.values[i], key, v, err)
			}
		}
		if dec.More() {
			t.Fatalf("%q: found %d keys, there are more", text, len(o.keys))
		}
	})
}
