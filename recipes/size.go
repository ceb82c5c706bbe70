package recipes

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/invopop/jsonschema"
)

// Size is a number of bytes, written as 2GiB, 95MB or a plain number.
type Size int64

var units = []struct {
	name  string
	bytes float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(text []byte) error {
	number, factor := strings.TrimSpace(string(text)), 1.0
	for _, u := range units {
		if len(number) > len(u.name) && strings.EqualFold(number[len(number)-len(u.name):], u.name) {
			number, factor = strings.TrimSpace(number[:len(number)-len(u.name)]), u.bytes
			break
		}
	}
	x, err := strconv.ParseFloat(number, 64)
	if err != nil || !(x >= 0) || x*factor > math.MaxInt64/2 {
		return fmt.Errorf("expected a size such as 2GiB or 95MB, found %q", text)
	}
	*s = Size(math.Round(x * factor))
	return nil
}

// MarshalText writes the size in the largest unit that keeps it exact.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s Size) String() string {
	for _, u := range []int{3, 2, 1, 0} {
		if n := int64(units[u].bytes); s > 0 && int64(s)%n == 0 {
			return fmt.Sprintf("%d%s", int64(s)/n, units[u].name)
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// JSONSchema describes both ways to write a size.
func (Size) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		{Type: "string", Pattern: `^[0-9.]+ ?([KMGT]i?B|B)?$`, Description: "a size such as 2GiB or 95MB"}, {Type: "integer"}}}
}
