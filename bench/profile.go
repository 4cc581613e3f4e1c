package main

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Profile is where the processor's time went during a stream.
type Profile struct {
	Subject   string     `json:"subject"`
	Absent    string     `json:"absent,omitempty"` // why there is none
	Note      string     `json:"note,omitempty"`
	Samples   int        `json:"samples"`
	Gbps      float64    `json:"gbps"` // of the stream, while it was recorded
	Groups    []Share    `json:"groups"`
	Functions []Function `json:"functions"`
}

// The subjects of which a profile is taken.
const (
	plainProfiled = "tmelink-udp"
	keyedProfiled = "tmelink-udp-gcm"
)

// Share is a group of functions' part of all samples.
type Share struct {
	Group   string  `json:"group"`
	Percent float64 `json:"percent"`
}

// Function is one function's own part of all samples.
type Function struct {
	Name    string  `json:"name"`
	Where   string  `json:"where"` // kernel, or the program
	Group   string  `json:"group"`
	Percent float64 `json:"percent"`
}

const (
	copies     = "kernel: copies"
	checksums  = "kernel: checksums"
	scheduling = "kernel: scheduling, wake-ups, soft interrupts"
	otherKern  = "kernel: other, mostly network and memory"
	goSegments = "tmelink: segmentation, coalescing, checksums"
	goSeals    = "tmelink: sealing and opening"
	otherGo    = "tmelink: other Go code, the runtime included"
	measuring  = "iperf3 itself"
	elsewhere  = "other programs"
	idle       = "idle"
)

var groups = []string{copies, checksums, scheduling, otherKern, goSegments, goSeals, otherGo, measuring, elsewhere, idle}

// kernelGroups says by its name what a function of the kernel is there for. The
// first that matches counts.
var kernelGroups = []struct {
	names *regexp.Regexp
	group string
}{
	{regexp.MustCompile(`safe_halt|^(default|do|cpuidle|acpi|intel|amd|poll|mwait|arch_cpu)_?idle|^cpuidle|^call_cpuidle|cpu_idle|^mwait`), idle},
	{regexp.MustCompile(`csum|checksum`), checksums},
	{regexp.MustCompile(`copy_(to|from)_(iter|user)|copy_user|^_?copy_(to|from)|^rep_movs|^mem(cpy|move)|^__mem(cpy|move)|skb_copy_|copyin|copyout|check_object_size|check_heap_object|copy_datagram|copy_page|datagram_iter|clear_user`), copies},
	{regexp.MustCompile(`^_raw_spin_unlock_irq|softirq|^finish_task_switch|^__?schedule|^schedule|sched_|^try_to_wake|^ttwu|wake_?up|^wake_|^autoremove_wake|^default_wake|pollwake|ep_poll|epoll|^core_sys_select|do_select|^select_|^poll_|do_sys_poll|futex|hrtimer|^tick_|^ktime_|read_tsc|tsc$|clock|^pick_|^enqueue_task|^dequeue_task|^(en|de)queue_entit|^update_(curr|load|rq|se|min)|^put_prev|^set_next|^switch_|^__switch_to|^prepare_task|idle_cpu|^nohz|^rcu_|ipi|^smp_|sysvec|^irq|resched|reweight|place_entity|avg|preempt`), scheduling},
}

var (
	goSegmentNames = regexp.MustCompile(`^tmelink/internal/ethernet\.`)
	goSealNames    = regexp.MustCompile(`^crypto/|^golang\.org/x/crypto/|^tmelink/internal/openvpn/datachannel\.`)
)

// groupOf says what a sample's function is there for.
func groupOf(program, object, name string) string {
	if strings.HasPrefix(object, "[kernel") || strings.HasPrefix(object, "[guest.kernel") || strings.HasSuffix(object, ".ko") {
		for _, g := range kernelGroups {
			if g.names.MatchString(name) {
				return g.group
			}
		}
		return otherKern
	}
	switch {
	case program == "iperf3":
		return measuring
	case program != "tmelink":
		return elsewhere
	case goSegmentNames.MatchString(name):
		return goSegments
	case goSealNames.MatchString(name):
		return goSeals
	default:
		return otherGo
	}
}

// perfColumns are the columns that perf report is told to print, for parsePerf.
const perfColumns = "sample,comm,dso,symbol"

// profileRows is how many functions are listed.
const profileRows = 20

// parsePerf reads perf report --stdio -F sample,comm,dso,symbol -t '|', with the
// program's file name given for its process's name, which may be cut off.
func parsePerf(text, tmelink string) *Profile {
	type key struct{ name, where, group string }
	byFunction := map[key]int{}
	byGroup := map[string]int{}
	p := &Profile{}
	for line := range strings.Lines(text) {
		cells := strings.Split(line, "|")
		if strings.HasPrefix(line, "#") || len(cells) < 4 {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		samples, err := strconv.Atoi(cells[0])
		if err != nil {
			continue
		}
		program, object := cells[1], cells[2]
		if strings.HasSuffix(object, "/"+path.Base(tmelink)) || object == path.Base(tmelink) || program == path.Base(tmelink) {
			program = "tmelink"
		}
		level, name, _ := strings.Cut(cells[3], " ") // "[k] name"
		name = strings.TrimSpace(name)
		where := program
		if level == "[k]" {
			where = "kernel"
		}
		group := groupOf(program, object, name)
		byFunction[key{name, where, group}] += samples
		byGroup[group] += samples
		p.Samples += samples
	}
	percent := func(samples int) float64 { return 100 * float64(samples) / float64(p.Samples) }
	for _, g := range groups {
		if byGroup[g] > 0 {
			p.Groups = append(p.Groups, Share{g, percent(byGroup[g])})
		}
	}
	for k, samples := range byFunction {
		p.Functions = append(p.Functions, Function{k.name, k.where, k.group, percent(samples)})
	}
	slices.SortFunc(p.Functions, func(a, b Function) int {
		return cmp.Or(cmp.Compare(b.Percent, a.Percent), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Where, b.Where))
	})
	p.Functions = p.Functions[:min(len(p.Functions), profileRows)]
	return p
}
