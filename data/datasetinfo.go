package data

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// infoFile is how LLaMA-Factory names the file that describes its data sets; infoFile#name is an entry of it.
const infoFile = "dataset_info.json"

// infoEntry is one description: the file, its format, and the names of its columns and keys.
type infoEntry struct {
	File       string            `json:"file_name"`
	Hub        string            `json:"hf_hub_url"`
	Formatting string            `json:"formatting"`
	Ranking    bool              `json:"ranking"`
	Subset     string            `json:"subset"`
	Split      string            `json:"split"`
	Columns    map[string]string `json:"columns"`
	Tags       map[string]string `json:"tags"`
}

// infoColumns maps the keys of a description's columns to ours.
var infoColumns = map[string]string{"prompt": "instruction", "query": "input", "response": "output", "system": "system", "tools": "tools",
	"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "kto_tag": "kto_tag"}

// described replaces a source that names an entry of a description file by what the entry says. Settings that the source has
// stay.
func (s Source) described() (Source, error) {
	file, name, ok := strings.Cut(s.Path, "#")
	if !ok || filepath.Base(file) != infoFile {
		return s, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return s, fmt.Errorf("data: %w", err)
	}
	var entries map[string]infoEntry
	if err := json.Unmarshal(text, &entries); err != nil {
		return s, fmt.Errorf("%s: %w", file, err)
	}
	e, ok := entries[name]
	if !ok {
		names := slices.Sorted(maps.Keys(entries))
		return s, fmt.Errorf("%s: expected an entry of %s, found %q", file, strings.Join(names, ", "), name)
	}
	out, err := e.source(filepath.Dir(file))
	if err != nil {
		return s, fmt.Errorf("%s#%s: %w", file, name, err)
	}
	if s.Format != "auto" && s.Format != "" {
		out.Format = s.Format
	}
	for k, v := range s.Columns {
		out.Columns[k] = v
	}
	out.Where, out.Filter, out.Weight, out.Limit = s.Where, s.Filter, s.Weight, s.Limit
	return out, nil
}

func (e infoEntry) source(dir string) (Source, error) {
	s := Source{Columns: map[string]string{}}
	switch {
	case e.Hub != "":
		s.Path = "hf://datasets/" + e.Hub
		for _, part := range []string{e.Subset, e.Split} {
			if part != "" {
				s.Path += ":" + part
			}
		}
	case e.File != "":
		s.Path = filepath.Join(dir, filepath.FromSlash(e.File))
	default:
		return s, fmt.Errorf("expected file_name or hf_hub_url, found neither")
	}
	for key, column := range e.Columns {
		ours, ok := infoColumns[key]
		if !ok {
			return s, fmt.Errorf("columns: %s: expected one of %s", key, strings.Join(slices.Sorted(maps.Keys(infoColumns)), ", "))
		}
		s.Columns[ours] = column
	}
	for key, words := range map[string][]string{"role_tag": {"from", "role"}, "content_tag": {"value", "content"}} {
		if tag := e.Tags[key]; tag != "" && !slices.Contains(words, tag) {
			return s, fmt.Errorf("tags: %s: expected %s, found %q", key, strings.Join(words, " or "), tag)
		}
	}
	if messages, ok := s.Columns["conversations"]; ok {
		s.Columns["messages"] = messages
	}
	_, answer := e.Columns["response"]
	switch {
	case e.Columns["kto_tag"] != "":
		s.Format = "kto"
	case e.Ranking:
		s.Format = "preference"
	case e.Formatting == "sharegpt":
		s.Format = "sharegpt"
	case e.Columns["prompt"] != "" && !answer: // running text
		s.Format, s.Columns = "text", map[string]string{"text": e.Columns["prompt"]}
	case e.Formatting == "" || e.Formatting == "alpaca":
		s.Format = "alpaca"
	default:
		return s, fmt.Errorf("formatting: expected alpaca or sharegpt, found %q", e.Formatting)
	}
	return s, nil
}
