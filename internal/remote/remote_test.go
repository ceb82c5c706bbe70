package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"tune/internal/rng"
)

// server offers one file by ranges, with faults.
type server struct {
	mu       sync.Mutex
	data     []byte
	tag      string
	cut      int // bytes after which a connection is cut, 0 for never
	busy     int // requests that are answered 503 first
	plain    bool
	requests []string // Range headers
	sent     int
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r.Header.Get("Range"))
	if s.busy > 0 {
		s.busy--
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if r.URL.Path != "/a.bin" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("ETag", s.tag)
	if s.plain {
		w.Write(s.data)
		return
	}
	c := &cutter{ResponseWriter: w, left: s.cut, cut: s.cut > 0}
	defer func() { s.sent += c.sent }()
	http.ServeContent(c, r, "a.bin", time.Time{}, bytes.NewReader(s.data))
}

// refuse answers the next n requests 503 and tells how many bytes were sent so far, once the answers under way have ended.
func (s *server) refuse(n int) (sent int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = n
	return s.sent
}

type cutter struct {
	http.ResponseWriter
	left, sent int
	cut        bool
}

func (c *cutter) Write(p []byte) (int, error) {
	if !c.cut {
		c.sent += len(p)
		return c.ResponseWriter.Write(p)
	}
	if len(p) > c.left {
		c.ResponseWriter.Write(p[:c.left])
		c.sent += c.left
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= len(p)
	c.sent += len(p)
	return c.ResponseWriter.Write(p)
}

func randomBytes(n int) []byte {
	b, r := make([]byte, n), rng.New(1, "bytes")
	for i := range b {
		b[i] = byte(r.Uint64(uint64(i)))
	}
	return b
}

func start(t *testing.T, s *server) (*Client, string) {
	t.Helper()
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	c := New()
	t.Cleanup(c.Close)
	c.Wait = func(_ context.Context, n int) error {
		if n > 4 {
			return errors.New("five tries failed")
		}
		return nil
	}
	return c, h.URL + "/a.bin"
}

func TestRanges(t *testing.T) {
	s := &server{data: randomBytes(5*piece + 123), tag: `"v1"`}
	c, url := start(t, s)
	f, err := c.Open(t.Context(), url)
	if err != nil || f.Size() != int64(len(s.data)) {
		t.Fatalf("%v, size %d", err, f.Size())
	}
	got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	if err != nil || !bytes.Equal(got, s.data) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if want := "[bytes=0-0 bytes=0-1048575 bytes=1048576-3145727 bytes=3145728-5243002]"; fmt.Sprint(s.requests) != want {
		t.Errorf("read forwards by %v, want %s", s.requests, want)
	}
	if _, err := f.ReadAt(make([]byte, 10), f.Size()-3); err != io.EOF {
		t.Errorf("behind the end: %v", err)
	}
	before := len(s.requests)
	if _, err := f.ReadAt(make([]byte, 10), 2*piece-5); err != nil || len(s.requests) != before {
		t.Errorf("%v; kept pieces were asked for again: %v", err, s.requests[before:])
	}
	f.Close()
	if len(c.kept) != 0 || c.order.Len() != 0 {
		t.Errorf("%d pieces are kept of a closed file", len(c.kept))
	}
}

func TestMemoryIsBounded(t *testing.T) {
	s := &server{data: make([]byte, (maxPieces+20)*piece), tag: `"v1"`}
	c, url := start(t, s)
	f, err := c.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, io.NewSectionReader(f, 0, f.Size())); err != nil || c.order.Len() > maxPieces || len(c.kept) != c.order.Len() {
		t.Errorf("%d pieces kept, %v", c.order.Len(), err)
	}
}

// TestCutConnections reads over connections that break: no byte is asked for twice.
func TestCutConnections(t *testing.T) {
	s := &server{data: randomBytes(2*piece + 99), tag: `"v1"`, cut: 300_000, busy: 2}
	c, url := start(t, s)
	f, err := c.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	if err != nil || !bytes.Equal(got, s.data) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if sent := s.refuse(100); sent != len(s.data)+1 {
		t.Errorf("%d bytes sent of a file of %d", sent, len(s.data))
	}
	f.Close()
	if _, err := f.ReadAt(make([]byte, 1), 0); err == nil || !strings.Contains(err.Error(), "503 Service Unavailable (five tries failed)") {
		t.Errorf("a server that stays busy: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := 100 - s.busy; n != 5 {
		t.Errorf("%d tries, want 5", n)
	}
}

func TestChangedFile(t *testing.T) {
	for _, tag := range []string{`"v1"`, `W/"v1"`, ""} {
		s := &server{data: randomBytes(3 * piece), tag: tag}
		c, url := start(t, s)
		f, err := c.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		f.ReadAt(make([]byte, 1), 0)
		version := f.Version()
		if tag != "" {
			s.tag = strings.Replace(tag, "v1", "v2", 1)
		} else {
			s.data = s.data[:2*piece]
		}
		if _, err := f.ReadAt(make([]byte, 1), piece); err == nil || !strings.Contains(err.Error(), "the file has changed since it was opened") {
			t.Errorf("tag %s: %v", tag, err)
		}
		g, err := c.Open(t.Context(), url)
		if err != nil || g.Version() == version {
			t.Errorf("tag %s: version %s again, %v", tag, g.Version(), err)
		}
	}
}

func TestServersThatCannot(t *testing.T) {
	for name, x := range map[string]struct {
		s    *server
		path string
		want string
	}{
		"missing":   {&server{}, "b.bin", "b.bin: the server answered 404 Not Found"},
		"no ranges": {&server{data: []byte("abc"), plain: true}, "a.bin", "expected a server that answers requests for ranges"},
		"empty":     {&server{tag: `"v1"`}, "a.bin", ""},
	} {
		c, url := start(t, x.s)
		f, err := c.Open(t.Context(), strings.Replace(url, "a.bin", x.path, 1))
		switch {
		case x.want == "" && (err != nil || f.Size() != 0):
			t.Errorf("%s: %v", name, err)
		case x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want)):
			t.Errorf("%s: %v", name, err)
		}
	}
	c, url := start(t, &server{data: []byte("abc"), tag: `"v1"`})
	f, _ := c.Open(t.Context(), url)
	c.Close()
	if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("a closed client reads: %v", err)
	}
}
