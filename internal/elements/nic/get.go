package nic

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"tmelink/internal/element"
)

const (
	getValues = "URL [timeout SECONDS] [sum]"
	getDoc    = "Fetch an http:// URL and print what it holds, or with sum only its length and SHA-256 checksum. It fails if the server answers with an error, or is not done within timeout (60)."
)

func (i *Interface) prepareGet(args element.Args) (element.Command, error) {
	var target string
	timeout, sum := time.Minute, false
	err := args.Parse([]element.Option{
		{Name: "get", Values: "URL", Set: func(v element.Values) error {
			target = v.Text(0)
			u, err := url.Parse(target)
			if err != nil || u.Scheme != "http" || u.Hostname() == "" {
				return v.Faultf(0, "%q is not a URL such as http://10.0.77.1/", target)
			}
			return i.checkTarget(v, u.Hostname())
		}},
		{Name: "timeout", Values: "SECONDS", Set: func(v element.Values) (err error) {
			timeout, err = decimalSeconds(v)
			return err
		}},
		{Name: "sum", Set: func(element.Values) error {
			sum = true
			return nil
		}},
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, out io.Writer) error {
		ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not done within %v", timeout))
		defer cancel()
		if err := i.awaitAddress(ctx); err != nil {
			return fmt.Errorf("get %s: %w", target, err)
		}
		if err := i.get(ctx, target, sum, out); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				err = context.Cause(ctx)
			}
			return fmt.Errorf("get %s: %w", target, err)
		}
		return nil
	}, nil
}

func (i *Interface) get(ctx context.Context, target string, sum bool, out io.Writer) error {
	transport := &http.Transport{DialContext: i.host.Dial, DisableKeepAlives: true, DisableCompression: true}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	start := time.Now()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		if e, ok := err.(*url.Error); ok {
			err = e.Err // it would name the URL a second time
		}
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= 400 {
		return fmt.Errorf("the server answers %s", response.Status)
	}
	if !sum {
		_, err = io.Copy(out, response.Body)
		return err
	}
	hash := sha256.New()
	n, err := io.Copy(hash, response.Body)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%d bytes, sha256 %x, %.2f s\n", n, hash.Sum(nil), time.Since(start).Seconds())
	return err
}
