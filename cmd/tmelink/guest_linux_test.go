package main

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"tmelink/internal/nstest"
)

// guestFolder is where scripts/guest has put what guests boot: Debian's kernel for
// clouds with its modules, and busybox.
const guestFolder = "/var/cache/tmelink/guest"

// guestModules are those that a guest's network needs, without what they depend on.
var guestModules = []string{"virtio_pci", "virtio_net", "vmxnet3"}

// needGuests is nstest.Need for tests that boot guests in QEMU.
func needGuests(t *testing.T, programs ...string) {
	t.Helper()
	nstest.Need(t, append(programs, "qemu-system-x86_64")...)
	if _, err := os.Stat(filepath.Join(guestFolder, "ready")); err == nil {
		return
	}
	if runtime.GOARCH != "amd64" {
		t.Skip("skipped: guests boot Debian's kernel for amd64, which apt gives only there")
	}
	if os.Getenv("TMELINK_PEERS") == "must" {
		t.Fatalf("%s is missing: `make peers` fetches it", guestFolder)
	}
	t.Skipf("skipped: %s is missing: `make peers` fetches it", guestFolder)
}

// guestFile is the one file below guestFolder that a pattern says.
func guestFile(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(guestFolder, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%d files are %s in %s, want one: remove the folder, `make peers` fetches it anew", len(found), pattern, guestFolder)
	}
	return found[0]
}

func kernelImage(t *testing.T) string { return guestFile(t, "boot/vmlinuz-*") }

// guestBegin is what every guest does first. Its network device is eth0. With the
// shell's function report it says something in a line of its own.
const guestBegin = `#!/bin/busybox sh
report() { printf '\n<%s>\n' "$*"; }
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for m in $(cat /modules/order); do insmod /modules/$m; done
ip link set lo up
until ip link set eth0 up 2>/dev/null; do usleep 10000; done
`

// guestDHCP has the guest learn its address, and tell it.
const guestDHCP = `udhcpc -i eth0 -q -n -t 20 -T 1 -O mtu -O domain -s /udhcpc
`

// initramfs makes the file system of a guest that does what a script says, with
// files besides, and gives its name.
func initramfs(t *testing.T, script string, files map[string][]byte) string {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	a := &cpio{w: z}
	read := func(name string) []byte {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for _, folder := range []string{"bin", "dev", "proc", "modules", "etc", "www"} {
		a.add(folder, 0o040755, nil)
	}
	a.add("bin/busybox", 0o100755, read(guestFile(t, "bin/busybox")))
	a.add("bin/sh", 0o120777, []byte("busybox"))
	order := moduleOrder(t, guestModules)
	for _, name := range order {
		a.add("modules/"+name, 0o100644, read(filepath.Join(guestFolder, "modules", name)))
	}
	a.add("modules/order", 0o100644, []byte(strings.Join(order, "\n")+"\n"))
	a.add("udhcpc", 0o100755, []byte(udhcpcScript+"echo nameserver $dns >/etc/resolv.conf\n"))
	for name, text := range files {
		a.add(name, 0o100644, text)
	}
	a.add("init", 0o100755, []byte(guestBegin+script))
	a.end()
	z.Close()
	if a.err != nil {
		t.Fatal(a.err)
	}
	name := filepath.Join(t.TempDir(), "initramfs")
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// moduleOrder gives the files of modules, each after those that it depends on. One
// that has no file is part of the kernel.
func moduleOrder(t *testing.T, modules []string) (order []string) {
	t.Helper()
	done := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		if done[name] {
			return
		}
		done[name] = true
		f, err := elf.Open(filepath.Join(guestFolder, "modules", name+".ko"))
		if os.IsNotExist(err) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var info []byte
		if section := f.Section(".modinfo"); section != nil {
			info, err = section.Data()
		}
		if err != nil {
			t.Fatal(err)
		}
		for field := range strings.SplitSeq(string(info), "\x00") {
			if depends, ok := strings.CutPrefix(field, "depends="); ok {
				for _, d := range strings.FieldsFunc(depends, func(r rune) bool { return r == ',' }) {
					add(d)
				}
			}
		}
		order = append(order, name+".ko")
	}
	for _, m := range modules {
		add(m)
	}
	return order
}

// cpio writes an archive in the format newc, of which the kernel unpacks its first
// file system (Documentation/driver-api/early-userspace/buffer-format.rst).
type cpio struct {
	w   io.Writer
	n   int // of files
	err error
}

// add adds a file of a type and permissions; the text of a symbolic link is where
// it leads.
func (a *cpio) add(name string, mode uint32, text []byte) {
	a.n++
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.n, mode, 0, 0, 1, 0, len(text), 0, 0, 0, 0, len(name)+1, 0)
	for _, part := range [][]byte{append([]byte(header+name), 0), text} {
		part = append(part[:len(part):len(part)], make([]byte, -len(part)&3)...)
		if a.err == nil {
			_, a.err = a.w.Write(part)
		}
	}
}

func (a *cpio) end() { a.add("TRAILER!!!", 0, nil) }

// qemu boots a PC in a host; its console is the process's output.
func qemu(t *testing.T, h *nstest.Host, args ...string) *nstest.Process {
	t.Helper()
	return h.Start("qemu-system-x86_64", append(append(qemuArgs[:len(qemuArgs):len(qemuArgs)], "-cpu", "max", "-m", "192"), args...)...)
}

// qemuArgs leave a machine its console and what else is asked for.
var qemuArgs = []string{"-no-user-config", "-nodefaults", "-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot"}

// kernelArgs has QEMU boot the kernel.
func kernelArgs(t *testing.T, initramfs string) []string {
	return []string{"-kernel", kernelImage(t), "-initrd", initramfs, "-append", kernelLine}
}

// kernelLine is the kernel's command line: the console is the serial port, and a
// kernel that fails ends QEMU.
const kernelLine = "console=ttyS0 quiet panic=-1"

// device is the option for a network device at the back-end n0.
func device(model string, last byte) []string {
	return []string{"-device", fmt.Sprintf("%s,netdev=n0,mac=52:54:00:00:77:%02x", model, last)}
}

// streamBackend is QEMU's back-end that connects to a socket of tmelink's.
func streamBackend(path string) []string {
	return []string{"-netdev", "stream,id=n0,server=off,addr.type=unix,addr.path=" + path}
}

// dgramBackend is QEMU's back-end with a socket for each direction.
func dgramBackend(local, remote string) []string {
	return []string{"-netdev", fmt.Sprintf("dgram,id=n0,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s", local, remote)}
}

// reported waits until a guest has reported a word for the nth time, and gives the
// words behind it.
func reported(t *testing.T, p *nstest.Process, word string, n int) []string {
	t.Helper()
	line := regexp.MustCompile(`<` + word + `( [^>\n]*)?>`)
	var found [][]string
	if !nstest.Eventually(120*time.Second, func() bool {
		found = line.FindAllStringSubmatch(p.Output(), -1)
		return len(found) >= n
	}) {
		t.Fatalf("the guest has reported %q %d times, want %d:\n%s", word, len(found), n, p.Output())
	}
	return strings.Fields(found[n-1][1])
}
