package nic

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"tmelink/internal/element"
	"tmelink/internal/netstack"
)

// maxBytes is the most that /bytes/N gives.
const maxBytes = 1 << 30

// newPage makes the built-in host's web server. Its connections are counted in
// running.
func newPage(h *netstack.Host, env element.Env, running *sync.WaitGroup) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintf(w, "%s of machine %s\n\n", env.Name, env.Machine)
		for _, a := range h.Addrs() {
			fmt.Fprintln(w, a)
		}
		fmt.Fprintf(w, "%s\n\n/bytes/N gives N bytes, at most %d: the numbers from 0, a line of 7 digits each\n", h.HardwareAddr(), maxBytes)
	})
	mux.HandleFunc("GET /bytes/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(r.PathValue("n"), 10, 64)
		if err != nil || n < 0 || n > maxBytes {
			http.Error(w, fmt.Sprintf("%q is not a number from 0 to %d", r.PathValue("n"), maxBytes), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		writeNumbers(w, n)
	})
	return &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: idle,
		ReadTimeout:       idle,
		WriteTimeout:      idle, // writeNumbers gets more as long as it goes on
		IdleTimeout:       idle,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(env.Log.Handler(), slog.LevelDebug),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				running.Add(1)
			case http.StateClosed:
				running.Done()
			}
		},
	}
}

// writeNumbers writes n bytes of numbers. A reader that takes none of them for
// too long is given up.
func writeNumbers(w http.ResponseWriter, n int64) {
	control := http.NewResponseController(w)
	var chunk []byte
	for next := 0; n > 0; {
		chunk = chunk[:0]
		for len(chunk) < 16<<10 {
			chunk = appendNumber(chunk, next)
			next++
		}
		chunk = chunk[:min(int64(len(chunk)), n)]
		control.SetWriteDeadline(time.Now().Add(idle))
		if _, err := w.Write(chunk); err != nil {
			return
		}
		n -= int64(len(chunk))
	}
}

// appendNumber appends a line with a number's last 7 digits.
func appendNumber(b []byte, n int) []byte {
	b = append(b, "0000000\n"...)
	for i := len(b) - 2; n > 0 && i >= len(b)-8; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
	return b
}
