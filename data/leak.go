package data

import (
	"fmt"
	"strings"
)

// HeldOut are the rows of splits that train must not have. Check of those splits fills it and Check of train compares with it,
// so that what it keeps, about a kilobyte per row, grows with the held-out data alone.
type HeldOut struct {
	near  *minHash
	rows  []heldRow
	equal map[uint64][]int32 // by footprint
	bands map[uint64][]int32 // by hash of a band of the signature
}

// heldRow is a row of a held-out split.
type heldRow struct {
	split, key string
	signature  *[hashes]byte // nil of a row without text
	twin       string        // the row of train that it equals or is like; "" as long as none is known
	equal      bool
}

// NewHeldOut makes an empty one. Rows are alike from a similarity on: the share of common five-word pieces.
func NewHeldOut(similarity float64) *HeldOut {
	return &HeldOut{near: newMinHash(similarity), equal: map[uint64][]int32{}, bands: map[uint64][]int32{}}
}

// add remembers a row of a held-out split.
func (h *HeldOut) add(split, key string, footprint uint64, s *signature) {
	i := int32(len(h.rows))
	row := heldRow{split: split, key: key}
	h.equal[footprint] = append(h.equal[footprint], i)
	if s != nil {
		row.signature = s.short()
		for _, k := range s.bands() {
			h.bands[k] = append(h.bands[k], i)
		}
	}
	h.rows = append(h.rows, row)
}

// compare looks for a row of train.
func (h *HeldOut) compare(key string, footprint uint64, s *signature) {
	for _, i := range h.equal[footprint] {
		if r := &h.rows[i]; !r.equal {
			r.twin, r.equal = key, true
		}
	}
	if s == nil {
		return
	}
	short := s.short()
	for _, k := range s.bands() {
		for _, i := range h.bands[k] {
			if r := &h.rows[i]; r.twin == "" && similarity(short, r.signature) >= h.near.limit {
				r.twin = key
			}
		}
	}
}

// Findings says how many rows of a split train has too, and how many it has nearly.
func (h *HeldOut) Findings(split string) (list []Finding) {
	rows := 0
	for _, k := range kinds {
		if k.name != "leak" && k.name != "near-leak" {
			continue
		}
		f := Finding{Name: k.name, Error: k.error, Split: split, Message: k.message, Hint: k.hint}
		rows = 0
		for _, r := range h.rows {
			if r.split != split {
				continue
			}
			rows++
			if r.twin == "" || r.equal != (k.name == "leak") {
				continue
			}
			if f.Rows++; f.Rows == 1 {
				f.Key, f.Message = r.key, fmt.Sprintf("%s: %s", f.Message, r.twin)
			}
		}
		if f.Of = rows; f.Rows > 0 {
			list = append(list, f)
		}
	}
	return list
}

// sketch is the signature of what a row says; nil when that is not text. System messages are left out, as rows share them.
func (m *minHash) sketch(it item) *signature {
	var texts []string
	switch {
	case it.chat != nil:
		for _, msg := range it.chat.Messages {
			if msg.Role != "system" && msg.Role != "developer" {
				texts = append(texts, msg.Content, msg.Reasoning)
			}
		}
	case it.text != nil:
		texts = []string{*it.text}
	}
	if strings.TrimSpace(strings.Join(texts, "")) == "" {
		return nil
	}
	return m.prepare(texts).(*signature)
}
