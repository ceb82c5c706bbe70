package remote

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// bucket is an S3 server with one bucket: requests must be signed (AWS Signature Version 4), objects are read by ranges
// with If-Match, keys are listed in pages (ListObjectsV2).
type bucket struct {
	t       *testing.T
	objects map[string][]byte
	version int
	busy    int
	plain   bool // no entity tags
}

const accessKey, secretKey = "tester", "top secret"

// signed computes the signature of a request as the specification says.
func signed(r *http.Request) bool {
	var credential, headers, signature string
	for part := range strings.SplitSeq(strings.TrimPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 "), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Credential":
			credential = value
		case "SignedHeaders":
			headers = value
		case "Signature":
			signature = value
		}
	}
	scope := strings.Split(credential, "/")
	if len(scope) != 5 || scope[0] != accessKey {
		return false
	}
	canonical := r.Method + "\n" + r.URL.EscapedPath() + "\n" + strings.ReplaceAll(r.URL.Query().Encode(), "+", "%20") + "\n"
	for h := range strings.SplitSeq(headers, ";") {
		v := r.Header.Get(h)
		if h == "host" {
			v = r.Host
		}
		canonical += h + ":" + strings.TrimSpace(v) + "\n"
	}
	canonical += "\n" + headers + "\n" + r.Header.Get("X-Amz-Content-Sha256")
	sum := sha256.Sum256([]byte(canonical))
	text := "AWS4-HMAC-SHA256\n" + r.Header.Get("X-Amz-Date") + "\n" + strings.Join(scope[1:], "/") + "\n" + hex.EncodeToString(sum[:])
	k := []byte("AWS4" + secretKey)
	for _, s := range append(slices.Clone(scope[1:]), text) {
		m := hmac.New(sha256.New, k)
		m.Write([]byte(s))
		k = m.Sum(nil)
	}
	return hex.EncodeToString(k) == signature
}

func (b *bucket) fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, code)
}

func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key, inBucket := strings.CutPrefix(r.URL.Path, "/data/")
	switch {
	case b.busy > 0:
		b.busy--
		b.fail(w, http.StatusServiceUnavailable, "SlowDown")
	case !signed(r):
		b.fail(w, http.StatusForbidden, "SignatureDoesNotMatch")
	case !inBucket:
		b.fail(w, http.StatusNotFound, "NoSuchBucket")
	case key == "" && r.URL.Query().Get("list-type") == "2":
		b.list(w, r.URL.Query().Get("prefix"), r.URL.Query().Get("continuation-token"))
	case b.objects[key] == nil:
		b.fail(w, http.StatusNotFound, "NoSuchKey")
	default:
		if !b.plain {
			w.Header().Set("ETag", fmt.Sprintf(`"%x-%d"`, sha256.Sum256([]byte(key)), b.version))
		}
		http.ServeContent(w, r, key, time.Unix(1e9+int64(b.version), 0), bytes.NewReader(b.objects[key]))
	}
}

func (b *bucket) list(w http.ResponseWriter, prefix, after string) {
	type object struct {
		Key          string
		Size         int
		LastModified string
	}
	var page struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string
		Contents              []object
	}
	var keys []string
	for k := range b.objects {
		if strings.HasPrefix(k, prefix) && k > after {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for i, k := range keys {
		if i == 2 { // small pages
			page.IsTruncated, page.NextContinuationToken = true, keys[1]
			break
		}
		page.Contents = append(page.Contents, object{k, len(b.objects[k]), "2020-01-01T00:00:00Z"})
	}
	w.Header().Set("Content-Type", "application/xml")
	xml.NewEncoder(w).Encode(page)
}

func startS3(t *testing.T, b *bucket) *Client {
	h := httptest.NewServer(b)
	t.Cleanup(h.Close)
	for name, value := range map[string]string{"AWS_ENDPOINT_URL": h.URL, "AWS_ACCESS_KEY_ID": accessKey, "AWS_SECRET_ACCESS_KEY": secretKey,
		"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": ""} {
		t.Setenv(name, value)
	}
	c, _ := start(t, &server{})
	return c
}

func TestS3(t *testing.T) {
	b := &bucket{t: t, objects: map[string][]byte{"a/1.jsonl": []byte("one"), "a/b/2 x.jsonl": randomBytes(2*piece + 5), "a/3.csv": []byte("three"), "c/4.jsonl": {}}}
	c := startS3(t, b)
	for pattern, want := range map[string]string{"s3://data/a/": "a/1.jsonl,a/3.csv,a/b/2 x.jsonl", "s3://data/**/*.jsonl": "a/1.jsonl,a/b/2 x.jsonl,c/4.jsonl",
		"s3://data/a/*.jsonl": "a/1.jsonl", "s3://data": "a/1.jsonl,a/3.csv,a/b/2 x.jsonl,c/4.jsonl", "s3://data/a/1.jsonl": "a/1.jsonl"} {
		got, err := c.List(t.Context(), pattern)
		if err != nil || strings.ReplaceAll(strings.Join(got, ","), "s3://data/", "") != want {
			t.Errorf("%s: %v, %v, want %s", pattern, got, err, want)
		}
	}
	for _, b.plain = range []bool{false, true} {
		b.busy = 2
		f, err := c.Open(t.Context(), "s3://data/a/b/2 x.jsonl")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
		if err != nil || !bytes.Equal(got, b.objects["a/b/2 x.jsonl"]) {
			t.Errorf("plain %v: %d bytes, %v", b.plain, len(got), err)
		}
		f.Close()
		b.version++
		if _, err := f.ReadAt(make([]byte, 1), 0); err == nil || !strings.Contains(err.Error(), "the file has changed since it was opened") {
			t.Errorf("plain %v: a changed object: %v", b.plain, err)
		}
	}
	for address, want := range map[string]string{"s3://data/nothing": "s3://data/nothing: The specified key does not exist", "s3://other/x/": "s3://other/x/: ", "s3://": "expected s3://bucket/key"} {
		_, err := c.Open(t.Context(), address)
		if strings.HasSuffix(address, "/") {
			_, err = c.List(t.Context(), address)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", address, err, want)
		}
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	d := New()
	if _, err := d.Open(t.Context(), "s3://data/a/1.jsonl"); err == nil {
		t.Error("a wrong key opens the bucket")
	}
}

// TestS3Server reads from a real server, when TUNE_TEST_S3 names an object there and the AWS variables how to reach it.
func TestS3Server(t *testing.T) {
	address := os.Getenv("TUNE_TEST_S3")
	if address == "" {
		t.Skip("TUNE_TEST_S3 names no object of a real server")
	}
	c := New()
	defer c.Close()
	names, err := c.List(t.Context(), address)
	if err != nil || len(names) == 0 {
		t.Fatalf("%v, %v", names, err)
	}
	for _, n := range names {
		f, err := c.Open(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
		if err != nil || int64(len(b)) != f.Size() {
			t.Fatalf("%s: %d bytes of %d, %v", n, len(b), f.Size(), err)
		}
		t.Logf("%s: %d bytes, sha256 %x, version %s", n, len(b), sha256.Sum256(b), f.Version())
	}
}
