package data

import (
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// excluded says whether a row group's statistics show that none of its rows passes the conditions.
func (p *parquetFile) excluded(group int, conds []condition) bool {
	columns := p.pq.Metadata().RowGroups[group].Columns
	for _, c := range conds {
		if c.not {
			continue
		}
		for i := range columns {
			m := &columns[i].MetaData
			if len(m.PathInSchema) != 1 || m.PathInSchema[0] != c.column {
				continue
			}
			leaf, ok := p.pq.Schema().Lookup(c.column)
			if ok && leaf.Node.Leaf() && outside(c.value, leaf.Node.Type(), &m.Statistics) {
				return true
			}
		}
	}
	return false
}

// outside says whether a value, written as where clauses write it, lies outside of what the statistics allow. Only the
// newer fields are looked at, whose order is that of the type; those of byte arrays may be cut, which keeps them bounds.
func outside(value string, t parquet.Type, st *format.Statistics) bool {
	low, high := st.MinValue, st.MaxValue
	if low == nil || high == nil {
		return false
	}
	switch t.Kind() {
	case parquet.ByteArray:
		if lt := t.LogicalType(); lt == nil || !isString(lt.Value) {
			return false
		}
		// a null is the empty string to a where clause
		return (value != "" || st.NullCount == 0) && (value < string(low) || value > string(high))
	case parquet.Int32, parquet.Int64:
		if lt := t.LogicalType(); lt != nil && !isSigned(lt.Value) || len(low) != len(high) || len(low) != 4 && len(low) != 8 {
			return false
		}
		x, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		return err == nil && (x < integer(low) || x > integer(high))
	}
	return false
}

func isString(lt format.LogicalTypeValue) bool {
	_, ok := lt.(*format.StringType)
	return ok
}

func isSigned(lt format.LogicalTypeValue) bool {
	it, ok := lt.(*format.IntType)
	return ok && it.IsSigned
}

func integer(b []byte) int64 {
	if len(b) == 4 {
		return int64(int32(binary.LittleEndian.Uint32(b)))
	}
	return int64(binary.LittleEndian.Uint64(b))
}
