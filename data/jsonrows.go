package data

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// jsonText marks a column whose strings are JSON texts: lists, objects, and columns of mixed types stay as they were
// written, because the order of keys reaches the prompt.
var jsonText = arrow.NewMetadata([]string{"tune.json"}, []string{"true"})

// jsonRows collects JSON objects and makes a record batch of them.
type jsonRows struct {
	keep    func(string) bool
	n       int
	names   []string
	columns map[string][]json.RawMessage // nil where a row has no such key
}

func (j *jsonRows) add(o object) error {
	if j.columns == nil {
		j.columns = map[string][]json.RawMessage{}
	}
	for i, k := range o.keys {
		if j.keep != nil && !j.keep(k) {
			continue
		}
		c, ok := j.columns[k]
		if !ok {
			j.names = append(j.names, k)
		}
		if len(c) > j.n {
			return fmt.Errorf("key %q occurs twice", k)
		}
		for len(c) < j.n {
			c = append(c, nil)
		}
		j.columns[k] = append(c, o.values[i])
	}
	j.n++
	return nil
}

// build makes the batch. A column of strings, integers, numbers or booleans alone gets that type.
func (j *jsonRows) build() arrow.RecordBatch {
	var fields []arrow.Field
	var arrays []arrow.Array
	for _, name := range j.names {
		c := j.columns[name]
		for len(c) < j.n {
			c = append(c, nil)
		}
		f, a := jsonColumn(name, c)
		fields, arrays = append(fields, f), append(arrays, a)
	}
	return array.NewRecordBatch(arrow.NewSchema(fields, nil), arrays, int64(j.n))
}

func isNull(v json.RawMessage) bool { return v == nil || bytes.Equal(v, []byte("null")) }

func jsonColumn(name string, values []json.RawMessage) (arrow.Field, arrow.Array) {
	f := arrow.Field{Name: name, Nullable: true}
	f.Type = jsonType(values)
	if f.Type == nil {
		f.Type, f.Metadata = arrow.BinaryTypes.String, jsonText
	}
	b := array.NewBuilder(memory.DefaultAllocator, f.Type)
	defer b.Release()
	for _, v := range values {
		switch b := b.(type) {
		case *array.StringBuilder:
			if f.Metadata.Len() > 0 && v != nil {
				b.Append(string(v))
				continue
			}
			if isNull(v) {
				b.AppendNull()
				continue
			}
			s, _ := jsonString(v) // jsonType has seen that these are strings and nulls
			b.BinaryBuilder.Append(s)
		case *array.BooleanBuilder:
			if isNull(v) {
				b.AppendNull()
			} else {
				b.Append(v[0] == 't')
			}
		case *array.Int64Builder:
			if x, err := strconv.ParseInt(string(v), 10, 64); err != nil {
				b.AppendNull()
			} else {
				b.Append(x)
			}
		case *array.Float64Builder:
			if x, err := strconv.ParseFloat(string(v), 64); err != nil {
				b.AppendNull()
			} else {
				b.Append(x)
			}
		}
	}
	return f, b.NewArray()
}

// jsonType is the one Arrow type that all values have, nil when there is none.
func jsonType(values []json.RawMessage) arrow.DataType {
	var typ arrow.DataType
	for _, v := range values {
		if isNull(v) {
			continue
		}
		var t arrow.DataType
		switch {
		case v[0] == '"':
			t = arrow.BinaryTypes.String
		case v[0] == 't', v[0] == 'f':
			t = arrow.FixedWidthTypes.Boolean
		case v[0] == '{', v[0] == '[':
			return nil
		default:
			t = arrow.PrimitiveTypes.Int64
			if _, err := strconv.ParseInt(string(v), 10, 64); err != nil {
				t = arrow.PrimitiveTypes.Float64
			}
			// integers and fractions in one column are numbers, as far as float64 holds them
			if typ == arrow.PrimitiveTypes.Float64 {
				t = typ
			} else if typ == arrow.PrimitiveTypes.Int64 {
				typ = t
			}
		}
		if typ != nil && typ != t {
			return nil
		}
		typ = t
	}
	if typ == nil {
		return arrow.BinaryTypes.String
	}
	return typ
}
