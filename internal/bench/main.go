package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"
)

func main() {
	if becomeChild() {
		return
	}
	if err := bench(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench runs what the arguments ask for.
func bench(args []string, out, log io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(log)
	rounds := flags.Int("rounds", 31, "`rounds` of each contest")
	slice := flags.Duration("slice", 10*time.Millisecond, "`time` that each contestant works in a round, more where its work is slow")
	only := flags.String("run", "", "run the sections whose names match this `regexp`")
	file := flags.String("out", "", "write the report to this `file` too")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *rounds < 1 {
		return fmt.Errorf("-rounds is %d, want at least 1", *rounds)
	}
	if *slice <= 0 {
		return fmt.Errorf("-slice is %v, want more than 0", *slice)
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	quiet()
	h := &host{effort{*rounds, *slice}, log}
	return report(h, chosen, args, *file, out)
}
