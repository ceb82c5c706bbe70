package data

import (
	"context"
	"errors"

	"tune/internal/chat"
	"tune/internal/tokenizer"
)

// Options of Open.
type Options struct {
	Split     string // train, valid or test
	Seed      uint64 // decides the order of train
	Tokenizer *tokenizer.Tokenizer
	Template  *chat.Template // nil is an error only when a row is a conversation
	Cache     string         // folder of built-in data sets when Config.Cache is empty; empty: the user's cache folder
}

// Stream yields packs. One goroutine uses it at a time.
type Stream struct{}

var errUnbuilt = errors.New("data: not built yet")

// Open finds the files of a split and reads enough of them to know that they can be read. Close releases them.
func Open(c Config, o Options) (*Stream, error) { return nil, errUnbuilt }

// Close releases the files.
func (s *Stream) Close() error { return nil }

// Next returns the next pack, io.EOF at the end of an epoch. The call after that begins the next epoch, in another order.
// The pack belongs to the caller.
func (s *Stream) Next(ctx context.Context) (*Pack, error) { return nil, errUnbuilt }

// State is where the stream is: after the last pack that Next returned.
func (s *Stream) State() State { return State{} }

// Seek continues at a State of a stream with the same configuration, files, tokenizer and seed.
func (s *Stream) Seek(st State) error { return errUnbuilt }

// Stats counts what Next has gone through.
func (s *Stream) Stats() Stats { return Stats{} }

// Fingerprint identifies what is read: a hash of the files' contents and of the keys of Config that choose rows.
func (s *Stream) Fingerprint() (string, error) { return "", errUnbuilt }
