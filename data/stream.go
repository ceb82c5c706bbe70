package data

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"

	"tune/internal/chat"
	"tune/internal/hint"
	"tune/internal/tokenizer"
)

// Options of Open.
type Options struct {
	Split     string               // train, valid or test
	Seed      uint64               // decides the order of train
	Tokenizer *tokenizer.Tokenizer // nil: rows must be token ids
	Vocab     int                  // ids and labels of token rows lie below it; 0: the tokenizer's
	Template  *chat.Template       // nil is an error only when a row is a conversation
	Pairs     bool                 // rows of preference give both answers, and rows judged bad are kept; else good answers alone
	Columns   bool                 // rows of no known format are read too; only Convert to columns can use them
	Cache     string               // folder of built-in data sets when Config.Cache is empty; empty: the user's cache folder
	Report    func(text string)    // told of long steps, when it is set: downloads
}

// Stream yields packs. One goroutine uses it at a time.
//
// Rows are read in windows of up to windowTokens tokens and windowRows rows. A window of a shuffled stream is permuted as
// a whole, so a data set that fits in one is permuted completely. Larger ones, where they are local, are tokenized into a cache
// first and drawn from it one by one in an exact permutation; of remote ones, and with order: windows, the blocks (row groups,
// record batches, ranges of 4 MiB of lines) are permuted as well as the windows. Packs are made within a window. So the place in
// a stream is the begin of a window and a count of packs, whatever the size of the data.
type Stream struct {
	config  Config
	options Options
	places  places
	sources []*source
	caches  []*source // of tokens, that the loader draws from
	encoder encoder

	loader  *loader
	window  *window // the one that packs are taken from
	packs   int     // taken from it
	start   State   // where the next window begins, when there is no window
	stats   Stats
	pending chan *window // the next window, being read ahead
	cancel  context.CancelFunc
}

// Open finds the files of a split and reads enough of them to know that they can be read. Close releases them.
func Open(c Config, o Options) (_ *Stream, err error) {
	if ps := c.Validate(); len(ps) > 0 {
		return nil, fmt.Errorf("data.%s: %s", ps[0].Path, ps[0].Message)
	}
	if !slices.Contains(splits, o.Split) {
		return nil, fmt.Errorf("data: expected split train, valid or test, found %q", o.Split)
	}
	list := c.sources(o.Split)
	if len(list) == 0 {
		return nil, hint.Errorf("set data."+o.Split, "data: no %s sources", o.Split)
	}
	s := &Stream{config: c, options: o}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	s.places = places{cache: cmp.Or(c.Cache, o.Cache), split: o.Split, report: o.Report, columns: o.Columns}
	if o.Split == "valid" && len(c.Valid) == 0 { // a share of the train rows
		s.places.split = "train"
	}
	blocks := 0
	for i, src := range list {
		opened, err := openSource(src, i, c, &s.places, o.Split)
		if err != nil {
			return nil, err
		}
		s.sources = append(s.sources, opened)
		blocks += len(opened.blocks)
	}
	if blocks == 0 {
		return nil, fmt.Errorf("data: %s: expected rows, found empty files", o.Split)
	}
	if s.encoder, err = newEncoder(o, c); err != nil {
		return nil, err
	}
	if c.Dedup != "" && c.Dedup != "none" {
		if err := s.dedupe(context.Background()); err != nil {
			return nil, err
		}
	}
	s.loader = newLoader(s)
	if c.TokenCache {
		if err := s.loader.cache(context.Background(), func(*source) bool { return true }); err != nil {
			return nil, err
		}
	}
	s.stats.Seq = c.Seq
	return s, nil
}

// shuffled says whether rows are drawn in random order; only train ever is.
func (s *Stream) shuffled() bool { return s.config.Order != "file" && s.options.Split == "train" }

func (s *Stream) report(format string, args ...any) {
	if s.options.Report != nil {
		s.options.Report(fmt.Sprintf(format, args...))
	}
}

// Close releases the files.
func (s *Stream) Close() error {
	s.places.close()
	s.stop()
	for _, o := range slices.Concat(s.sources, s.caches) {
		o.close()
	}
	return nil
}

// stop ends reading ahead.
func (s *Stream) stop() {
	if s.pending != nil {
		s.cancel()
		<-s.pending
		s.pending = nil
	}
	if s.loader != nil {
		s.loader.close()
	}
}

// Next returns the next pack, io.EOF at the end of an epoch. The call after that begins the next epoch, in another order.
// The pack belongs to the caller.
func (s *Stream) Next(ctx context.Context) (*Pack, error) {
	for {
		if s.window == nil {
			w, err := s.take(ctx)
			if err != nil {
				return nil, err
			}
			s.window, s.packs = w, 0
			if s.start.Packs > 0 { // sought into the window
				if s.start.Packs > len(w.packs) {
					return nil, hint.Errorf("the data or its settings have changed since the state was saved",
						"data: expected at most %d packs in window %d, found %d", len(w.packs), w.start.Window, s.start.Packs)
				}
				s.packs = s.start.Packs
			}
			s.stats.add(w.stats)
		}
		w := s.window
		if s.packs < len(w.packs) {
			p := w.pack(s.packs)
			s.packs++
			s.stats.Packs++
			s.stats.Examples += p.Docs
			s.stats.Tokens += len(p.IDs)
			s.stats.Supervised += p.Supervised
			return p, nil
		}
		s.window, s.packs, s.start = nil, 0, w.next
		if w.last {
			if w.start.Window == 0 && len(w.packs) == 0 {
				return nil, s.empty()
			}
			return nil, io.EOF
		}
	}
}

func (s *Stream) empty() error {
	return fmt.Errorf("data: %s: expected rows to train on, found none (%d read, %d dropped, %d empty)",
		s.options.Split, s.stats.Rows, s.stats.Dropped+s.stats.Untaught, s.stats.Empty)
}

// take returns the next window, and has the one after it read ahead.
func (s *Stream) take(ctx context.Context) (*window, error) {
	var w *window
	if s.pending != nil {
		select {
		case w = <-s.pending:
			s.pending = nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	} else {
		if err := s.loader.seek(s.start); err != nil {
			return nil, err
		}
		w = s.loader.load(ctx)
	}
	if w.err != nil {
		s.loader.close()
		return nil, w.err
	}
	if !w.last {
		ahead, cancel := context.WithCancel(context.Background())
		s.cancel = cancel
		pending := make(chan *window, 1)
		s.pending = pending
		go func() { pending <- s.loader.load(ahead) }()
	}
	return w, nil
}

// State is where the stream is: after the last pack that Next returned.
func (s *Stream) State() State {
	if s.window == nil {
		st := s.start
		st.Places = slices.Clone(st.Places)
		return st
	}
	st := s.window.start
	st.Places, st.Packs = slices.Clone(st.Places), s.packs
	return st
}

// Seek continues at a State of a stream with the same configuration, files, tokenizer and seed.
func (s *Stream) Seek(st State) error {
	s.stop()
	s.window, s.packs = nil, 0
	s.stats = Stats{Seq: s.config.Seq}
	if st.Epoch < 0 || st.Window < 0 || st.Packs < 0 || len(st.Places) != 0 && len(st.Places) != len(s.sources) {
		return fmt.Errorf("data: expected a state of %d sources, found %d", len(s.sources), len(st.Places))
	}
	s.start = st
	s.start.Places = slices.Clone(st.Places)
	if st.Exact {
		if err := s.loader.cache(context.Background(), exactly); err != nil {
			return err
		}
	}
	return s.loader.seek(s.start)
}

// Stats counts what Next has gone through. Rows are counted when their window is read.
func (s *Stream) Stats() Stats {
	st := s.stats
	if s.window != nil {
		st.Waiting = len(s.window.packs) - s.packs
	}
	return st
}

func (s *Stats) add(o Stats) {
	s.Rows += o.Rows
	s.Filtered += o.Filtered
	s.Duplicates += o.Duplicates
	s.Truncated += o.Truncated
	s.Lost += o.Lost
	s.Dropped += o.Dropped
	s.Split += o.Split
	s.Empty += o.Empty
	s.Untaught += o.Untaught
	s.Unwanted += o.Unwanted
	s.Repaired += o.Repaired
}

// Fingerprint identifies what is read and in what order: a hash of the files' contents and of the keys of Config, but for
// paths. It does not depend on the folders that files lie in.
func (s *Stream) Fingerprint() (string, error) {
	h := sha256.New()
	if err := s.config.hash(h); err != nil {
		return "", err
	}
	for _, o := range s.sources {
		if err := o.hash(h); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// hash writes the keys that apply to all sources.
func (c Config) hash(w io.Writer) error {
	c.Train, c.Valid, c.Test, c.Cache, c.Padding = nil, nil, nil, "", ""
	return json.NewEncoder(w).Encode(c)
}

// hash writes the settings and the content of a source.
func (o *source) hash(w io.Writer) error {
	settings := o.Source
	settings.Path = ""
	if err := json.NewEncoder(w).Encode(settings); err != nil {
		return err
	}
	for i, p := range o.paths {
		if o.known[i] != "" {
			fmt.Fprintf(w, "%s %s\n", path.Base(p), o.known[i])
			continue
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		sum := sha256.New()
		_, err = io.Copy(sum, f)
		f.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		fmt.Fprintf(w, "%s %x\n", filepath.Base(p), sum.Sum(nil))
	}
	return nil
}

var errCanceled = errors.New("data: reading was canceled")
