package data

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tune/internal/hub"
)

// Config says what is read and how it becomes packs. Default gives the values of keys that are not set.
type Config struct {
	// Train, Valid and Test are the sources of the three splits.
	Train Sources `yaml:"train" json:"train" jsonschema:"description=what to train on: a path or glob or builtin:licenses or an address hf:// https:// s3:// or a list of these"`
	Valid Sources `yaml:"valid,omitempty" json:"valid,omitempty" jsonschema:"description=what to validate on"`
	Test  Sources `yaml:"test,omitempty" json:"test,omitempty" jsonschema:"description=what to test on"`
	// ValidShare moves this share of the train rows, chosen by a hash of their content, to valid; only without Valid.
	ValidShare float64 `yaml:"valid_share,omitempty" json:"valid_share,omitempty" jsonschema:"minimum=0,maximum=0.5,description=share of train rows (chosen by hash) that become valid when valid is not given"`

	// ValidBy names a column: rows that agree in it go to the same side of ValidShare. Empty: rows are told apart by their content.
	ValidBy string `yaml:"valid_by,omitempty" json:"valid_by,omitempty" jsonschema:"description=column whose hash decides between train and valid; rows that agree in it stay together"`

	// Mix says how rows of several train sources are drawn, and Until when an epoch of drawing by weights or temperature ends.
	Mix         string  `yaml:"mix,omitempty" json:"mix,omitempty" jsonschema:"enum=passes,enum=weights,enum=temperature,description=passes: a source's weight is the number of passes over it in an epoch; weights: its share of the rows drawn; temperature: its share is weight * rows^(1/temperature)"`
	Temperature float64 `yaml:"temperature,omitempty" json:"temperature,omitempty" jsonschema:"minimum=0,description=of mix: temperature; 1 follows the sizes and more evens them out"`
	Until       string  `yaml:"until,omitempty" json:"until,omitempty" jsonschema:"enum=all,enum=first,description=an epoch of mix: weights or temperature ends when all sources were read through (small ones several times) or when the first one was"`

	// Filter is for sources that have none of their own.
	Filter     string  `yaml:"filter,omitempty" json:"filter,omitempty" jsonschema:"description=rows to keep: an expression over columns such as chars(text) > 200 && script(text) == 'Latin'"`
	Dedup      string  `yaml:"dedup,omitempty" json:"dedup,omitempty" jsonschema:"enum=none,enum=exact,enum=minhash,description=rows to drop: equal to an earlier one or as similar as similarity says"`
	Similarity float64 `yaml:"similarity,omitempty" json:"similarity,omitempty" jsonschema:"minimum=0.5,maximum=1,description=of dedup: minhash: share of common five-word pieces from which rows count as copies"`

	Format  string            `yaml:"format,omitempty" json:"format,omitempty" jsonschema:"enum=auto,enum=messages,enum=prompt/completion,enum=sharegpt,enum=alpaca,enum=preference,enum=kto,enum=text,enum=tokens,description=what a row holds; auto looks at the columns"`
	Columns map[string]string `yaml:"columns,omitempty" json:"columns,omitempty" jsonschema:"description=names of the columns where they differ from the usual ones such as prompt: question"`

	Seq     int  `yaml:"seq" json:"seq" jsonschema:"minimum=2,description=longest pack in tokens"`
	Packing bool `yaml:"packing" json:"packing" jsonschema:"description=several rows in one pack; they do not see each other"`
	// Padding is none, which the empty string means too: a row stays as long as it is. The key is for recipes that wish to say it.
	Padding    string `yaml:"padding,omitempty" json:"padding,omitempty" jsonschema:"enum=none,description=none: packs and unpacked rows are as long as they are; there is no other"`
	Order      string `yaml:"order" json:"order" jsonschema:"enum=file,enum=shuffled,enum=windows,description=order of train: as in the files; or an exact permutation (tokens of local data that exceeds one window are written to the cache first); or blocks and windows at random with nothing written; valid and test are always read in file order"`
	Overlength string `yaml:"overlength" json:"overlength" jsonschema:"enum=error,enum=truncate,enum=drop,enum=split,description=what to do with a row longer than seq"`
	Loss       string `yaml:"loss" json:"loss" jsonschema:"enum=assistant,enum=last,enum=all,description=which turns of a conversation are supervised: all of the assistant's or its last one or everything; text is always supervised whole; train: false or true in a message overrides it"`
	// LossParts are the parts of the assistant's turns that are supervised; empty: all.
	LossParts []string `yaml:"loss_parts,omitempty" json:"loss_parts,omitempty" jsonschema:"description=parts of the assistant's turns that are supervised: content and reasoning and tool_calls (all when empty)"`
	// Unsupervised says what becomes of a row in which nothing is supervised.
	Unsupervised string `yaml:"unsupervised,omitempty" json:"unsupervised,omitempty" jsonschema:"enum=error,enum=drop,description=what to do with a row without a supervised token"`
	// Documents says what is one document of a .txt file: the file, or each block between blank lines, or each line.
	Documents string `yaml:"documents,omitempty" json:"documents,omitempty" jsonschema:"enum=file,enum=blocks,enum=lines,description=what is one document of a .txt file"`
	// UTF8 says what happens to bytes that are not UTF-8: an error, or U+FFFD in their place, which is counted.
	UTF8 string `yaml:"utf8,omitempty" json:"utf8,omitempty" jsonschema:"enum=error,enum=replace,description=bytes that are not UTF-8: an error or U+FFFD in their place"`
	// Date is the day that chat templates see as today. It is not the clock's, so that a run gives the same tokens on any day.
	Date string `yaml:"date,omitempty" json:"date,omitempty" jsonschema:"description=the day (2006-01-02) that chat templates print as today"`
	// TokenCache keeps the tokens of every source in a file, which later epochs and runs map instead of tokenizing again.
	TokenCache bool `yaml:"token_cache,omitempty" json:"token_cache,omitempty" jsonschema:"description=keep tokens in a file that later epochs and runs read instead of tokenizing again"`
	// Cache is the folder of built-in data sets and token caches; empty: the user's cache folder.
	Cache string `yaml:"cache,omitempty" json:"cache,omitempty" jsonschema:"description=folder for built-in data sets and token caches (the user's cache folder when empty)"`
}

// Source is one entry of a split.
type Source struct {
	Path    string            `yaml:"path" json:"path" jsonschema:"description=a file or glob or folder or builtin:licenses or an address hf://datasets/org/name or https:// or s3://"`
	Format  string            `yaml:"format,omitempty" json:"format,omitempty"`   // as Config.Format, for this source alone
	Columns map[string]string `yaml:"columns,omitempty" json:"columns,omitempty"` // as Config.Columns
	Where   string            `yaml:"where,omitempty" json:"where,omitempty" jsonschema:"description=rows to keep such as split=train or lang!=de; several are joined by commas"`
	Filter  string            `yaml:"filter,omitempty" json:"filter,omitempty" jsonschema:"description=rows to keep: an expression over columns; see data.filter"`
	Weight  float64           `yaml:"weight,omitempty" json:"weight,omitempty" jsonschema:"minimum=0,description=passes over this source in one epoch (0.5 takes half of the rows), or what data.mix makes of it"`
	Limit   int               `yaml:"limit,omitempty" json:"limit,omitempty" jsonschema:"minimum=0,description=first rows to take; 0 for all"`
}

// Sources is a list of sources. In YAML and JSON it may also be written as one path or one source.
type Sources []Source

// Default is the configuration of a recipe that names no data.
func Default() Config {
	return Config{Format: "auto", Seq: 2048, Packing: true, Order: "shuffled", Overlength: "error", Loss: "assistant", Documents: "file",
		Mix: "passes", Temperature: 1, Until: "all", Dedup: "none", Similarity: 0.8, UTF8: "error", Date: "2024-07-26"}
}

// Problem is one thing wrong with a Config.
type Problem struct {
	Path    string // "train[0].where", relative to the Config
	Message string
}

var (
	orders      = []string{"file", "shuffled", "windows"}
	overlengths = []string{"error", "truncate", "drop", "split"}
	losses      = []string{"assistant", "last", "all"}
	lossParts   = []string{"content", "reasoning", "tool_calls"}
	documents   = []string{"file", "blocks", "lines"}
	utf8s       = []string{"error", "replace"}
	mixes       = []string{"passes", "weights", "temperature"}
	untils      = []string{"all", "first"}
	dedups      = []string{"none", "exact", "minhash"}
	splits      = []string{"train", "valid", "test"}
)

// Validate lists everything that is wrong with c itself; it does not look at files.
func (c Config) Validate() []Problem {
	var ps []Problem
	add := func(path, format string, args ...any) { ps = append(ps, Problem{path, fmt.Sprintf(format, args...)}) }
	oneOf := func(path, value string, allowed []string, empty bool) {
		if !slices.Contains(allowed, value) && (value != "" || !empty) {
			add(path, "expected %s, found %q", strings.Join(allowed, ", "), value)
		}
	}
	if len(c.Train)+len(c.Valid)+len(c.Test) == 0 {
		add("train", "expected a path, glob or builtin:licenses, found nothing")
	}
	for i, ss := range []Sources{c.Train, c.Valid, c.Test} {
		for j, s := range ss {
			at := fmt.Sprintf("%s[%d].", splits[i], j)
			if s.Path == "" {
				add(at+"path", "expected a path, found nothing")
			}
			if name, ok := strings.CutPrefix(s.Path, "builtin:"); ok && !slices.Contains(builtins, name) {
				add(at+"path", "expected builtin:%s, found %q", strings.Join(builtins, " or builtin:"), s.Path)
			}
			if strings.HasPrefix(s.Path, hub.Scheme) {
				if _, err := hub.Parse(s.Path); err != nil {
					add(at+"path", "%v", err)
				}
			}
			oneOf(at+"format", s.Format, formatNames, true)
			if _, err := parseWhere(s.Where); err != nil {
				add(at+"where", "%v", err)
			}
			if _, err := parseFilter(s.Filter); err != nil {
				add(at+"filter", "%v", err)
			}
			if !(s.Weight >= 0 && s.Weight <= 1000) {
				add(at+"weight", "expected 0 to 1000 passes, found %v", s.Weight)
			}
			if s.Limit < 0 {
				add(at+"limit", "expected rows, found %d", s.Limit)
			}
			validColumns(s.Columns, func(key string) { add(at+"columns."+key, "expected one of %s", strings.Join(columnKeys, ", ")) })
		}
	}
	validColumns(c.Columns, func(key string) { add("columns."+key, "expected one of %s", strings.Join(columnKeys, ", ")) })
	oneOf("format", c.Format, formatNames, true)
	oneOf("order", c.Order, orders, false)
	if c.Padding != "" && c.Padding != "none" {
		add("padding", "expected none, found %q: rows stand one after another in one sequence and do not see each other, so that none needs to be filled up", c.Padding)
	}
	oneOf("overlength", c.Overlength, overlengths, false)
	c.validLoss(oneOf)
	oneOf("documents", c.Documents, documents, true)
	oneOf("utf8", c.UTF8, utf8s, true)
	oneOf("mix", c.Mix, mixes, true)
	oneOf("until", c.Until, untils, true)
	oneOf("dedup", c.Dedup, dedups, true)
	if _, err := parseFilter(c.Filter); err != nil {
		add("filter", "%v", err)
	}
	if c.Mix == "temperature" && !(c.Temperature > 0) {
		add("temperature", "expected more than 0, found %v", c.Temperature)
	}
	if c.Dedup == "minhash" && !(c.Similarity >= 0.5 && c.Similarity <= 1) {
		add("similarity", "expected 0.5 to 1, found %v", c.Similarity)
	}
	if c.ValidBy != "" && c.ValidShare == 0 {
		add("valid_by", "expected valid_share above 0 with it")
	}
	if _, err := time.Parse(time.DateOnly, c.Date); err != nil && c.Date != "" {
		add("date", "expected a day such as 2024-07-26, found %q", c.Date)
	}
	if c.Seq < 2 {
		add("seq", "expected at least 2 tokens, found %d", c.Seq)
	}
	switch {
	case !(c.ValidShare >= 0 && c.ValidShare <= 0.5):
		add("valid_share", "expected 0 to 0.5, found %v", c.ValidShare)
	case c.ValidShare > 0 && len(c.Valid) > 0:
		add("valid_share", "expected no share when valid names its own sources")
	}
	return ps
}

// validLoss checks the keys that say what is supervised.
func (c Config) validLoss(oneOf func(path, value string, allowed []string, empty bool)) {
	oneOf("loss", c.Loss, losses, false)
	for i, part := range c.LossParts {
		oneOf(fmt.Sprintf("loss_parts[%d]", i), part, lossParts, false)
	}
	oneOf("unsupervised", c.Unsupervised, []string{"error", "drop"}, true)
}

func validColumns(columns map[string]string, bad func(key string)) {
	var keys []string
	for k := range columns {
		if !slices.Contains(columnKeys, k) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		bad(k)
	}
}

// Splits are the splits that have rows, in the order train, valid, test.
func (c Config) Splits() (list []string) {
	for _, split := range splits {
		if len(c.sources(split)) > 0 {
			list = append(list, split)
		}
	}
	return list
}

// sources returns the sources of a split, with the settings they take from the Config.
func (c Config) sources(split string) Sources {
	var ss Sources
	switch split {
	case "train":
		ss = c.Train
	case "valid":
		ss = c.Valid
		if len(ss) == 0 && c.ValidShare > 0 {
			ss = c.Train
		}
	case "test":
		ss = c.Test
	}
	out := slices.Clone(ss)
	for i := range out {
		s := &out[i]
		if s.Format == "" {
			s.Format = c.Format
		}
		if s.Format == "" {
			s.Format = "auto"
		}
		if s.Columns == nil {
			s.Columns = c.Columns
		}
		if s.Filter == "" {
			s.Filter = c.Filter
		}
		if s.Weight == 0 || split != "train" {
			s.Weight = 1
		}
	}
	return out
}

// condition is one comparison of a where clause.
type condition struct {
	column, value string
	not           bool
}

// parseWhere reads "a=b,c!=d".
func parseWhere(where string) ([]condition, error) {
	var cs []condition
	for part := range strings.SplitSeq(where, ",") {
		if strings.TrimSpace(where) == "" {
			break
		}
		column, value, ok := strings.Cut(part, "=")
		column, not := strings.CutSuffix(strings.TrimSpace(column), "!")
		column = strings.TrimSpace(column)
		if !ok || column == "" {
			return nil, fmt.Errorf("expected column=value or column!=value, found %q", part)
		}
		cs = append(cs, condition{column, strings.TrimSpace(value), not})
	}
	return cs, nil
}
