package data

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"tune/internal/chat"
)

// row is one row of a batch.
type row struct {
	batch
	i int
}

// column returns the array of a column; ok is false when there is none or the row holds a null in it.
func (r row) column(name string) (a arrow.Array, json, ok bool) {
	for j := range r.Schema().NumFields() {
		if f := r.Schema().Field(j); f.Name == name {
			_, json := f.Metadata.GetValue("tune.json")
			a := r.Column(j)
			if a.IsNull(r.i) {
				return nil, false, false
			}
			if s, isString := a.(*array.String); json && isString && s.Value(r.i) == "null" {
				return nil, false, false
			}
			return a, json, true
		}
	}
	return nil, false, false
}

// text returns a string column. ok is false for null; a column of another type is an error.
func (r row) text(name string) (_ string, ok bool, err error) {
	defer guard("column "+name, &err)
	a, isJSON, ok := r.column(name)
	if !ok {
		return "", false, nil
	}
	s, isText := stringAt(a, r.i)
	if isJSON && isText {
		if err := json.Unmarshal([]byte(s), &s); err != nil {
			return "", false, fmt.Errorf("column %s: expected a string, found %.60s", name, s)
		}
	}
	if !isText {
		return "", false, fmt.Errorf("column %s: expected a string, found %s", name, a.DataType())
	}
	return s, true, nil
}

// value returns any column as chat.FromJSON gives it, so that keys keep their order. A string column that holds JSON text of
// a list or object is read as such, because data sets store tools that way.
func (r row) value(name string) (_ any, ok bool, _ error) {
	raw, ok, err := r.json(name)
	if !ok || err != nil {
		return nil, false, err
	}
	v, err := chat.FromJSON(raw)
	if err != nil {
		return nil, false, fmt.Errorf("column %s: %w", name, err)
	}
	if s, isText := v.(string); isText {
		if t := strings.TrimSpace(s); strings.HasPrefix(t, "[") || strings.HasPrefix(t, "{") {
			if v, err = chat.FromJSON([]byte(t)); err != nil {
				return nil, false, fmt.Errorf("column %s: %w", name, err)
			}
		}
	}
	return v, true, nil
}

// json returns any column as JSON.
func (r row) json(name string) (_ []byte, ok bool, err error) {
	defer guard("column "+name, &err)
	a, isJSON, ok := r.column(name)
	if !ok {
		return nil, false, nil
	}
	if s, isText := stringAt(a, r.i); isText && isJSON {
		return []byte(s), true, nil
	}
	b, err := appendJSON(nil, a, r.i)
	if err != nil {
		return nil, false, fmt.Errorf("column %s: %w", name, err)
	}
	return b, true, nil
}

// size is about how many bytes the row takes. It depends on the row alone, not on the batch that it is read in.
func (r row) size() (n int) {
	defer func() {
		if recover() != nil { // a damaged value is an error where it is read
			n = 0
		}
	}()
	for _, a := range r.Columns() {
		n += sizeOf(a, r.i, r.i+1)
	}
	return n
}

func sizeOf(a arrow.Array, from, to int) (n int) {
	const word = 8
	if from >= to {
		return 0
	}
	switch a := a.(type) {
	case array.BinaryLike: // texts too; they lie one behind another
		return int(a.ValueOffset64(to-1)-a.ValueOffset64(from)) + a.ValueLen(to-1)
	case array.ViewLike:
		for i := from; i < to; i++ {
			n += a.ValueHeader(i).Len()
		}
		return n
	case array.ListLike:
		begin, _ := a.ValueOffsets(from)
		_, end := a.ValueOffsets(to - 1)
		return sizeOf(a.ListValues(), int(begin), int(end))
	case *array.Struct:
		for j := range a.NumField() {
			n += sizeOf(a.Field(j), from, to)
		}
		return n
	}
	return word * (to - from)
}

// ints returns a column that is a list of integers.
func (r row) ints(name string) (_ []int32, ok bool, err error) {
	defer guard("column "+name, &err)
	if ids, ok := r.list(name); ok {
		return ids, true, nil
	}
	raw, ok, err := r.json(name)
	if !ok || err != nil {
		return nil, false, err
	}
	var text string
	if json.Unmarshal(raw, &text) == nil { // JSON text in a string, as CSV has it
		raw = []byte(text)
	}
	var xs []int64
	if err := json.Unmarshal(raw, &xs); err != nil {
		return nil, false, fmt.Errorf("column %s: expected a list of integers, found %.60s", name, raw)
	}
	ids := make([]int32, len(xs))
	for i, x := range xs {
		if x < math.MinInt32 || x > math.MaxInt32 {
			return nil, false, fmt.Errorf("column %s: position %d: expected a token id, found %d", name, i, x)
		}
		ids[i] = int32(x)
	}
	return ids, true, nil
}

// list copies a column of lists of int32; ok is false for null and other columns.
func (r row) list(name string) (_ []int32, ok bool) {
	a, _, ok := r.column(name)
	if !ok {
		return nil, false
	}
	l, ok := a.(*array.List)
	if !ok {
		return nil, false
	}
	values, ok := l.ListValues().(*array.Int32)
	from, to := l.ValueOffsets(r.i)
	if !ok || values.NullN() > 0 || from < 0 || to < from || to > int64(values.Len()) {
		return nil, false
	}
	return append([]int32{}, values.Int32Values()[from:to]...), true
}

// plain is the column as text for where clauses: strings as they are, everything else as JSON.
func (r row) plain(name string) (_ string, err error) {
	defer guard("column "+name, &err)
	a, isJSON, ok := r.column(name)
	if !ok {
		return "", nil
	}
	if s, isText := stringAt(a, r.i); isText && !isJSON {
		return s, nil
	}
	b, _, err := r.json(name)
	return string(b), err
}

// stringAt copies a string out of an array, because arrays may lie in a mapped file.
func stringAt(a arrow.Array, i int) (string, bool) {
	switch a := a.(type) {
	case *array.String:
		return strings.Clone(a.Value(i)), true
	case *array.LargeString:
		return strings.Clone(a.Value(i)), true
	case *array.StringView:
		return strings.Clone(a.Value(i)), true
	case *array.Binary:
		return string(a.Value(i)), utf8.Valid(a.Value(i))
	case *array.LargeBinary:
		return string(a.Value(i)), utf8.Valid(a.Value(i))
	case *array.Dictionary:
		return stringAt(a.Dictionary(), a.GetValueIndex(i))
	}
	return "", false
}

// appendJSON writes the value at i. Fields of structs keep their order and null fields are left out, because a Parquet or
// Arrow struct has every field that any row has; maps with string keys become objects, others lists of pairs.
func appendJSON(dst []byte, a arrow.Array, i int) ([]byte, error) {
	if a.IsNull(i) {
		return append(dst, "null"...), nil
	}
	if s, ok := stringAt(a, i); ok {
		return appendQuoted(dst, s)
	}
	switch a := a.(type) {
	case *array.Null:
		return append(dst, "null"...), nil
	case *array.Dictionary:
		return appendJSON(dst, a.Dictionary(), a.GetValueIndex(i))
	case *array.Struct:
		return appendStruct(dst, a, i)
	case *array.Map:
		return appendMap(dst, a, i)
	case array.ListLike:
		from, to := a.ValueOffsets(i)
		return appendList(dst, a.ListValues(), from, to)
	case *array.Boolean:
		return strconv.AppendBool(dst, a.Value(i)), nil
	case *array.Float32:
		return appendFloat(dst, float64(a.Value(i)), 32)
	case *array.Float64:
		return appendFloat(dst, a.Value(i), 64)
	case *array.Float16:
		return appendFloat(dst, float64(a.Value(i).Float32()), 32)
	case *array.Date32:
		return appendQuoted(dst, a.Value(i).ToTime().Format(time.DateOnly))
	case *array.Timestamp:
		return appendQuoted(dst, timeOf(a.DataType().(*arrow.TimestampType).Unit, int64(a.Value(i))).UTC().Format("2006-01-02T15:04:05.999999999"))
	case *array.Binary:
		return append(hex.AppendEncode(append(dst, `{"hex":"`...), a.Value(i)), `"}`...), nil
	case *array.FixedSizeBinary:
		return append(hex.AppendEncode(append(dst, `{"hex":"`...), a.Value(i)), `"}`...), nil
	case *array.Int8, *array.Int16, *array.Int32, *array.Int64, *array.Uint8, *array.Uint16, *array.Uint32, *array.Uint64:
		return append(dst, a.ValueStr(i)...), nil
	}
	return appendQuoted(dst, a.ValueStr(i)) // decimals, times, intervals
}

// timeOf is the time so many units after 1970; every int64 has one.
func timeOf(unit arrow.TimeUnit, x int64) time.Time {
	switch unit {
	case arrow.Second:
		return time.Unix(x, 0)
	case arrow.Millisecond:
		return time.UnixMilli(x)
	case arrow.Microsecond:
		return time.UnixMicro(x)
	}
	return time.Unix(0, x)
}

func appendStruct(dst []byte, a *array.Struct, i int) ([]byte, error) {
	dst = append(dst, '{')
	first := true
	for j, f := range a.DataType().(*arrow.StructType).Fields() {
		if a.Field(j).IsNull(i) {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		var err error
		if dst, err = appendQuoted(dst, f.Name); err != nil {
			return nil, err
		}
		if dst, err = appendJSON(append(dst, ':'), a.Field(j), i); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

func appendMap(dst []byte, a *array.Map, i int) ([]byte, error) {
	from, to := a.ValueOffsets(i)
	_, object := a.Keys().(*array.String)
	open, between, end := byte('{'), byte(':'), byte('}')
	if !object {
		open, end = '[', ']'
	}
	dst = append(dst, open)
	for j := int(from); j < int(to); j++ {
		if j > int(from) {
			dst = append(dst, ',')
		}
		if !object {
			dst, between = append(dst, '['), ','
		}
		var err error
		if dst, err = appendJSON(dst, a.Keys(), j); err != nil {
			return nil, err
		}
		if dst, err = appendJSON(append(dst, between), a.Items(), j); err != nil {
			return nil, err
		}
		if !object {
			dst = append(dst, ']')
		}
	}
	return append(dst, end), nil
}

func appendList(dst []byte, a arrow.Array, from, to int64) ([]byte, error) {
	dst = append(dst, '[')
	for j := from; j < to; j++ {
		if j > from {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = appendJSON(dst, a, int(j)); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

func appendFloat(dst []byte, x float64, bits int) ([]byte, error) {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return appendQuoted(dst, strconv.FormatFloat(x, 'g', -1, bits))
	}
	return strconv.AppendFloat(dst, x, 'g', -1, bits), nil
}

// appendQuoted writes a JSON string. HTML characters stay as they are.
func appendQuoted(dst []byte, s string) ([]byte, error) {
	if !utf8.ValidString(s) {
		return nil, errNotUTF8
	}
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c < 0x20:
			dst = append(dst, `\u00`...)
			dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"'), nil
}
