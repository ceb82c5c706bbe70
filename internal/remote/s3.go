package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"tune/internal/hint"
)

// s3Clients makes the one S3 client when it is first needed.
type s3Clients struct {
	once   sync.Once
	client *minio.Client
	err    error
}

// s3Client reads endpoint, region and keys from where the AWS tools look: AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL,
// AWS_REGION or AWS_DEFAULT_REGION, AWS_ACCESS_KEY_ID and so on, or the credentials file. Without keys requests are
// anonymous, as public buckets allow.
func (c *Client) s3Client() (*minio.Client, error) {
	c.s3.once.Do(func() {
		endpoint, secure := "s3.amazonaws.com", true
		if text := first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"); text != "" {
			u, err := url.Parse(text)
			if err != nil || u.Host == "" {
				c.s3.err = fmt.Errorf("AWS_ENDPOINT_URL: expected an address such as https://host:port, found %q", text)
				return
			}
			endpoint, secure = u.Host, u.Scheme != "http"
		}
		providers := []credentials.Provider{&credentials.EnvAWS{}, &credentials.EnvMinio{}, &credentials.FileAWSCredentials{}}
		c.s3.client, c.s3.err = minio.New(endpoint, &minio.Options{Creds: credentials.NewChainCredentials(providers), Secure: secure,
			Region: first("AWS_REGION", "AWS_DEFAULT_REGION"), MaxRetries: 1, Transport: c.HTTP.Transport}) // Copy tries again
	})
	return c.s3.client, c.s3.err
}

func first(names ...string) string {
	for _, n := range names {
		if v := os.Getenv(n); v != "" {
			return v
		}
	}
	return ""
}

// s3Path cuts s3://bucket/key.
func s3Path(address string) (bucket, key string, err error) {
	bucket, key, _ = strings.Cut(strings.TrimPrefix(address, "s3://"), "/")
	if bucket == "" {
		err = fmt.Errorf("%s: expected s3://bucket/key", address)
	}
	return bucket, key, err
}

func (c *Client) openS3(ctx context.Context, address string) (*File, error) {
	bucket, key, err := s3Path(address)
	if err != nil {
		return nil, err
	}
	s3, err := c.s3Client()
	if err != nil {
		return nil, err
	}
	f := &File{client: c, name: address}
	tag := ""
	err = c.again(ctx, func() error {
		info, err := s3.StatObject(ctx, bucket, key, minio.StatObjectOptions{})
		f.size, f.version, tag = info.Size, s3Version(info), info.ETag
		return s3Error(err)
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	core := minio.Core{Client: s3}
	f.get = func(ctx context.Context, from, to int64) (io.ReadCloser, error) {
		var o minio.GetObjectOptions
		err := o.SetRange(from, to-1)
		if tag != "" {
			err = errors.Join(err, o.SetMatchETag(tag))
		}
		if err != nil {
			return nil, Permanent{Err: err}
		}
		body, info, _, err := core.GetObject(ctx, bucket, key, o)
		if minio.ToErrorResponse(err).StatusCode == http.StatusPreconditionFailed {
			return nil, changed(f.Version(), "another")
		}
		if err != nil {
			return nil, s3Error(err)
		}
		if is := s3Version(info); is != f.version {
			body.Close()
			return nil, changed(f.version, is)
		}
		return body, nil
	}
	return f, nil
}

// s3Version is the entity tag; servers that keep plain files have none for files that were put there past them.
func s3Version(o minio.ObjectInfo) string {
	if o.ETag != "" {
		return o.ETag
	}
	return o.LastModified.UTC().Format(http.TimeFormat)
}

// again tries until it works or no try can help.
func (c *Client) again(ctx context.Context, f func() error) error {
	return c.Copy(ctx, io.Discard, func(context.Context, int64) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("")), f() }, 0)
}

// s3Error tells errors apart that no new try can mend.
func s3Error(err error) error {
	if err == nil {
		return nil
	}
	r := minio.ToErrorResponse(err)
	switch {
	case r.StatusCode == http.StatusForbidden || r.StatusCode == http.StatusUnauthorized:
		return Permanent{Err: hint.Errorf("set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for a server of your own, AWS_ENDPOINT_URL", "%w", err)}
	case r.StatusCode >= 400 && r.StatusCode < 500 && r.StatusCode != http.StatusTooManyRequests:
		return Permanent{Err: err}
	}
	return err
}

// List finds the keys of s3://bucket/prefix/, all below it, or of a glob, sorted by name. Other addresses are listed as
// they are.
func (c *Client) List(ctx context.Context, address string) ([]string, error) {
	if !strings.HasPrefix(address, "s3://") {
		return []string{address}, nil
	}
	bucket, key, err := s3Path(address)
	if err != nil {
		return nil, err
	}
	glob := strings.ContainsAny(key, "*?[{")
	if !glob && key != "" && !strings.HasSuffix(key, "/") {
		return []string{address}, nil
	}
	s3, err := c.s3Client()
	if err != nil {
		return nil, err
	}
	prefix := key
	if glob {
		prefix, _ = doublestar.SplitPattern(key)
		if prefix == "." {
			prefix = ""
		}
	}
	var names []string
	err = c.again(ctx, func() error {
		names = nil
		for o := range s3.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
			if o.Err != nil {
				return s3Error(o.Err)
			}
			if ok, _ := doublestar.Match(key, o.Key); ok || !glob {
				names = append(names, "s3://"+bucket+"/"+o.Key)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return names, nil
}
