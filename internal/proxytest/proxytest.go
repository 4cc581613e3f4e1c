// Package proxytest starts Debian's proxies for tests: tinyproxy, squid and danted. Each
// knows one user, where it wants to know anybody.
//
// Where they run, a Starter says; the addresses that they listen at are the test's to
// choose. None of them waits until somebody can connect.
package proxytest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tmelink/internal/nstest"
)

// The user of every proxy, with his password as it is and as crypt(3) has it.
const (
	User     = "user"
	Password = "opensesame"
	crypt    = "$1$tmelink$1qI5FvhD0JuYHZqWvBil31"
)

// Starter starts a program, as nstest.Start and nstest.Host.Start do.
type Starter func(name string, args ...string) *nstest.Process

// folder is one that programs which give up root can read, too, with files of the names
// and contents given, in which DIR stands for its name. The user's login is in "login",
// and one with another password in "wrong".
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "proxy")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	files["login"], files["wrong"] = User+"\n"+Password+"\n", User+"\nguessed\n"
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "DIR", dir)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// BasicAuth has tinyproxy ask for the user's password.
const BasicAuth = "BasicAuth " + User + " " + Password

// Tinyproxy starts one, with more lines of configuration, and gives its folder.
func Tinyproxy(t testing.TB, start Starter, addr string, port uint16, more string) (dir string, p *nstest.Process) {
	t.Helper()
	nstest.Need(t, "tinyproxy")
	dir = folder(t, map[string]string{"conf": fmt.Sprintf("Port %d\nListen %s\nTimeout 600\nMaxClients 100\n%s\n", port, addr, more)})
	return dir, start("tinyproxy", "-d", "-c", dir+"/conf")
}

// What squid may ask for, and of whom. Of NTLM its helper says a challenge, and believes
// any answer: those from Debian know version 1 alone.
const (
	SquidBasic  = "auth_param basic program /usr/lib/squid/basic_ncsa_auth DIR/basic\n"
	SquidDigest = "auth_param digest program /usr/lib/squid/digest_file_auth DIR/digest\nauth_param digest realm links\n"
	SquidNTLM   = "auth_param ntlm program /bin/sh DIR/ntlm\n"
	SquidUsers  = "acl users proxy_auth REQUIRED\nhttp_access allow users\n"

	ntlmHelper = `while read -r kind token; do
	case $kind in
	YR) echo "TT TlRMTVNTUAACAAAAAAAAADAAAAABAogAMDEyMzQ1NjcAAAAAAAAAAAoACgAwAAAAAgACAEQAAAAAAA==" ;;
	KK) echo "AF user" ;;
	esac
done
`
)

// Squid starts one, with more lines of configuration, and gives its folder.
func Squid(t testing.TB, start Starter, addr string, port uint16, more string) (dir string, p *nstest.Process) {
	t.Helper()
	nstest.Need(t, "squid")
	dir = folder(t, map[string]string{
		"basic":  User + ":" + crypt + "\n",
		"digest": User + ":" + Password + "\n",
		"ntlm":   ntlmHelper,
		"conf": fmt.Sprintf(`http_port %s:%d
visible_hostname squid
pid_filename none
access_log none
cache_store_log none
cache_log /dev/null
pinger_enable off
cache deny all
shutdown_lifetime 0 seconds
%s
http_access deny all
`, addr, port, more)})
	return dir, start("squid", "-N", "-d", "1", "-f", dir+"/conf")
}

// Dante is how a danted is to be.
type Dante struct {
	Internal, External string // addresses: its own, and from which it reaches others
	Port               uint16
	Method             string // "none", or "username", for which it has a password file of its own
}

// Folder makes the folder of one, which alone knows where peer.example is: 127.0.0.1.
func (d Dante) Folder(t testing.TB) string {
	t.Helper()
	nstest.Need(t, "danted", "unshare")
	accounts, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	return folder(t, map[string]string{
		"passwd": string(accounts) + User + ":x:42424:65534::/nonexistent:/bin/false\n",
		"shadow": User + ":" + crypt + ":19000:0:99999:7:::\n",
		"hosts":  "127.0.0.1 localhost peer.example\n",
		"conf": fmt.Sprintf(`logoutput: stderr
internal: %s port = %d
external: %s
clientmethod: none
socksmethod: %s
user.privileged: root
user.unprivileged: nobody
client pass { from: 0/0 to: 0/0 }
socks pass { from: 0/0 to: 0/0 }
`, d.Internal, d.Port, d.External, d.Method)})
}

// RunDante starts the one of a folder, and gives what ends it: its processes outlive each
// other, so that they have a process namespace, which dies with its first process. That
// is the shell: danted, which changes its user, would not be killed together with unshare.
func RunDante(t testing.TB, start Starter, dir string) (p *nstest.Process, end func()) {
	t.Helper()
	mounts := ""
	for _, file := range []string{"passwd", "shadow", "hosts"} {
		mounts += fmt.Sprintf("mount --bind %s/%s /etc/%[2]s && ", dir, file)
	}
	p = start("unshare", "-m", "-p", "--fork", "--kill-child", "sh", "-c", mounts+"danted -f "+dir+"/conf; exit")
	end = func() { p.Signal(syscall.SIGKILL) }
	t.Cleanup(end)
	return p, end
}
