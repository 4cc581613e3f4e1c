// Command tmelink runs TME network descriptions: it builds the network elements
// that they name and carries Ethernet frames between them, through OpenVPN
// socket links, TAP devices, packet sockets and built-in hosts.
//
// Exit codes: 0 done, 1 something failed while it was done, 2 the command line
// or a description is wrong and nothing was opened.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	_ "tmelink/internal/elements/all"
	"tmelink/internal/lab"
	"tmelink/internal/tmesh"
)

// version is set by the linker: -X main.version=…
var version = "development"

func main() { os.Exit(execute(os.Args[1:])) }

// execute carries out a command line and gives the exit code.
func execute(args []string) int {
	out := &output{w: os.Stdout}
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(out)
	err := root.Execute()
	if out.err != nil {
		err = failedError{fmt.Errorf("write to standard output: %w", out.err)}
	}
	var faults faultsError
	var failed failedError
	var exit exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return int(exit)
	case errors.As(err, &faults):
		faults.faults.Print(os.Stderr, faults.sources)
		fmt.Fprintf(os.Stderr, "tmelink: %s; nothing was opened\n", count(len(faults.faults), "fault"))
		return 2
	case errors.As(err, &failed):
		for line := range strings.SplitSeq(failed.Error(), "\n") {
			fmt.Fprintln(os.Stderr, "tmelink:", line)
		}
		return 1
	default: // cobra's own: the command line is wrong
		fmt.Fprintf(os.Stderr, "tmelink: %v (tmelink --help shows what there is)\n", err)
		return 2
	}
}

// output remembers the first error of what is written to it, so that not every
// line's has to be asked for.
type output struct {
	w   io.Writer
	err error
}

func (o *output) Write(text []byte) (int, error) {
	n, err := o.w.Write(text)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "tmelink",
		Short: "Join the Ethernet of machines that TME descriptions describe",
		Long: "tmelink reads descriptions in the language of TME, The Machine Emulator, builds the\n" +
			"network elements that they name, and carries Ethernet frames between them: through\n" +
			"OpenVPN socket links, TAP devices, packet sockets, switches and built-in hosts.\n\n" +
			"Exit codes: 0 done; 1 something failed while it was done; 2 the command line or a\n" +
			"description is wrong, and nothing was opened.",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newRun(), newAttach(), newCheck(), newFmt(), newGraph(), newElements(), newKey(), newPair(), newOpenVPN(), newMan())
	return root
}

// failedError is a failure of what was to be done, as against a command line
// or a description that is wrong.
type failedError struct{ error }

// faultsError is descriptions with faults, and their texts to show them in.
type faultsError struct {
	faults  tmesh.Faults
	sources tmesh.Sources
}

func (e faultsError) Error() string { return e.faults.Error() }

// load builds the machines of descriptions; log hears what they do.
func load(files []string, log logging) (*lab.Lab, error) {
	for _, f := range files {
		if strings.HasSuffix(f, ".ovpn") {
			return nil, fmt.Errorf("%s is an OpenVPN profile and no description: run it with `tmelink openvpn %[1]s`, or name it in a link's --config", f)
		}
	}
	l, sources, faults := lab.Load(files, readDescription, log.logger, log.level)
	if len(faults) > 0 {
		return nil, faultsError{faults, sources}
	}
	return l, nil
}

// readDescription reads a file, or standard input for "-". It reads no more
// than a description can be long, so that the parser can say that it is.
func readDescription(path string) ([]byte, error) {
	var f io.Reader = os.Stdin
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, errors.Unwrap(err)
		}
		defer file.Close()
		f = file
	}
	text, err := io.ReadAll(io.LimitReader(f, tmesh.MaxFile+1))
	var pathErr *os.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return text, err
}

// completeFiles lets the shell complete descriptions' names.
func completeFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
