package proxy

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/Azure/go-ntlmssp"
)

// askNTLM shows who we are by NTLM, which takes two requests over one connection: the
// proxy's challenge to the first is answered with the second.
func (x *exchange) askNTLM(conn io.Writer, r *answers) (done bool, err error) {
	hello, err := ntlmssp.NewNegotiateMessage("", "")
	if err != nil {
		return false, fmt.Errorf("begin NTLM: %w", err)
	}
	answer, err := x.roundTrip(conn, r, ntlmToken(hello))
	switch {
	case err != nil:
		return false, err
	case granted(answer):
		return true, nil
	case answer.StatusCode != http.StatusProxyAuthRequired:
		return false, x.refusal(answer)
	}
	asked, err := x.ntlmChallenge(parseChallenges(answer.Header.Values("Proxy-Authenticate")))
	if err != nil {
		return false, err
	}
	if answer.ContentLength < 0 && len(answer.TransferEncoding) == 0 {
		return false, errors.New("the HTTP proxy closes the connection in the middle of NTLM, which cannot go on over another one; try --http-proxy-option VERSION 1.1")
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil { // up to the next answer
		return false, fmt.Errorf("read the HTTP proxy's page: %w", hungUp(err))
	}
	reply, err := ntlmssp.NewAuthenticateMessage(asked, x.Credentials.User, x.Credentials.Password, nil)
	if err != nil {
		return false, fmt.Errorf("answer the HTTP proxy's NTLM challenge: %s", clip(err.Error()))
	}
	if answer, err = x.roundTrip(conn, r, ntlmToken(reply)); err != nil {
		return false, err
	}
	switch {
	case granted(answer):
		return true, nil
	case answer.StatusCode == http.StatusProxyAuthRequired:
		return false, x.choose(answer)
	}
	return false, x.refusal(answer)
}

func ntlmToken(message []byte) string {
	return "NTLM " + base64.StdEncoding.EncodeToString(message)
}

// ntlmChallenge is the proxy's message among what it offers.
func (x *exchange) ntlmChallenge(offered []challenge) ([]byte, error) {
	i := slices.IndexFunc(offered, func(c challenge) bool { return c.scheme == "ntlm" && c.token != "" })
	if i < 0 {
		return nil, fmt.Errorf("the HTTP proxy does not answer NTLM with a challenge; it offers %s: use auto, or another method", x.schemes(offered))
	}
	message, err := base64.StdEncoding.DecodeString(offered[i].token)
	if err != nil {
		return nil, errors.New("the HTTP proxy's NTLM challenge is not base64")
	}
	return message, nil
}
