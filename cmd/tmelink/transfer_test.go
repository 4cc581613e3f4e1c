package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// transferSeed makes what is transferred the same everywhere.
const transferSeed = 77

// tcpServe is a program: it sends SIZE pseudo-random bytes to everyone who
// connects to ADDR; with a FILE, only the first half at once, and what then only
// trickles until there is that file.
func tcpServe() {
	l, err := net.Listen("tcp", os.Args[1])
	must(err)
	size, err := strconv.Atoi(os.Args[2])
	must(err)
	fmt.Println("ready")
	for {
		c, err := l.Accept()
		must(err)
		go func() {
			defer c.Close()
			from := source()
			if len(os.Args) > 3 {
				size -= trickle(c, from, size, os.Args[3])
			}
			io.CopyN(c, from, int64(size))
		}()
	}
}

// trickle sends half of size bytes, and then a thousand of them now and then, but never
// all, until there is a file. It gives how many it has sent.
func trickle(to io.Writer, from io.Reader, size int, file string) (sent int) {
	sent = size / 2
	io.CopyN(to, from, int64(sent))
	fmt.Println("halfway")
	for ; ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(file); err == nil {
			return sent
		}
		if size-sent > 1000 {
			io.CopyN(to, from, 1000)
			sent += 1000
		}
	}
}

// tcpFetch is a program: it reads everything from ADDR, at most 60 s, and prints
// the checksum.
func tcpFetch() {
	c, err := net.DialTimeout("tcp", os.Args[1], 10*time.Second)
	must(err)
	c.SetDeadline(time.Now().Add(60 * time.Second))
	sum := sha256.New()
	n, err := io.Copy(sum, c)
	must(err)
	fmt.Printf("%d bytes, sha256 %x\n", n, sum.Sum(nil))
}

// tcpTalk is a program: it sends a numbered line every 20 ms to who connects to ADDR.
func tcpTalk() {
	l, err := net.Listen("tcp", os.Args[1])
	must(err)
	fmt.Println("ready")
	c, err := l.Accept()
	must(err)
	for i := range 20_000 {
		_, err := fmt.Fprintln(c, i)
		must(err)
		time.Sleep(20 * time.Millisecond)
	}
}

// tcpListen is a program: it reads the lines of tcpTalk at ADDR to their end, and says
// whether one is missing.
func tcpListen() {
	c, err := net.DialTimeout("tcp", os.Args[1], 10*time.Second)
	must(err)
	lines := bufio.NewScanner(c)
	n := 0
	for ; lines.Scan(); n++ {
		c.SetDeadline(time.Now().Add(60 * time.Second))
		if lines.Text() != strconv.Itoa(n) {
			must(fmt.Errorf("line %d is %q", n, lines.Text()))
		}
		if n == 100 {
			fmt.Println("100 lines")
		}
	}
	must(lines.Err())
	fmt.Printf("%d lines, none is missing\n", n)
}

// tlsServe is a program: a web server over HTTPS at ADDR, with SIZE pseudo-random
// bytes for everyone; at /wait it does not end.
func tlsServe() {
	size, err := strconv.Atoi(os.Args[2])
	must(err)
	private, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	must(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(crand.Reader, template, template, private.Public(), private)
	must(err)
	l, err := tls.Listen("tcp", os.Args[1], &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}})
	must(err)
	fmt.Println("ready")
	must(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		io.Copy(w, io.LimitReader(source(), int64(size)))
	})))
}

// tlsFetch is tcpFetch from URL over HTTPS, whosever the certificate is.
func tlsFetch() {
	client := http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, Timeout: 60 * time.Second,
	}
	r, err := client.Get(os.Args[1])
	must(err)
	sum := sha256.New()
	n, err := io.Copy(sum, r.Body)
	must(err)
	fmt.Printf("%d bytes, sha256 %x\n", n, sum.Sum(nil))
}

// fetched is what tcpFetch prints after size bytes of tcpServe.
func fetched(size int) string {
	sum := sha256.New()
	io.Copy(sum, io.LimitReader(source(), int64(size)))
	return fmt.Sprintf("%d bytes, sha256 %x\n", size, sum.Sum(nil))
}

func source() io.Reader { return rand.NewChaCha8([32]byte{transferSeed}) }
