package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tmelink/internal/openvpn/keys"
)

func newKey() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make keys and certificates for private links",
		Long: "Makes what the two ends of a private link are known to each other by, in OpenVPN's own\n" +
			"formats. Files are made for their owner alone and never overwritten without --force;\n" +
			"without FILE a key goes to standard output.",
		Example: "  tmelink key certificate alice --out keys\n  tmelink key tls-crypt keys/lab.key\n  tmelink key fingerprint keys/alice.crt",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newStaticKey("secret", "Make a static key for both ends of a link without TLS (--secret)"),
		newStaticKey("tls-auth", "Make a key that authenticates the handshake of TLS (--tls-auth)"),
		newStaticKey("tls-crypt", "Make a key that hides the handshake of TLS (--tls-crypt)"),
		newServerKey(), newClientKey(), newCertificate(), newFingerprint())
	return cmd
}

// newStaticKey is a kind of key that is a static key: they differ in their use.
func newStaticKey(kind, short string) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:               kind + " [FILE]",
		Short:             short,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := keys.NewStatic(rand.Reader)
			if err != nil {
				return failedError{err}
			}
			return deliver(cmd.OutOrStdout(), args, key.Marshal(), force)
		},
	}
	addForce(cmd, &force)
	return cmd
}

func newServerKey() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:               "tls-crypt-v2-server [FILE]",
		Short:             "Make the key with which a server wraps its clients' (--tls-crypt-v2)",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := keys.NewServerV2(rand.Reader)
			if err != nil {
				return failedError{err}
			}
			return deliver(cmd.OutOrStdout(), args, key.Marshal(), force)
		},
	}
	addForce(cmd, &force)
	return cmd
}

func newClientKey() *cobra.Command {
	var force bool
	var metadata string
	cmd := &cobra.Command{
		Use:   "tls-crypt-v2-client SERVERKEY [FILE]",
		Short: "Make a client's key, wrapped for the server with SERVERKEY (--tls-crypt-v2)",
		Long: "Makes a client's key, wrapped for the server with SERVERKEY. The server gets the metadata\n" +
			"with it: the text of --metadata, otherwise the time at which the key was made.",
		Example:           "  tmelink key tls-crypt-v2-server server.key\n  tmelink key tls-crypt-v2-client server.key alice.key --metadata alice",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: completeFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			about := keys.TimeMetadata(time.Now())
			if cmd.Flags().Changed("metadata") {
				about = keys.UserMetadata([]byte(metadata))
			}
			if len(about) > keys.MaxMetadata {
				return fmt.Errorf("--metadata has %d bytes; at most %d find room", len(metadata), keys.MaxMetadata-1)
			}
			text, err := readKey(args[0])
			if err != nil {
				return failedError{err}
			}
			server, err := keys.ParseServerV2(text)
			if err != nil {
				return failedError{fmt.Errorf("read %s: %w", args[0], err)}
			}
			key, err := keys.NewClientV2(rand.Reader, server, about)
			if err != nil {
				return failedError{err}
			}
			return deliver(cmd.OutOrStdout(), args[1:], key.Marshal(), force)
		},
	}
	addForce(cmd, &force)
	cmd.Flags().StringVar(&metadata, "metadata", "", "a text for the server, instead of the time")
	return cmd
}

func newCertificate() *cobra.Command {
	var force bool
	var out string
	var days int
	cmd := &cobra.Command{
		Use:   "certificate NAME",
		Short: "Make a self-signed certificate and its key, and print its fingerprint",
		Long: "Writes NAME.crt and NAME.key (--cert and --key), for a TLS server or client, and prints the\n" +
			"fingerprint by which the other end knows it (--peer-fingerprint).",
		Example:           "  tmelink key certificate alice\n  tmelink key certificate bob --out keys --days 365",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[0]
			if strings.ContainsAny(name, `/\`) || !filepath.IsLocal(name) || strings.HasPrefix(name, ".") {
				return fmt.Errorf("%q cannot be the name of a file: a directory goes to --out", name)
			}
			certificate, private, err := keys.NewCertificate(rand.Reader, name, time.Now(), days)
			if err != nil {
				return err
			}
			fingerprint, err := keys.CertificateFingerprint(certificate)
			if err != nil {
				return failedError{err}
			}
			if err := os.MkdirAll(out, 0o700); err != nil {
				return failedError{err}
			}
			path := filepath.Join(out, name)
			if err := writeKeys(force, keyFile{path + ".key", private}, keyFile{path + ".crt", certificate}); err != nil {
				return failedError{err}
			}
			fmt.Fprintln(cmd.OutOrStdout(), fingerprint)
			return nil
		},
	}
	addForce(cmd, &force)
	cmd.Flags().StringVar(&out, "out", ".", "the directory to write to; made if it is not there")
	cmd.Flags().IntVar(&days, "days", 3650, "how long the certificate is valid")
	cmd.MarkFlagDirname("out")
	return cmd
}

func newFingerprint() *cobra.Command {
	return &cobra.Command{
		Use:               "fingerprint FILE",
		Short:             "Print the fingerprint of a certificate (--peer-fingerprint)",
		Long:              "Prints the SHA-256 fingerprint of the first certificate in a PEM file, which may hold the\nkey, too.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readKey(args[0])
			if err != nil {
				return failedError{err}
			}
			fingerprint, err := keys.CertificateFingerprint(text)
			if err != nil {
				return failedError{fmt.Errorf("read %s: %w", args[0], err)}
			}
			fmt.Fprintln(cmd.OutOrStdout(), fingerprint)
			return nil
		},
	}
}

func addForce(cmd *cobra.Command, force *bool) {
	cmd.Flags().BoolVar(force, "force", false, "overwrite files that are there")
}

// readKey reads a key file, and no more than lets its parser say that it is too long.
func readKey(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, keys.MaxFile+1))
}

// deliver writes a key to the file that was named, or else to standard output.
func deliver(out io.Writer, file []string, text []byte, force bool) error {
	if len(file) == 0 {
		out.Write(text)
		return nil
	}
	if err := writeKeys(force, keyFile{file[0], text}); err != nil {
		return failedError{err}
	}
	return nil
}

// keyFile is a file to be made.
type keyFile struct {
	name string
	text []byte
}

// writeKeys makes files that only their owner may read, and none of them where one
// cannot be made.
func writeKeys(force bool, files ...keyFile) error {
	var made []string
	for _, file := range files {
		path, err := file.write(force)
		if err != nil {
			for _, path := range made {
				os.Remove(path)
			}
			return err
		}
		made = append(made, path)
	}
	for i, file := range files {
		if made[i] == file.name {
			continue
		}
		if err := os.Rename(made[i], file.name); err != nil {
			for _, path := range made[i:] {
				os.Remove(path)
			}
			return err
		}
	}
	return nil
}

// write makes the file where there is none yet. With force it makes a temporary one
// beside it, so that what is there stays whole until the new one is.
func (k keyFile) write(force bool) (path string, err error) {
	var f *os.File
	if force {
		// Renaming would put a file in the place of /dev/stdout, too.
		if info, err := os.Lstat(k.name); err == nil && !info.Mode().IsRegular() {
			return "", fmt.Errorf("%s is no regular file, which --force could replace: name another", k.name)
		}
		f, err = os.CreateTemp(filepath.Dir(k.name), "."+filepath.Base(k.name)+".*")
	} else {
		f, err = os.OpenFile(k.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("%s is there already: --force overwrites it", k.name)
	}
	if err != nil {
		return "", err
	}
	_, err = f.Write(k.text)
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(f.Name())
		return "", fmt.Errorf("write %s: %w", k.name, err)
	}
	return f.Name(), nil
}
