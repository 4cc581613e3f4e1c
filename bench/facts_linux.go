package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// This file finds out what was measured, and on what.

func thisMachine() Machine {
	m := Machine{CPU: runtime.GOARCH, Cores: runtime.NumCPU()}
	cpu, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(cpu)) {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "model name":
			m.CPU = strings.TrimSpace(value)
		case "flags":
			m.Virtual = m.Virtual || strings.Contains(value, " hypervisor")
		}
	}
	memory, _ := os.ReadFile("/proc/meminfo")
	if fields := strings.Fields(string(memory)); len(fields) > 1 && fields[0] == "MemTotal:" {
		kB, _ := strconv.ParseFloat(fields[1], 64)
		m.Memory = fmt.Sprintf("%.0f GiB", kB/(1<<20))
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	return m
}

// busy says what part of the machine's processor time is in use, seen over a
// second: before a run, what other programs take away from it.
func busy(ctx context.Context) (float64, error) {
	usage := func() (used, all float64, err error) {
		text, err := os.ReadFile("/proc/stat")
		if err != nil {
			return 0, 0, err
		}
		first, _, _ := strings.Cut(string(text), "\n")
		return parseUsage(first)
	}
	used, all, err := usage()
	if err == nil {
		err = pause(ctx, time.Second)
	}
	if err != nil {
		return 0, err
	}
	used2, all2, err := usage()
	return (used2 - used) / max(1, all2-all), err
}

// tellers are the programs that say their version, how, and where in their
// answer it is.
var tellers = []struct {
	program string
	args    []string
	version *regexp.Regexp
}{
	{"OpenVPN", []string{"openvpn", "--version"}, regexp.MustCompile(`OpenVPN (\S+)`)},
	{"wireguard-go", []string{"wireguard-go", "--version"}, regexp.MustCompile(`wireguard-go v?(\S+)`)},
	{"socat", []string{"socat", "-V"}, regexp.MustCompile(`socat version (\S+)`)},
	// vde_switch --version says nothing of use; this is Debian's.
	{"VDE", []string{"dpkg-query", "-W", "-f", "${Version}", "vde2"}, regexp.MustCompile(`(\S+)`)},
	{"slirp4netns", []string{"slirp4netns", "--version"}, regexp.MustCompile(`slirp4netns version (\S+)`)},
	{"iperf3", []string{"iperf3", "--version"}, regexp.MustCompile(`iperf (\S+)`)},
	{"ping", []string{"ping", "-V"}, regexp.MustCompile(`iputils[- ](\S+)`)},
	{"iproute2", []string{"ip", "-V"}, regexp.MustCompile(`iproute2-([^,\s]+)`)},
	{"perf", []string{"perf", "--version"}, regexp.MustCompile(`perf version (\S+)`)},
}

// versions gives those of tmelink and of what is installed of the others.
func versions(ctx context.Context, tmelink string) []Version {
	var all []Version
	if tmelink != "" {
		all = append(all, Version{"tmelink", tmelinkVersion(ctx, tmelink)})
		if info, err := buildinfo.ReadFile(tmelink); err == nil {
			all = append(all, Version{"Go", strings.TrimPrefix(info.GoVersion, "go")})
		}
	}
	for _, t := range tellers {
		// Some of them end with 1 after they have said it.
		out, _ := exec.CommandContext(ctx, t.args[0], t.args[1:]...).CombinedOutput()
		if m := t.version.FindSubmatch(out); m != nil {
			all = append(all, Version{t.program, string(m[1])})
		}
	}
	return all
}

// tmelinkVersion is what the program says of itself, or the revision that Go
// built it from.
func tmelinkVersion(ctx context.Context, tmelink string) string {
	out, err := exec.CommandContext(ctx, tmelink, "--version").Output()
	version := strings.TrimPrefix(strings.TrimSpace(string(out)), "tmelink version ")
	if err == nil && version != "development" {
		return version
	}
	info, err := buildinfo.ReadFile(tmelink)
	if err != nil {
		return version
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(len(s.Value), 7)]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if revision == "" {
		return version
	}
	return revision + dirty
}

// openvpnWantsLeave says whether OpenVPN runs without keys only if it is told
// that this is deprecated: from 2.7 on.
var openvpnWantsLeave = sync.OnceValue(func() bool {
	out, _ := exec.Command("openvpn", "--version").Output()
	var major, minor int
	fmt.Sscanf(string(out), "OpenVPN %d.%d", &major, &minor)
	return major > 2 || major == 2 && minor >= 7
})

// root is the directory of the module that the bench is run in.
func root(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Path}} {{.Dir}}").Output()
	module, dir, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if err != nil || module != "tmelink" {
		return "", fmt.Errorf("this is not the source tree of tmelink, or Go is missing")
	}
	return dir, nil
}

// buildTmelink builds the program from the source tree, symbols and all, so that
// a profile can name its functions.
func buildTmelink(ctx context.Context, dir string) (string, error) {
	src, err := root(ctx)
	if err != nil {
		return "", fmt.Errorf("build tmelink: %w: give a built one by --tmelink PATH", err)
	}
	describe := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty")
	describe.Dir = src
	version := "development"
	if out, err := describe.Output(); err == nil {
		version = strings.TrimSpace(string(out))
	}
	program := filepath.Join(dir, "tmelink")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-X main.version="+version, "-o", program, "./cmd/tmelink")
	build.Dir = src
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build tmelink in %s: %w%s; a built one can be given by --tmelink PATH", src, err, said(string(out)))
	}
	return program, nil
}

// measured are the packages whose benchmarks the page lists, and which of them: of
// the ciphers those that are measured as subjects too.
var measured = []struct{ pkg, benchmarks string }{
	{"./internal/ethernet", "."},
	{"./internal/transport", "."},
	{"./internal/openvpn", "."},
	{"./internal/openvpn/datachannel", "Window|(Seal|Open)$/^(AES-256-GCM|CHACHA20-POLY1305),_V2|(Seal|Open)$/^AES-256-CBC_with_SHA256,_static"},
}

// runMicro runs the benchmarks of the packages, and says which did not run.
func runMicro(ctx context.Context) (all []Micro, notes []string) {
	src, err := root(ctx)
	if err != nil {
		return nil, []string{"The benchmarks of the packages did not run: " + err.Error() + "."}
	}
	for _, m := range measured {
		if ctx.Err() != nil {
			return nil, nil
		}
		cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", m.benchmarks, "-benchmem", "-benchtime", "300ms", m.pkg)
		cmd.Dir = src
		out, err := cmd.CombinedOutput()
		found := parseMicro(string(out))
		all = append(all, found...)
		if err != nil {
			notes = append(notes, "The benchmarks of "+m.pkg+" failed: "+err.Error()+said(string(out)))
			progress("  %s", notes[len(notes)-1])
		}
	}
	return all, notes
}
