// Package data turns files into packs of tokens to train on.
//
//	sources -> Arrow record batches -> rows -> conversations or text -> token ids with labels -> packs
//
// A source is a Parquet, JSON, JSON-lines, Arrow or text file (source.go); whatever its format, it is read as a stream of
// Arrow record batches in bounded memory. A table of formats (format.go) makes a conversation, a text or a list of tokens
// of each row. A conversation is rendered by the model's own chat template and tokenized (render.go); which tokens are
// supervised follows from the structure of what was rendered, never from searching for marker strings. Examples are drawn
// in file order or shuffled (order.go) and packed best-fit (pack.go): several documents share a pack, no token sees
// another document. A Stream yields the packs and can be cut at any place and continued to the same packs (stream.go).
//
// T is the number of tokens of a pack.
package data
