package tensor

import (
	"fmt"
	"os"

	"github.com/edsrzf/mmap-go"
)

// MapFile maps a whole file for reading. Data is invalid after close; an empty file gives empty data.
func MapFile(path string) (data []byte, close func() error, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	switch st, err := f.Stat(); {
	case err != nil:
		return nil, nil, err
	case st.IsDir():
		return nil, nil, fmt.Errorf("%s: expected a file, found a folder", path)
	case st.Size() == 0:
		return nil, func() error { return nil }, nil
	}
	m, err := mmap.Map(f, mmap.RDONLY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: map: %w", path, err)
	}
	return m, m.Unmap, nil
}
