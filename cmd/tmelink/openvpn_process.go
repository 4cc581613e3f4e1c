package main

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"tmelink/internal/element"
)

// processWords are OpenVPN's options of a whole process.
type processWords struct {
	status      string // a file's name; "" is none
	statusEvery time.Duration
	pidFile     string
	logFile     string
	logAppend   bool
	level       slog.Level
}

// Why options of a whole process are refused.
const (
	noDaemon     = "tmelink stays in the foreground; have systemd run it, or `nohup tmelink openvpn … &`"
	noChange     = "tmelink does not change who it is; have systemd run it so: User=, and AmbientCapabilities=CAP_NET_ADMIN for a TAP"
	noManagement = "there is no management interface; --status, the log and the signals say and do what there is"
	noScriptTime = "it is not carried out: --up is run once, when the TAP is up, and --down once, after it is closed"
	noSuchForm   = "it is not carried out; leave it out"
)

var refusedOfProcess = map[string]string{
	noDaemon: `daemon inetd service syslog`,
	noChange: `user group chroot setcon`,
	noManagement: `management management-client management-client-auth management-client-group management-client-user
		management-external-cert management-external-key management-forget-disconnect management-hold
		management-log-cache management-query-passwords management-query-proxy management-query-remote
		management-signal management-up-down`,
	noScriptTime: `up-delay up-restart down-pre`,
	noSuchForm: `memstats remap-usr1 machine-readable-output pause-exit allow-nonadmin msg-channel
		ignore-unknown-option`,
}

// options are the words of the process, which set p.
func (p *processWords) options() []element.Option {
	options := []element.Option{
		{Name: "--status", Values: "FILE [SECONDS]", Set: func(v element.Values) (err error) {
			p.status = v.Text(0)
			if v.Has(1) {
				var n int
				n, err = v.Int(1, 1, 86400)
				p.statusEvery = time.Duration(n) * time.Second
			}
			return err
		}},
		{Name: "--writepid", Values: "FILE", Set: func(v element.Values) error { p.pidFile = v.Text(0); return nil }},
		{Name: "--log", Values: "FILE", Set: func(v element.Values) error {
			p.logFile, p.logAppend = v.Text(0), false
			return nil
		}},
		{Name: "--log-append", Values: "FILE", Set: func(v element.Values) error {
			p.logFile, p.logAppend = v.Text(0), true
			return nil
		}},
		{Name: "--verb", Values: "LEVEL", Set: func(v element.Values) error {
			n, err := v.Int(0, 0, 11)
			switch {
			case n == 0:
				p.level = slog.LevelError
			case n > 3:
				p.level = slog.LevelDebug
			}
			return err
		}},
		{Name: "--status-version", Values: "N"}, // there is one form without a server
		{Name: "--mute", Values: "N"},
		{Name: "--nice", Values: "N"}, // nice(1) and systemd can
		{Name: "--txqueuelen", Values: "N"},
		{Name: "--tmp-dir", Values: "DIR"},
	}
	for why, names := range refusedOfProcess {
		for name := range strings.FieldsSeq(names) {
			options = append(options, element.Option{Name: "--" + name, Values: "[VALUE…]", Repeat: true, Refused: why})
		}
	}
	return options
}

// parseProcess reads the options of the process; dir is the folder against which
// their file names count.
func parseProcess(dir string, args element.Args) (processWords, error) {
	p := processWords{statusEvery: time.Minute, level: slog.LevelInfo}
	err := args.Parse(p.options())
	for _, file := range []*string{&p.status, &p.pidFile, &p.logFile} {
		if *file != "" {
			*file = under(dir, *file)
		}
	}
	return p, err
}

// redirect has the log go to the file of --log or --log-append.
func (p *processWords) redirect() error {
	if p.logFile == "" {
		return nil
	}
	how := os.O_TRUNC
	if p.logAppend {
		how = os.O_APPEND
	}
	f, err := os.OpenFile(p.logFile, os.O_WRONLY|os.O_CREATE|how, 0o600)
	if err != nil {
		return fmt.Errorf("--log: %w", err)
	}
	os.Stderr = f
	return nil
}

// writePID writes the file of --writepid; forget removes it.
func (p *processWords) writePID() (forget func(), err error) {
	if p.pidFile == "" {
		return func() {}, nil
	}
	if err := os.WriteFile(p.pidFile, fmt.Appendln(nil, os.Getpid()), 0o644); err != nil {
		return nil, fmt.Errorf("--writepid: %w", err)
	}
	return func() { os.Remove(p.pidFile) }, nil
}
