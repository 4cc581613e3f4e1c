package link

import (
	"strings"

	"tmelink/internal/element"
)

// Why words of OpenVPN that a link does not carry out are refused.
const (
	notYetKeys = "it is not carried out; leave it out"
	notHere    = "which ways of TLS to use is for the library to choose, which takes the safe ones only; leave it out"
	notYetWire = "it changes what is sent on the wire, and is not carried out by this version; leave it out at both ends"
	notServer  = "it belongs to OpenVPN's server mode; a link has one peer"
	noDevice   = "a link has no device of its own; give it to the TAP, a tme/host/openvpn/tun/tap, that the link is connected to"
	noRoutes   = "a link sets no routes; set them on the host, or on what the link is connected to"
	noProcess  = "it concerns a whole OpenVPN process; a link is one element among others of one process"
	noScripts  = "a link runs no programs"
	noTuning   = "it is not carried out by this version, and leaving it out would change how the link behaves"
	noFile     = "it is for profiles, which --config reads"
	noAction   = "it makes openvpn do one thing and end, which a link does not; use the openvpn program"
	otherMTU   = "OpenVPN has given it up; use --tun-mtu"
	oldMTU     = "OpenVPN has given it up; use --fragment"
)

// refusedWords are OpenVPN's options that would be ignored if they were
// accepted, by the reason.
var refusedWords = map[string]string{
	notYetKeys: `genkey tls-crypt-v2-verify tls-cert-profile tls-export-cert tls-verify capath
		cryptoapicert pkcs11-cert-private pkcs11-id pkcs11-id-management pkcs11-pin-cache pkcs11-private-mode
		pkcs11-protected-authentication pkcs11-providers key-derivation keying-material-exporter
		force-tls-key-material-export engine providers prng keysize no-replay replay-persist
		remote-cert-eku remote-cert-ku ns-cert-type verify-hash x509-track
		x509-username-field use-prediction-resistance test-crypto`,
	notHere:    `tls-cipher tls-ciphersuites tls-groups ecdh-curve`,
	notYetWire: `compress comp-lzo comp-noadapt passtos multihome tun-mtu-extra client-nat`,
	notServer: `server server-bridge server-ipv6 pull-filter push push-continuation push-peer-info
		push-remove push-reset client-config-dir client-connect client-crresponse client-disconnect
		client-to-client ccd-exclusive client-cert-not-required verify-client-cert opt-verify duplicate-cn
		ifconfig-pool ifconfig-pool-persist ifconfig-push ifconfig-push-constraint ifconfig-ipv6-pool
		ifconfig-ipv6-push iroute iroute-ipv6 max-clients max-routes max-routes-per-client hash-size connect-freq
		connect-freq-initial learn-address stale-routes-check tcp-queue-limit username-as-common-name
		auth-gen-token auth-gen-token-secret auth-token auth-token-user
		auth-user-pass-optional auth-user-pass-verify static-challenge peer-id protocol-flags
		vlan-accept vlan-pvid vlan-tagging disable compat-mode`,
	noDevice: `dev-node lladdr mktun rmtun ip-win32 iproute dhcp-option dhcp-pre-release dhcp-release dhcp-renew
		dhcp-internal register-dns rdns-internal tap-sleep windows-driver win-sys up up-delay up-restart down
		down-pre dns block-outside-dns show-net-up`,
	noRoutes: `route route-delay route-gateway route-ipv6 route-ipv6-gateway route-method route-metric
		route-noexec route-nopull route-pre-down route-up redirect-gateway redirect-private block-ipv6`,
	noProcess: `daemon log log-append syslog status status-version writepid user group chroot cd setcon service
		management management-client management-client-auth management-client-group management-client-user
		management-external-cert management-external-key management-forget-disconnect management-hold
		management-log-cache management-query-passwords management-query-proxy management-query-remote
		management-signal management-up-down memstats remap-usr1 machine-readable-output inetd pause-exit
		allow-nonadmin msg-channel tmp-dir`,
	noScripts: `ipchange plugin`,
	noTuning:  `http-proxy-override remote-random-hostname gremlin`,
	noFile:    `parameter ignore-unknown-option ip-remote-hint`,
	noAction: `help version show-adapters show-ciphers show-curves show-digests show-engines show-gateway
		show-groups show-net show-pkcs11-ids show-tls show-valid-subnets`,
	otherMTU: `link-mtu udp-mtu`,
	oldMTU:   `mtu-dynamic`,
}

// idleWords are OpenVPN's options that cannot matter here, with the shape of
// their values and why.
var idleWords = []element.Option{
	{Name: "--verb", Values: "[N]", Doc: "The `log` statement says how much an element logs."},
	{Name: "--mute", Values: "[N]", Doc: "The `log` statement says how much an element logs."},
	{Name: "--suppress-timestamps", Doc: "The form of the log is the process's."},
	{Name: "--errors-to-stderr", Doc: "The log goes there anyway."},
	{Name: "--echo", Values: "[WORD…]", Doc: "It only writes to OpenVPN's log."},
	{Name: "--nice", Values: "[N]", Doc: "Set the priority of the whole process."},
	{Name: "--mlock", Doc: "Lock the memory of the whole process, if keys must not get into the swap space."},
	{Name: "--fast-io", Doc: "Frames are sent without waiting anyway."},
	{Name: "--txqueuelen", Values: "[N]", Doc: "A link has no device, whose queue it would be."},
	{Name: "--bcast-buffers", Values: "[N]", Doc: "A link has no such buffers."},
	{Name: "--tun-mtu-max", Values: "[BYTES]", Doc: "The buffers are large enough."},
	{Name: "--persist-tun", Doc: "A link has no device."},
	{Name: "--persist-key", Doc: "Keys are read once."},
	{Name: "--persist-local-ip", Doc: "The local address is looked up again at each start."},
	{Name: "--persist-remote-ip", Doc: "After a restart the last address is tried first anyway."},
	{Name: "--preresolve", Doc: "Names are looked up at the start anyway."},
	{Name: "--tcp-nodelay", Doc: "It is set anyway."},
	{Name: "--disable-occ", Doc: "A link asks nobody for his options anyway."},
	{Name: "--disable-dco", Doc: "The kernel's OpenVPN module is not used."},
	{Name: "--tun-ipv6", Doc: "Ethernet carries IPv6 anyway."},
	{Name: "--http-proxy-retry", Doc: "After a proxy's refusal it is tried again anyway."},
	{Name: "--socks-proxy-retry", Doc: "After a proxy's refusal it is tried again anyway."},
	{Name: "--http-proxy-timeout", Values: "[SECONDS]", Doc: "It is --connect-timeout that says how long a proxy may take."},
	{Name: "--topology", Values: "[NAME]", Doc: "It has no meaning for a TAP."},
	{Name: "--ifconfig-noexec", Doc: "A link configures no interface anyway."},
	{Name: "--script-security", Values: "[LEVEL] [METHOD]", Doc: "A link runs no programs."},
	{Name: "--setenv", Values: "[NAME] [VALUE…]", Doc: "A link runs no programs that would see it."},
	{Name: "--setenv-safe", Values: "[NAME] [VALUE…]", Doc: "A link runs no programs that would see it."},
	{Name: "--allow-compression", Values: "[MODE]", Doc: "Nothing is compressed."},
	{Name: "--allow-recursive-routing", Doc: "A link does not look into the frames."},
	{Name: "--allow-pull-fqdn", Doc: "What a server says must be addresses."},
	{Name: "--auth-nocache", Doc: "A password must be at hand for the next connection."},
	{Name: "--no-name-remapping", Doc: "Names are compared as they are in certificates."},
	{Name: "--compat-names", Values: "[MODE]", Doc: "Names are compared as they are in certificates."},
	{Name: "--allow-deprecated-insecure-static-crypto", Doc: "A link needs no leave for a static key, or none; OpenVPN 2.7 does."},
}

func withoutEffect() []element.Option {
	options := make([]element.Option, len(idleWords))
	for i, o := range idleWords {
		o.Doc = "Without effect: " + o.Doc
		o.Repeat = true
		options[i] = o
	}
	return options
}

// refused are the refused words, with any number of values so that these are
// not taken for options.
func refused() []element.Option {
	var options []element.Option
	for why, words := range refusedWords {
		for _, word := range strings.Fields(words) {
			options = append(options, element.Option{
				Name: "--" + word, Values: "[VALUE…]", Doc: "Refused: " + why + ".", Repeat: true, Refused: why,
			})
		}
	}
	return sorted(options)
}
