package data

import (
	"bufio"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"

	"tune/internal/chat"
	"tune/internal/hint"
)

// ColumnKind is how a column is stored in a file with types.
type ColumnKind uint8

const (
	kindNone   ColumnKind = iota // only nulls so far
	kindBool                     // bool
	kindInt                      // int64
	kindFloat                    // float64
	kindString                   // string
	kindInts                     // list of int64
	kindFloats                   // list of float64
	kindTexts                    // list of strings
	kindTurns                    // list of {role, content}
	kindJSON                     // anything else, as JSON text
)

// goTypes are what a value of a column is written as; pointers are null or not.
var goTypes = map[ColumnKind]reflect.Type{
	kindNone: reflect.TypeFor[*string](), kindBool: reflect.TypeFor[*bool](), kindInt: reflect.TypeFor[*int64](), kindFloat: reflect.TypeFor[*float64](),
	kindString: reflect.TypeFor[*string](), kindInts: reflect.TypeFor[[]int64](), kindFloats: reflect.TypeFor[[]float64](), kindTexts: reflect.TypeFor[[]string](),
	kindTurns: reflect.TypeFor[[]writtenTurn](), kindJSON: reflect.TypeFor[*string](),
}

type writtenTurn struct {
	Role    string `parquet:"role"`
	Content string `parquet:"content"`
}

// Columns is what is known of rows before they are written with types.
type Columns struct {
	names []string
	kinds map[string]ColumnKind
}

// See takes a row into account.
func (c *Columns) See(row *chat.Dict) {
	if c.kinds == nil {
		c.kinds = map[string]ColumnKind{}
	}
	for _, name := range row.Keys() {
		old, known := c.kinds[name]
		if !known {
			c.names = append(c.names, name)
		}
		v, _ := row.Get(name)
		c.kinds[name] = joinKinds(old, kindOf(v))
	}
}

// AsText lists the columns that are stored as JSON text because their rows differ in shape.
func (c *Columns) AsText() (list []string) {
	for _, name := range c.names {
		if c.kinds[name] == kindJSON {
			list = append(list, name)
		}
	}
	return list
}

func joinKinds(a, b ColumnKind) ColumnKind {
	numbers := func(x, y ColumnKind) bool { return x == kindInt && y == kindFloat || x == kindInts && y == kindFloats }
	switch {
	case a == b || b == kindNone:
		return a
	case a == kindNone:
		return b
	case numbers(a, b):
		return b
	case numbers(b, a):
		return a
	}
	return kindJSON
}

func kindOf(v any) ColumnKind {
	switch v := v.(type) {
	case nil:
		return kindNone
	case bool:
		return kindBool
	case int64:
		return kindInt
	case float64:
		return kindFloat
	case string:
		return kindString
	case []any:
		kind := kindNone
		for _, x := range v {
			k := kindJSON
			switch x := x.(type) {
			case int64:
				k = kindInts
			case float64:
				k = kindFloats
			case string:
				k = kindTexts
			case *chat.Dict:
				if isPlainMessage(x) {
					k = kindTurns
				}
			}
			kind = joinKinds(kind, k)
		}
		return kind
	}
	return kindJSON
}

func isPlainMessage(d *chat.Dict) bool {
	role, _ := d.Get("role")
	content, _ := d.Get("content")
	_, isRole := role.(string)
	_, isContent := content.(string)
	return isRole && isContent && d.Len() == 2
}

// value returns what is written for v in a column of a kind: a value of goTypes[kind].
func (k ColumnKind) value(v any) (reflect.Value, error) {
	t := goTypes[k]
	if v == nil {
		return reflect.Zero(t), nil
	}
	switch k {
	case kindJSON, kindNone:
		text, err := appendValue(nil, v)
		s := string(text)
		return reflect.ValueOf(&s), err
	case kindFloat:
		x := reflect.New(t.Elem())
		x.Elem().SetFloat(toFloat(v))
		return x, nil
	case kindBool, kindInt, kindString:
		x := reflect.New(t.Elem())
		x.Elem().Set(reflect.ValueOf(v))
		return x, nil
	}
	list := reflect.MakeSlice(t, 0, len(v.([]any)))
	for _, x := range v.([]any) {
		switch k {
		case kindFloats:
			x = toFloat(x)
		case kindTurns:
			role, _ := x.(*chat.Dict).Get("role")
			content, _ := x.(*chat.Dict).Get("content")
			x = writtenTurn{role.(string), content.(string)}
		}
		list = reflect.Append(list, reflect.ValueOf(x))
	}
	return list, nil
}

func toFloat(v any) float64 {
	if n, ok := v.(int64); ok {
		return float64(n)
	}
	return v.(float64)
}

// A RowWriter writes rows to a file; Close finishes it but leaves what it writes to open.
type RowWriter struct {
	Write func(row *chat.Dict) error
	Close func() error
}

// Typed says whether files of that name have columns of fixed types, so that Columns must have seen all rows before.
func Typed(name string) bool {
	ext := filepath.Ext(name)
	return ext == ".parquet" || ext == ".arrow"
}

// NewRowWriter writes a file of the kind that its name says: .jsonl, .jsonl.zst, .parquet or .arrow.
func NewRowWriter(name string, w io.Writer, c *Columns) (*RowWriter, error) {
	switch {
	case strings.HasSuffix(name, ".jsonl"):
		return lineWriter(w, func() error { return nil }), nil
	case strings.HasSuffix(name, ".jsonl.zst"):
		z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return lineWriter(z, z.Close), nil
	case strings.HasSuffix(name, ".parquet"):
		return parquetWriter(w, c)
	case strings.HasSuffix(name, ".arrow"):
		return arrowWriter(w, c)
	}
	return nil, hint.Errorf("the ending of the name says what is written", "%s: expected a name that ends in .jsonl, .jsonl.zst, .parquet or .arrow", name)
}

func lineWriter(w io.Writer, end func() error) *RowWriter {
	b := bufio.NewWriterSize(w, 1<<16)
	var line []byte
	return &RowWriter{
		Write: func(row *chat.Dict) (err error) {
			if line, err = appendValue(line[:0], row); err != nil {
				return err
			}
			_, err = b.Write(append(line, '\n'))
			return err
		},
		Close: func() error {
			if err := b.Flush(); err != nil {
				return err
			}
			return end()
		},
	}
}

// Rows in a row group and in a record batch.
const (
	groupRows = 1 << 16
	writeRows = 1 << 12
)

func parquetWriter(w io.Writer, c *Columns) (*RowWriter, error) {
	var fields []reflect.StructField
	for i, name := range c.names {
		if strings.ContainsAny(name, ",\"\\`") || name == "" || name == "-" {
			return nil, fmt.Errorf("column %q: expected a name without commas and quotes", name)
		}
		tag := ",optional"
		if goTypes[c.kinds[name]].Kind() == reflect.Slice {
			tag = ",optional,list"
		}
		fields = append(fields, reflect.StructField{Name: fmt.Sprintf("F%d", i), Type: goTypes[c.kinds[name]], Tag: reflect.StructTag(`parquet:"` + name + tag + `"`)})
	}
	t := reflect.StructOf(fields)
	p := parquet.NewWriter(w, parquet.SchemaOf(reflect.New(t).Interface()), parquet.Compression(&parquet.Zstd), parquet.MaxRowsPerRowGroup(groupRows),
		parquet.CreatedBy("tune", "1", ""))
	return &RowWriter{
		Write: func(row *chat.Dict) error {
			x := reflect.New(t)
			for i, name := range c.names {
				v, _ := row.Get(name)
				y, err := c.kinds[name].value(v)
				if err != nil {
					return fmt.Errorf("column %s: %w", name, err)
				}
				x.Elem().Field(i).Set(y)
			}
			return p.Write(x.Interface())
		},
		Close: p.Close,
	}, nil
}

var turnType = arrow.StructOf(arrow.Field{Name: "role", Type: arrow.BinaryTypes.String}, arrow.Field{Name: "content", Type: arrow.BinaryTypes.String})

var arrowTypes = map[ColumnKind]arrow.DataType{
	kindNone: arrow.BinaryTypes.String, kindBool: arrow.FixedWidthTypes.Boolean, kindInt: arrow.PrimitiveTypes.Int64, kindFloat: arrow.PrimitiveTypes.Float64,
	kindString: arrow.BinaryTypes.String, kindInts: arrow.ListOf(arrow.PrimitiveTypes.Int64), kindFloats: arrow.ListOf(arrow.PrimitiveTypes.Float64),
	kindTexts: arrow.ListOf(arrow.BinaryTypes.String), kindTurns: arrow.ListOf(turnType), kindJSON: arrow.BinaryTypes.String,
}

func arrowWriter(w io.Writer, c *Columns) (*RowWriter, error) {
	var fields []arrow.Field
	for _, name := range c.names {
		fields = append(fields, arrow.Field{Name: name, Type: arrowTypes[c.kinds[name]], Nullable: true})
	}
	schema := arrow.NewSchema(fields, nil)
	f, err := ipc.NewFileWriter(w, ipc.WithSchema(schema), ipc.WithAllocator(memory.DefaultAllocator))
	if err != nil {
		return nil, err
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	rows := 0
	flush := func() error {
		rows = 0
		batch := b.NewRecordBatch()
		defer batch.Release()
		return f.Write(batch)
	}
	return &RowWriter{
		Write: func(row *chat.Dict) error {
			for i, name := range c.names {
				v, _ := row.Get(name)
				x, err := c.kinds[name].value(v)
				if err != nil {
					return fmt.Errorf("column %s: %w", name, err)
				}
				appendArrow(b.Field(i), x)
			}
			if rows++; rows == writeRows {
				return flush()
			}
			return nil
		},
		Close: func() error {
			if rows > 0 {
				if err := flush(); err != nil {
					return err
				}
			}
			return f.Close()
		},
	}, nil
}

// appendArrow appends a value of goTypes.
func appendArrow(b array.Builder, x reflect.Value) {
	if (x.Kind() == reflect.Pointer || x.Kind() == reflect.Slice) && x.IsNil() {
		b.AppendNull()
		return
	}
	switch b := b.(type) {
	case *array.BooleanBuilder:
		b.Append(reflect.Indirect(x).Bool())
	case *array.Int64Builder:
		b.Append(reflect.Indirect(x).Int())
	case *array.Float64Builder:
		b.Append(reflect.Indirect(x).Float())
	case *array.StringBuilder:
		b.Append(reflect.Indirect(x).String())
	case *array.ListBuilder:
		b.Append(true)
		for i := range x.Len() {
			appendArrow(b.ValueBuilder(), x.Index(i))
		}
	case *array.StructBuilder:
		b.Append(true)
		for i := range x.NumField() {
			appendArrow(b.FieldBuilder(i), x.Field(i))
		}
	}
}

// writable are the endings of names that NewRowWriter knows.
var writable = []string{".jsonl", ".jsonl.zst", ".parquet", ".arrow"}

// CanWrite says whether NewRowWriter knows the ending of a name.
func CanWrite(name string) bool {
	return slices.ContainsFunc(writable, func(end string) bool { return strings.HasSuffix(name, end) })
}
