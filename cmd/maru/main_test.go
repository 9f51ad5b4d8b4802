package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// eachCommand calls fn for every command of the tree.
func eachCommand(cmd *cobra.Command, fn func(*cobra.Command)) {
	fn(cmd)
	for _, child := range cmd.Commands() {
		eachCommand(child, fn)
	}
}

func TestEveryCommandHasHelp(t *testing.T) {
	eachCommand(newRootCommand(), func(cmd *cobra.Command) {
		if cmd.Hidden || !cmd.Runnable() {
			return
		}
		path := cmd.CommandPath()
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: %q is not a short description without a full stop", path, cmd.Short)
		}
		if !strings.Contains(cmd.Example, cmd.CommandPath()) {
			t.Errorf("%s: the example does not have the command:\n%s", path, cmd.Example)
		}
		for line := range strings.Lines(cmd.Example + "\n" + cmd.Long) {
			if len(line) > 101 {
				t.Errorf("%s: a line of %d characters: %s", path, len(line), line)
			}
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s: --%s has no description", path, f.Name)
			}
		})
	})
}

// TestExamplesParse checks that the examples name commands and flags that exist.
func TestExamplesParse(t *testing.T) {
	eachCommand(newRootCommand(), func(cmd *cobra.Command) {
		for line := range strings.Lines(cmd.Example) {
			_, line, found := strings.Cut(strings.TrimSpace(line), "maru ")
			if !found {
				continue
			}
			for _, end := range []string{" | ", " > ", ")", " --json"} {
				line, _, _ = strings.Cut(line, end)
			}
			args := strings.Fields(strings.NewReplacer(`"`, "", "'", "").Replace(line))
			leaf, rest, err := newRootCommand().Find(args)
			if err != nil || leaf.HasSubCommands() {
				t.Errorf("%s: example %q: no such command: %v", cmd.CommandPath(), line, err)
				continue
			}
			if err := leaf.ParseFlags(rest); err != nil {
				t.Errorf("%s: example %q: %v", cmd.CommandPath(), line, err)
			}
		}
	})
}

func TestEnvironment(t *testing.T) {
	newCommand := func() (*cobra.Command, *httpOptions) {
		var o httpOptions
		cmd := &cobra.Command{Use: "x"}
		o.register(cmd)
		return cmd, &o
	}
	t.Setenv("MARU_ADDR", "http://env")
	t.Setenv("MARU_KEY", "secret")
	t.Setenv("MARU_TENANT", "")
	t.Setenv("MARU_TIMEOUT", "1h")

	cmd, o := newCommand()
	if err := cmd.ParseFlags(nil); err != nil {
		t.Fatal(err)
	}
	if err := applyEnvironment(cmd.Flags()); err != nil {
		t.Fatal(err)
	}
	if o.addr != "http://env" || o.key != "secret" || o.tenant != "" || o.timeout != 15*time.Second {
		t.Errorf("options %+v: want the address and the key of the environment and nothing else", *o)
	}

	cmd, o = newCommand()
	if err := cmd.ParseFlags([]string{"--addr", "http://flag"}); err != nil {
		t.Fatal(err)
	}
	if err := applyEnvironment(cmd.Flags()); err != nil {
		t.Fatal(err)
	}
	if o.addr != "http://flag" {
		t.Errorf("address %s, want the flag's", o.addr)
	}
	if strings.Contains(cmd.Flags().FlagUsages(), "secret") {
		t.Error("the help shows the key of the environment")
	}
}

func TestNewTransactionID(t *testing.T) {
	// The time of the example in RFC 9562, appendix A.6.
	at := time.UnixMilli(0x017f22e279b0)
	a, b := newTransactionID(at), newTransactionID(at.Add(time.Millisecond))
	if got := a.String(); !strings.HasPrefix(got, "017f22e2-79b0-7") || !strings.ContainsRune("89ab", rune(got[19])) {
		t.Errorf("%s is not a UUID of version 7 of that moment", got)
	}
	if slices.Compare(a[:], b[:]) >= 0 {
		t.Errorf("%s is not before %s", a, b)
	}
	if c := newTransactionID(at); a == c {
		t.Errorf("%s twice", c)
	}
}

func TestByteSize(t *testing.T) {
	tests := []struct {
		in   string
		want byteSize
		out  string
	}{
		{"0", 0, "0"},
		{"1000", 1000, "1000"},
		{"1GiB", 1 << 30, "1GiB"},
		{"512 MiB", 512 << 20, "512MiB"},
		{"1536KiB", 1536 << 10, "1536KiB"},
		{"2GB", 2e9, "1953125KiB"},
		{"7B", 7, "7"},
		{"none", noBytes, "none"},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			var b byteSize
			if err := b.Set(tt.in); err != nil || b != tt.want {
				t.Fatalf("%d and error %v, want %d", b, err, tt.want)
			}
			if b.String() != tt.out {
				t.Errorf("written as %s, want %s", b.String(), tt.out)
			}
		})
	}
	for _, in := range []string{"", "x", "-1", "1.5GiB", "GiB", "9999999999GiB", "1 G"} {
		t.Run("refuse "+in, func(t *testing.T) {
			var b byteSize
			if err := b.Set(in); err == nil {
				t.Errorf("%q is taken as %d", in, b)
			}
		})
	}
}

func TestStreamTarget(t *testing.T) {
	tests := []struct {
		stream, host string
		encrypted    bool
	}{
		{"127.0.0.1:7481", "127.0.0.1:7481", false},
		{"localhost:7481", "localhost:7481", false},
		{"https://pay.example.com:443", "pay.example.com:443", true},
		{"http://[::1]:7481", "[::1]:7481", false},
		{"[::1]:7481", "[::1]:7481", false},
	}
	for _, tt := range tests {
		t.Run(tt.stream, func(t *testing.T) {
			host, config, err := (&streamOptions{stream: tt.stream}).target()
			if err != nil || host != tt.host || (config != nil) != tt.encrypted {
				t.Errorf("%s, encrypted %t, error %v; want %s, %t", host, config != nil, err, tt.host, tt.encrypted)
			}
		})
	}
	if _, _, err := (&streamOptions{stream: "nowhere"}).target(); err == nil {
		t.Error("an address without a port is taken")
	}
}
