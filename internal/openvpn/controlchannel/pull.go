package controlchannel

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"tmelink/internal/openvpn/datachannel"
)

// pull is how far a client has come in asking its server what to do.
type pull struct {
	again   time.Time // when to ask; zero: not any more
	until   time.Time // when to give up
	parts   string    // of a reply in several messages
	settled bool
}

const (
	firstRequest = time.Second // servers of 2.6 reply unasked
	nextRequest  = 5 * time.Second
	maxReply     = 64 << 10 // bytes of a reply with all its parts
)

// told says whether a client's server has said what to do.
func (s *session) told() bool {
	return !s.channel.config.Pull || s.primary.keyID > 0 || s.pull.settled
}

// request asks the server what to do, until it has said.
func (s *session) request(now time.Time) {
	c, p := s.channel, &s.pull
	if !c.config.Pull || s.primary.keyID > 0 || p.settled {
		return
	}
	switch {
	case p.until.IsZero():
		p.until, p.again = now.Add(c.config.HandWindow), now.Add(firstRequest)
	case !now.Before(p.until):
		c.err = errors.New("the server does not say what to do (no PUSH_REPLY): is it an OpenVPN in server mode? With a peer like ourselves, say tls-client in place of client")
	case !now.Before(p.again):
		p.again = now.Add(nextRequest)
		s.say("PUSH_REQUEST")
	}
}

// say sends a message to the peer.
func (s *session) say(message string) {
	if err := s.primary.tls.write(append([]byte(message), 0)); err == nil {
		s.primary.flush()
	}
}

// hear takes up a record of the peer: messages, each with a zero byte at its end.
func (c *Channel) hear(s *session, record []byte, now time.Time) {
	for message := range bytes.SplitSeq(record, []byte{0}) {
		text := strings.TrimRight(string(message), "\r\n")
		if text == "" {
			continue
		}
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			c.tellOdd("ignored a message of the peer: it is not text")
			continue
		}
		if err := c.obey(s, text, now); err != nil && c.err == nil {
			c.err = err
		}
	}
}

// ErrExit is the end of a session whose peer has said that it ends.
var ErrExit = errors.New("the peer has ended, and said so")

// obey does what a message of the peer says (push.c); its error ends the channel.
func (c *Channel) obey(s *session, text string, now time.Time) error {
	word, rest, _ := strings.Cut(text, ",")
	if word == "EXIT" {
		return ErrExit
	}
	if !c.config.Pull {
		if word == "PUSH_REQUEST" {
			c.tellOdd("the peer asks what to do, which only a server with clients tells; say tls-client in place of client there")
		}
		return nil
	}
	switch word {
	case "PUSH_REPLY":
		return c.reply(s, rest)
	case "AUTH_FAILED":
		return authFailed(rest)
	case "RESTART":
		return fmt.Errorf("the server wants a new connection: %s", orElse(rest, "no reason given"))
	case "HALT":
		return &FinalError{fmt.Errorf("the server wants this end to stop: %s", orElse(rest, "no reason given"))}
	case "AUTH_PENDING":
		wait := max(c.config.RenegTime/2, c.config.HandWindow)
		for keyword := range strings.SplitSeq(rest, ",") {
			text, ok := strings.CutPrefix(keyword, "timeout ")
			if limit, err := seconds(text); ok && err == nil && limit > 0 {
				wait = min(wait, limit)
			}
		}
		s.pull.until = now.Add(wait)
		c.config.Log.Info("the server waits for a second proof of who the user is", "for", wait)
	case "INFO", "INFO_PRE":
		c.config.Log.Info("the server says", "text", rest)
	default:
		c.tellOdd("ignored a message of the server", "message", word)
	}
	return nil
}

// authFailed is the end of a user who is not let in.
func authFailed(reason string) error {
	if temporary, ok := strings.CutPrefix(reason, "TEMP"); ok {
		return fmt.Errorf("the server lets the user in later: %s", orElse(strings.TrimLeft(temporary, ":, "), "no reason given"))
	}
	text := "the server does not let the user in (AUTH_FAILED): correct the name and password in the file of --auth-user-pass, or the server's list"
	if reason != "" {
		text += "; it says: " + reason
	}
	return &FinalError{errors.New(text)}
}

// reply takes up what the server says, which may come in several messages.
func (c *Channel) reply(s *session, options string) error {
	if s.pull.settled {
		return nil // the answer to a question that was answered before
	}
	if len(s.pull.parts)+len(options) > maxReply {
		return errors.New("the server's PUSH_REPLY is too long")
	}
	s.pull.parts += "," + options
	if strings.Contains(options, "push-continuation 2") {
		return nil
	}
	pushed, err := parseSettings(s.pull.parts)
	if err != nil {
		return err
	}
	if err := s.settle(pushed); err != nil {
		return err
	}
	if pushed.token != "" {
		c.config.Password = pushed.token
	}
	s.pull.settled, s.pull.parts, s.pull.again = true, "", time.Time{}
	if c.config.Settled != nil {
		c.config.Settled(&pushed.Settings)
	}
	return nil
}

// settle decides on the data channel by what the server has pushed
// (check_pull_client_ncp in ssl_ncp.c).
func (s *session) settle(p *settings) error {
	c := s.channel.config
	name := orElse(p.cipher, optionValue(s.primary.peer.options, "cipher"))
	cipher := c.named(name)
	if cipher == nil && (p.cipher == "" || c.Fallback != nil && strings.EqualFold(c.Fallback.Name, p.cipher)) {
		cipher = c.Fallback
	}
	if cipher == nil {
		return &FinalError{fmt.Errorf("the server's cipher %s is not among those of this end, %s: add it to --data-ciphers", orElse(name, "(it names none)"), cipherList(c.Ciphers))}
	}
	s.agreed = agreed{
		suite:  datachannel.Suite{Cipher: cipher, Digest: c.Digest},
		export: p.export, numbered: p.numbered, peerID: p.peerID, exitNotify: p.exitNotify, dynamic: p.dynamic,
	}
	return nil
}

// Exit tells the peer that this end ends, and says whether it could: peers from 2.6
// on are told so.
func (c *Channel) Exit() bool {
	if c.current == nil || !c.current.agreed.exitNotify || c.current.primary.stage < active || c.current.primary.stage == failed {
		return false
	}
	c.current.say("EXIT")
	return true
}

// Said says whether the peer has acknowledged all that was said to it.
func (c *Channel) Said() bool { return c.current == nil || c.current.primary.out.empty() }
