package openvpn

import "time"

// RetryDelay is the pause before the next attempt to connect, after a number of
// attempts without success at as many remotes: base, doubled for each round
// after the fifth, at most limit (socket_restart_pause in OpenVPN's init.c; see
// --connect-retry in its manual).
func RetryDelay(attempts, remotes int, base, limit time.Duration) time.Duration {
	delay := base
	if rounds := attempts/max(remotes, 1) - 4; rounds > 0 {
		delay = max(delay, time.Second) << min(rounds, 15)
	}
	return min(delay, max(limit, base))
}
