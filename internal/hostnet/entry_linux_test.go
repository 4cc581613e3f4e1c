package hostnet

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestEntries(t *testing.T) {
	for _, line := range []string{
		"up tap0 7",
		"mtu tap0 7 1500",
		"hwaddr tap0 7 02:00:00:00:00:01",
		"address tap0 7 10.0.77.1/24",
		"address tap0 7 fd00::1/64",
		"route tap0 7 10.9.0.0/16,10.8.0.1,0",
		"route tap0 7 0.0.0.0/0,,50",
		"route tap0 7 fd00:9::/64,fe80::1,2147483647",
		"master tap0 7 0",
		"sysctl ipv4/conf/eth0.100/forwarding 0 1",
		"sysctl ipv6/conf/all/forwarding 0 1",
		"sysctl ipv6/conf/eth0/accept_ra 1 2",
	} {
		e, err := parseEntry(line)
		if err != nil {
			t.Errorf("%s: %v", line, err)
		} else if e.String() != line {
			t.Errorf("%s became %s", line, e)
		}
	}
}

func TestStrangeEntries(t *testing.T) {
	for _, line := range []string{
		"", "up", "up tap0", "up tap0 0", "up tap0 -1", "up tap0 7 x", "up averyverylongname 7", "mtu tap0 7", "mtu tap0 7 x",
		"hwaddr tap0 7 zz", "address tap0 7 10.0.0.1", "route tap0 7 default",
		"route tap0 7", "route tap0 7 10.9.0.0/16", "route tap0 7 10.9.0.0/16,x,0", "route tap0 7 10.9.0.0/16,10.8.0.1,", "route tap0 7 10.9.0.0/16,10.8.0.1,-1",
		"route tap0 7 10.9.0.1/16,10.8.0.1,0", "route tap0 7 10.9.0.0/16,fd00::1,0", "route tap0 7 10.9.0.0/16,10.8.0.1,0,0", "route tap0 7 10.9.0.0/16,10.8.0.1,+7",
		"sysctl ipv4/conf/../forwarding 0 1",
		"sysctl ipv4/conf/eth0/../../../../kernel/core_pattern 0 1",
		"sysctl ipv4/ip_forward 0 1",
		"sysctl /proc/sys/kernel/panic 0 1",
		"sysctl ipv4/conf/eth0/forwarding 0 |sh",
		"sysctl ipv4/conf/eth0/forwarding 0",
		"sysctl ipv4/conf/eth0/rp_filter 0 1",
		"mtu tap0 7 1500" + strings.Repeat(" ", 200),
	} {
		if e, err := parseEntry(line); err == nil {
			t.Errorf("%q was taken as %v", line, e)
		}
	}
}

func TestOwner(t *testing.T) {
	me, err := self()
	if err != nil {
		t.Fatal(err)
	}
	read, err := parseOwner(me.String())
	if err != nil || read != me {
		t.Fatalf("%v became %v, %v", me, read, err)
	}
	later := me
	later.start++ // the number was given to another process
	gone := me
	gone.pid = 1<<22 + 1 // above the kernel's limit (proc(5), pid_max)
	elsewhere := gone
	elsewhere.pidns = "pid:[1]"
	for _, c := range []struct {
		what string
		o    owner
		want bool
	}{{"this process", me, true}, {"its number, another start", later, false}, {"no process", gone, false},
		{"another pid namespace", elsewhere, true}, {"no owner", owner{unread: true}, false}, {"pid 1", owner{pid: 1, start: me.start, pidns: me.pidns}, false}} {
		if got := c.o.alive(); got != c.want {
			t.Errorf("%s: alive is %v, want %v", c.what, got, c.want)
		}
	}
	for _, line := range []string{"", "owner", "owner 0 1 x", "owner x 1 y", "owner 1 x y", "own 1 2 3", "owner 1 2"} {
		if o, err := parseOwner(line); err == nil {
			t.Errorf("%q was taken as %v", line, o)
		}
	}
}

func FuzzParseEntry(f *testing.F) {
	for _, s := range []string{"up tap0 7", "mtu tap0 7 1500", "sysctl ipv4/conf/eth0/forwarding 0 1", "address tap0 7 fd00::1/64", "route tap0 7 10.9.0.0/16,10.8.0.1,0", "master a 1 2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		e, err := parseEntry(line)
		if err != nil {
			return
		}
		if e.Verb == verbSwitch && !filepath.IsLocal(e.Path) {
			t.Fatalf("%q names the file %q", line, e.Path)
		}
		again, err := parseEntry(e.String())
		if err != nil || again != e {
			t.Fatalf("%q was read as %q and then as %q, %v", line, e, again, err)
		}
	})
}

func FuzzParseOwner(f *testing.F) {
	f.Add("owner 12 34 pid:[56]")
	f.Fuzz(func(t *testing.T, line string) {
		if o, err := parseOwner(line); err == nil {
			if again, err := parseOwner(o.String()); err != nil || again != o {
				t.Fatalf("%q was read as %v and then as %v, %v", line, o, again, err)
			}
		}
	})
}

func FuzzComment(f *testing.F) {
	f.Add(commentData("up tap0 7"))
	f.Add([]byte{1, 2, 3, 4, 0, 3, 'a', 'b', 0})
	f.Add([]byte{0, 255, 'a'})
	f.Fuzz(func(t *testing.T, udata []byte) {
		if got := comment(udata); len(got) > len(udata) {
			t.Fatalf("a comment of %d bytes in %d bytes", len(got), len(udata))
		}
	})
}
