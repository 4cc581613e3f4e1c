package vale

import (
	"fmt"
	"log/slog"
	"sync"

	"tmelink/internal/elements/generic"
)

// registry is the switches of a process by their names.
type registry struct {
	mu     sync.Mutex
	shared map[string]*shared
}

// switches are those of this process.
var switches registry

// shared is one switch. It lives as long as it has users.
type shared struct {
	registry *registry
	name     string
	sw       *generic.Switch
	users    int             // under the registry's mu, as is what follows
	ports    map[string]bool // the names that ports have
	uplink   *uplink
}

// join gives the switch of a name to one more user, who calls leave in the end.
// The uplink's events go to the log of the first.
func (r *registry) join(name, port string, log *slog.Logger) (*shared, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.shared[name]
	if s == nil {
		s = &shared{registry: r, name: name, sw: generic.NewSwitch(log), ports: map[string]bool{}}
		s.uplink = startUplink(s.sw, name, log)
		if r.shared == nil {
			r.shared = map[string]*shared{}
		}
		r.shared[name] = s
	}
	if port != "" && s.ports[port] {
		return nil, fmt.Errorf("another element has its port %s already; give one of them another port", port)
	}
	if port != "" {
		s.ports[port] = true
	}
	s.users++
	return s, nil
}

// leave ends a user's use.
func (s *shared) leave(port string) {
	s.registry.mu.Lock()
	defer s.registry.mu.Unlock()
	delete(s.ports, port)
	if s.users--; s.users > 0 {
		return
	}
	delete(s.registry.shared, s.name)
	s.uplink.stop()
	s.sw.Close()
}
