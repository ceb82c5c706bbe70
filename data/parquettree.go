package data

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"
)

// parquetNode is a column or a part of one, as Arrow sees it. Records are put together from definition and repetition
// levels as the Dremel paper describes (Melnik et al. 2010, "Finite State Machine" replaced by recursion).
type parquetNode struct {
	typ      arrow.DataType
	kind     nodeKind
	def      int // definition level from which on the value is not null
	inner    int // lists and maps: definition level from which on there is an element
	rep      int // lists and maps: repetition level of the elements after the first
	first    int // first and one past the last leaf below
	last     int
	children []*parquetNode // struct: fields; list: element; map: key and value
	append   func(array.Builder, parquet.Value)
}

type nodeKind uint8

const (
	leafNode nodeKind = iota
	structNode
	listNode
	mapNode
)

// maxDepth bounds the nesting of a schema.
const maxDepth = 64

// parquetLeaf reads the values of one column chunk in order.
type parquetLeaf struct {
	name    string
	column  int
	pages   parquet.Pages
	page    parquet.Page
	values  parquet.ValueReader
	buf     []parquet.Value
	i, n    int
	drained bool // the value reader of the page has returned io.EOF
}

// parquetTree describes a column. def and rep are the levels of its parent.
func parquetTree(c *parquet.Column, def, rep int, leaves *[]*parquetLeaf, depth int) (*parquetNode, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("expected at most %d levels of nesting", maxDepth)
	}
	if c.Repeated() { // a repeated field outside of a LIST group is a list without nulls
		e, err := parquetElement(c, def+1, rep+1, leaves, depth)
		if err != nil {
			return nil, err
		}
		return &parquetNode{typ: arrow.ListOf(e.typ), kind: listNode, def: def, inner: def + 1, rep: rep + 1,
			first: e.first, last: e.last, children: []*parquetNode{e}}, nil
	}
	if c.Optional() {
		def++
	}
	return parquetElement(c, def, rep, leaves, depth)
}

// parquetElement describes c as a single value that is present from definition level def on.
func parquetElement(c *parquet.Column, def, rep int, leaves *[]*parquetLeaf, depth int) (*parquetNode, error) {
	n := &parquetNode{def: def, first: len(*leaves)}
	if c.Leaf() {
		*leaves = append(*leaves, &parquetLeaf{name: c.Name(), column: c.Index()})
		n.last = n.first + 1
		n.typ, n.append = parquetScalar(c)
		return n, nil
	}
	children := c.Columns()
	isList, isMap := parquetIs(c)
	if len(children) == 1 && children[0].Repeated() && (isList || isMap) {
		inner := children[0]
		n.inner, n.rep = def+1, rep+1
		entry := inner.Columns()
		switch {
		case isMap && len(entry) == 2:
			n.kind = mapNode
			for _, e := range entry {
				child, err := parquetTree(e, n.inner, n.rep, leaves, depth+1)
				if err != nil {
					return nil, err
				}
				n.children = append(n.children, child)
			}
			n.typ = arrow.MapOf(n.children[0].typ, n.children[1].typ)
		default:
			n.kind = listNode
			var e *parquetNode
			var err error
			if legacyList(c.Name(), inner) {
				e, err = parquetElement(inner, n.inner, n.rep, leaves, depth+1)
			} else {
				e, err = parquetTree(entry[0], n.inner, n.rep, leaves, depth+1)
			}
			if err != nil {
				return nil, err
			}
			n.typ, n.children = arrow.ListOf(e.typ), []*parquetNode{e}
		}
		n.last = len(*leaves)
		return n, nil
	}
	n.kind = structNode
	var fields []arrow.Field
	for _, f := range children {
		child, err := parquetTree(f, def, rep, leaves, depth+1)
		if err != nil {
			return nil, err
		}
		n.children = append(n.children, child)
		fields = append(fields, arrow.Field{Name: f.Name(), Type: child.typ, Nullable: true})
	}
	n.typ, n.last = arrow.StructOf(fields...), len(*leaves)
	if n.last == n.first {
		return nil, fmt.Errorf("group %s: expected fields, found none", c.Name())
	}
	return n, nil
}

// parquetIs reads the annotation of a group.
func parquetIs(c *parquet.Column) (list, isMap bool) {
	if lt := c.Type().LogicalType(); lt != nil {
		switch lt.Value.(type) {
		case *format.ListType:
			return true, false
		case *format.MapType:
			return false, true
		}
	}
	if ct := c.Type().ConvertedType(); ct != nil {
		return *ct == deprecated.List, *ct == deprecated.Map || *ct == deprecated.MapKeyValue
	}
	return false, false
}

// legacyList tells the two-level layout, where the repeated field is the element itself (LogicalTypes.md of the Parquet
// format, "Backward-compatibility rules").
func legacyList(list string, repeated *parquet.Column) bool {
	return repeated.Leaf() || len(repeated.Columns()) != 1 || repeated.Name() == "array" || repeated.Name() == list+"_tuple" ||
		repeated.Columns()[0].Repeated()
}

// parquetRow is the row being put together.
type parquetRow struct {
	in       *input
	used     int // bytes of its values
	repaired bool
}

// appendRow appends one row of a column.
func (n *parquetNode) appendRow(b array.Builder, leaves []*parquetLeaf, row *parquetRow) error {
	for _, l := range leaves[n.first:n.last] {
		v, err := l.peek()
		if err != nil {
			return err
		}
		if v.RepetitionLevel() != 0 {
			return fmt.Errorf("expected a row to begin at repetition level 0, found %d", v.RepetitionLevel())
		}
	}
	return n.appendValue(b, leaves, row)
}

func (n *parquetNode) appendValue(b array.Builder, leaves []*parquetLeaf, row *parquetRow) error {
	l := leaves[n.first]
	v, err := l.peek()
	if err != nil {
		return err
	}
	if v.DefinitionLevel() < n.def {
		b.AppendNull()
		return n.skip(leaves)
	}
	switch b := b.(type) {
	case *array.StructBuilder:
		if n.kind != structNode {
			break
		}
		b.Append(true)
		for i, c := range n.children {
			if err := c.appendValue(b.FieldBuilder(i), leaves, row); err != nil {
				return err
			}
		}
		return nil
	case *array.MapBuilder:
		b.Append(true)
		return n.appendElements(leaves, row, func() error {
			if err := n.children[0].appendValue(b.KeyBuilder(), leaves, row); err != nil {
				return err
			}
			return n.children[1].appendValue(b.ItemBuilder(), leaves, row)
		})
	case *array.ListBuilder:
		b.Append(true)
		return n.appendElements(leaves, row, func() error { return n.children[0].appendValue(b.ValueBuilder(), leaves, row) })
	}
	l.i++
	if v.Kind() == parquet.ByteArray || v.Kind() == parquet.FixedLenByteArray {
		row.used += len(v.ByteArray())
		if row.used > maxRow {
			return fmt.Errorf("expected at most %d bytes in a row", maxRow)
		}
	}
	row.used += 8
	if s, ok := b.(*array.StringBuilder); ok {
		text, repaired, err := row.in.text(v.ByteArray())
		if err != nil {
			return err
		}
		row.repaired = row.repaired || repaired
		s.BinaryBuilder.Append(text)
		return nil
	}
	n.append(b, v)
	return nil
}

// appendElements calls one for every element of a list or map.
func (n *parquetNode) appendElements(leaves []*parquetLeaf, row *parquetRow, one func() error) error {
	v, err := leaves[n.first].peek()
	if err != nil {
		return err
	}
	if v.DefinitionLevel() < n.inner {
		return n.skip(leaves)
	}
	for {
		if err := one(); err != nil {
			return err
		}
		if row.used > maxRow {
			return fmt.Errorf("expected at most %d bytes in a row", maxRow)
		}
		v, err := leaves[n.first].peek()
		if errors.Is(err, io.ErrUnexpectedEOF) { // the end of the column chunk ends the row
			return nil
		}
		if err != nil {
			return err
		}
		if v.RepetitionLevel() < n.rep {
			return nil
		}
		for _, l := range leaves[n.first+1 : n.last] {
			if v, err := l.peek(); err != nil || v.RepetitionLevel() < n.rep {
				return fmt.Errorf("column %s has fewer elements than %s", l.name, leaves[n.first].name)
			}
		}
	}
}

// skip passes over the one value that every leaf holds for a null or an empty list.
func (n *parquetNode) skip(leaves []*parquetLeaf) error {
	for _, l := range leaves[n.first:n.last] {
		if _, err := l.peek(); err != nil {
			return err
		}
		l.i++
	}
	return nil
}

// peek returns the next value, io.ErrUnexpectedEOF when there is none.
func (l *parquetLeaf) peek() (parquet.Value, error) {
	for l.i == l.n {
		if l.page == nil || l.drained {
			l.release()
			page, err := l.pages.ReadPage()
			if err == io.EOF {
				return parquet.Value{}, io.ErrUnexpectedEOF
			}
			if err != nil {
				return parquet.Value{}, err
			}
			l.page, l.values, l.drained = page, page.Values(), false
		}
		if l.buf == nil {
			l.buf = make([]parquet.Value, 256)
		}
		n, err := l.values.ReadValues(l.buf)
		if err != nil && err != io.EOF {
			return parquet.Value{}, err
		}
		if n == 0 && err == nil {
			return parquet.Value{}, io.ErrNoProgress
		}
		l.i, l.n, l.drained = 0, n, err == io.EOF
	}
	return l.buf[l.i], nil
}

func (l *parquetLeaf) release() {
	if l.page != nil {
		parquet.Release(l.page)
		l.page = nil
	}
}

func (l *parquetLeaf) close() {
	l.release()
	if l.pages != nil {
		l.pages.Close()
		l.pages = nil
	}
}

// parquetScalar gives the Arrow type of a leaf and what appends a value of it.
func parquetScalar(c *parquet.Column) (arrow.DataType, func(array.Builder, parquet.Value)) {
	var logical format.LogicalTypeValue
	if lt := c.Type().LogicalType(); lt != nil {
		logical = lt.Value
	}
	switch c.Type().Kind() {
	case parquet.Boolean:
		return arrow.FixedWidthTypes.Boolean, func(b array.Builder, v parquet.Value) { b.(*array.BooleanBuilder).Append(v.Boolean()) }
	case parquet.Float:
		return arrow.PrimitiveTypes.Float32, func(b array.Builder, v parquet.Value) { b.(*array.Float32Builder).Append(v.Float()) }
	case parquet.Double:
		return arrow.PrimitiveTypes.Float64, func(b array.Builder, v parquet.Value) { b.(*array.Float64Builder).Append(v.Double()) }
	case parquet.Int96:
		return &arrow.TimestampType{Unit: arrow.Microsecond}, func(b array.Builder, v parquet.Value) {
			b.(*array.TimestampBuilder).Append(arrow.Timestamp(int96Micros(v.Int96())))
		}
	case parquet.Int32, parquet.Int64:
		return parquetInteger(c.Type().Kind(), logical)
	}
	switch lt := logical.(type) {
	case *format.StringType, *format.EnumType, *format.JsonType:
		return arrow.BinaryTypes.String, nil // appendValue checks them
	case *format.DecimalType:
		if lt.Precision > 0 && lt.Precision <= 38 {
			return &arrow.Decimal128Type{Precision: lt.Precision, Scale: lt.Scale}, func(b array.Builder, v parquet.Value) {
				b.(*array.Decimal128Builder).Append(bigEndian(v.ByteArray()))
			}
		}
	}
	return arrow.BinaryTypes.Binary, func(b array.Builder, v parquet.Value) { b.(*array.BinaryBuilder).Append(v.ByteArray()) }
}

func parquetInteger(kind parquet.Kind, logical format.LogicalTypeValue) (arrow.DataType, func(array.Builder, parquet.Value)) {
	get := func(v parquet.Value) int64 { return v.Int64() }
	if kind == parquet.Int32 {
		get = func(v parquet.Value) int64 { return int64(v.Int32()) }
	}
	switch lt := logical.(type) {
	case *format.DateType:
		return arrow.FixedWidthTypes.Date32, func(b array.Builder, v parquet.Value) { b.(*array.Date32Builder).Append(arrow.Date32(get(v))) }
	case *format.TimestampType:
		unit := arrow.Microsecond
		switch lt.Unit.Value.(type) {
		case *format.MilliSeconds:
			unit = arrow.Millisecond
		case *format.NanoSeconds:
			unit = arrow.Nanosecond
		}
		return &arrow.TimestampType{Unit: unit}, func(b array.Builder, v parquet.Value) { b.(*array.TimestampBuilder).Append(arrow.Timestamp(get(v))) }
	case *format.DecimalType:
		return &arrow.Decimal128Type{Precision: lt.Precision, Scale: lt.Scale}, func(b array.Builder, v parquet.Value) {
			b.(*array.Decimal128Builder).Append(decimal128.FromI64(get(v)))
		}
	case *format.IntType:
		if !lt.IsSigned {
			if kind == parquet.Int32 {
				return arrow.PrimitiveTypes.Uint32, func(b array.Builder, v parquet.Value) { b.(*array.Uint32Builder).Append(uint32(get(v))) }
			}
			return arrow.PrimitiveTypes.Uint64, func(b array.Builder, v parquet.Value) { b.(*array.Uint64Builder).Append(uint64(get(v))) }
		}
	}
	if kind == parquet.Int32 {
		return arrow.PrimitiveTypes.Int32, func(b array.Builder, v parquet.Value) { b.(*array.Int32Builder).Append(int32(get(v))) }
	}
	return arrow.PrimitiveTypes.Int64, func(b array.Builder, v parquet.Value) { b.(*array.Int64Builder).Append(get(v)) }
}

// int96Micros converts Impala's and Spark's timestamps, nanoseconds of a day and a Julian day, to microseconds since
// 1970, where nanoseconds would not do. The day is signed and the product wraps: that is how Spark, which writes both,
// gets its far dates back.
func int96Micros(t deprecated.Int96) int64 {
	const unixDay, dayMicros = 2_440_588, 86_400_000_000
	nanos := int64(t[1])<<32 | int64(t[0])
	return (int64(int32(t[2]))-unixDay)*dayMicros + nanos/1000
}

// bigEndian reads a two's complement number of up to 16 bytes.
func bigEndian(x []byte) decimal128.Num {
	var buf [16]byte
	if len(x) > 16 {
		x = x[len(x)-16:]
	}
	if len(x) > 0 && x[0] >= 0x80 {
		for i := range buf {
			buf[i] = 0xff
		}
	}
	copy(buf[16-len(x):], x)
	return decimal128.New(int64(binary.BigEndian.Uint64(buf[:8])), binary.BigEndian.Uint64(buf[8:]))
}
