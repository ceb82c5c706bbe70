package data

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// object is the text of a JSON object, cut at its top level.
type object struct {
	keys     []string // in order
	values   []json.RawMessage
	repaired bool // the text held invalid UTF-8
}

// splitObject cuts an object; the values lie in text.
func splitObject(text []byte) (o object, err error) {
	if !json.Valid(text) {
		return object{}, brokenObject(text)
	}
	i := jsonSpace(text, 0)
	if text[i] != '{' {
		return object{}, notObject(text)
	}
	for i = jsonSpace(text, i+1); text[i] != '}'; i = jsonSpace(text, i) {
		if text[i] == ',' {
			i = jsonSpace(text, i+1)
		}
		from := i
		i = jsonEnd(text, i)
		key, err := jsonString(text[from:i])
		if err != nil {
			return object{}, err
		}
		from = jsonSpace(text, jsonSpace(text, i)+1) // behind the colon
		i = jsonEnd(text, from)
		o.keys, o.values = append(o.keys, string(key)), append(o.values, text[from:i:i])
	}
	return o, nil
}

func notObject(text []byte) error { return fmt.Errorf("expected a JSON object, found %.40q", text) }

// jsonSpace returns the first byte from i on that is no white space.
func jsonSpace(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\t' || text[i] == '\n' || text[i] == '\r') {
		i++
	}
	return i
}

// jsonEnd returns the end of the value that begins at i of valid JSON.
func jsonEnd(text []byte, i int) int {
	for depth := 0; ; {
		switch text[i] {
		case '"':
			i = jsonQuoteEnd(text, i+1)
		case '{', '[':
			depth++
			i++
		case '}', ']':
			depth--
			i++
		default:
			i++
		}
		if depth == 0 && (i == len(text) || bytes.IndexByte([]byte(" \t\r\n,:]}"), text[i]) >= 0) {
			return i
		}
	}
}

// jsonQuoteEnd returns what follows the quote that ends a string in which i lies.
func jsonQuoteEnd(text []byte, i int) int {
	for {
		i += bytes.IndexByte(text[i:], '"')
		escapes := 0
		for text[i-1-escapes] == '\\' {
			escapes++
		}
		if i++; escapes%2 == 0 {
			return i
		}
	}
}

// jsonString returns what a JSON string means. It lies in quoted when nothing in that is escaped.
func jsonString(quoted []byte) ([]byte, error) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1], nil
	}
	var s string
	err := json.Unmarshal(quoted, &s)
	return []byte(s), err
}

// brokenObject says at which key a text ceases to be a JSON object.
func brokenObject(text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	if t, err := dec.Token(); err != nil {
		return err
	} else if t != json.Delim('{') {
		return notObject(text)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return fmt.Errorf("key %q: %w", key, err)
		}
	}
	if _, err := dec.Token(); err != nil {
		return err
	}
	if _, err := dec.Token(); err != nil && err != io.EOF {
		return err
	}
	return fmt.Errorf("expected one JSON object, found more after it")
}
