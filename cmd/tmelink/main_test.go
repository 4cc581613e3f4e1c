package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary be the programs that the tests start: tmelink
// itself, with the element type tme/test/probe added, and small peers for it.
func TestMain(m *testing.M) {
	if os.Getenv("GORACE") == "" { // else each of them waits for a second at its end
		os.Setenv("GORACE", "atexit_sleep_ms=0")
	}
	testscript.Main(m, map[string]func(){
		"tmelink":   main,
		"udpcount":  udpCount,
		"udpsend":   udpSend,
		"tcpserve":  tcpServe,
		"tcpfetch":  tcpFetch,
		"tcptalk":   tcpTalk,
		"tcplisten": tcpListen,
		"tlsserve":  tlsServe,
		"tlsfetch":  tlsFetch,
	})
}

// TestScript runs testdata/script: each file is a scenario with its files.
func TestScript(t *testing.T) {
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("EXAMPLES", examples)
			return nil
		},
	})
}
