package train

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMetricsResume(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	m, kept, err := openMetrics(path, 0)
	if err != nil || len(kept) != 0 {
		t.Fatal(kept, err)
	}
	for step := range 5 {
		if err := m.write(Metric{Step: step, Loss: float64(step)}); err != nil {
			t.Fatal(err)
		}
	}
	m.f.WriteString(`{"step":5,"lo`) // a crash
	m.close()
	m, kept, err = openMetrics(path, 3)
	if err != nil || len(kept) != 3 || kept[2].Loss != 2 {
		t.Fatal(kept, err)
	}
	m.write(Metric{Step: 3, Loss: 30})
	m.close()
	b, _ := os.ReadFile(path)
	if lines := strings.Split(string(b), "\n"); len(lines) != 5 || !strings.Contains(lines[3], `"loss":30`) {
		t.Errorf("found %q", lines)
	}
	os.WriteFile(path, []byte("{\"step\":0}\nnonsense\n"), 0o644)
	if _, _, err := openMetrics(path, 9); err == nil || !strings.Contains(err.Error(), "metrics.jsonl:2: expected") {
		t.Errorf("found %v", err)
	}
}

// The check value of CRC-32C is that of RFC 3720 (32 zero bytes); the frame is compared with bytes put together by hand.
func TestEventFile(t *testing.T) {
	if got := maskedCRC(make([]byte, 32)); got != 265814010 { // 0x8a9136aa rotated and offset
		t.Errorf("masked CRC %#x", got)
	}
	var b bytes.Buffer
	e := newEventWriter(&b, 1)
	if err := e.scalars(2, 300, []scalar{{"loss", 0.5}}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"09000000000000f03f" + "1a0d" + hex.EncodeToString([]byte("brain.Event:2")),
		"090000000000000040" + "10ac02" + "2a0d" + "0a0b" + "0a04" + hex.EncodeToString([]byte("loss")) + "150000003f",
	}
	for i, w := range want {
		n := binary.LittleEndian.Uint64(b.Bytes())
		frame := b.Next(int(n) + 16)
		if data := frame[12 : 12+n]; hex.EncodeToString(data) != w {
			t.Errorf("event %d is %x, expected %s", i, data, w)
		}
		if maskedCRC(frame[:8]) != binary.LittleEndian.Uint32(frame[8:]) || maskedCRC(frame[12:12+n]) != binary.LittleEndian.Uint32(frame[12+n:]) {
			t.Errorf("event %d: wrong CRC", i)
		}
	}
	if b.Len() != 0 {
		t.Errorf("%d bytes left", b.Len())
	}
}
