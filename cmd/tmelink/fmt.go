package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"tmelink/internal/tmesh"
)

func newFmt() *cobra.Command {
	var write, check bool
	cmd := &cobra.Command{
		Use:               "fmt FILE…",
		Short:             "Print descriptions in their canonical form",
		Long:              "Prints each description in its canonical form, comments kept. Files that it names\nwith `source` are left alone.",
		Example:           "  tmelink fmt -w *.tme",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeFiles,
		RunE: func(cmd *cobra.Command, files []string) error {
			differ := 0
			for _, name := range files {
				changed, err := formatFile(cmd.OutOrStdout(), name, write, check)
				if err != nil {
					return err
				}
				if changed {
					differ++
				}
			}
			if check && differ > 0 {
				return failedError{fmt.Errorf("%s not in canonical form: tmelink fmt -w writes it so", count(differ, "description"))}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&write, "write", "w", false, "write the result back to the file")
	cmd.Flags().BoolVar(&check, "check", false, "print only the names of files that would change, and exit with 1 if there are any")
	cmd.MarkFlagsMutuallyExclusive("write", "check")
	return cmd
}

func formatFile(out io.Writer, name string, write, check bool) (changed bool, err error) {
	text, err := readDescription(name)
	if err != nil {
		return false, failedError{fmt.Errorf("read %s: %w", name, err)}
	}
	file, faults := tmesh.Parse(name, text)
	if len(faults) > 0 {
		return false, faultsError{faults, tmesh.Sources{name: text}}
	}
	formatted := tmesh.Format(file)
	changed = !bytes.Equal(text, formatted)
	switch {
	case check:
		if changed {
			fmt.Fprintln(out, name)
		}
	case write && name != "-":
		if changed {
			if err := replaceFile(name, formatted); err != nil {
				return changed, failedError{err}
			}
		}
	default:
		out.Write(formatted)
	}
	return changed, nil
}

// replaceFile puts a new text in a file's place in one step, so that a failure
// half-way loses nothing. A symbolic link stays one.
func replaceFile(name string, text []byte) error {
	target, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(target)
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = temporary.Write(text)
	err = errors.Join(err, temporary.Chmod(info.Mode().Perm()), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), target)
	}
	if err != nil {
		os.Remove(temporary.Name())
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
