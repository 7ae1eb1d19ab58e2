package step

import (
	"errors"
	"fmt"
	"strings"
)

// Exit statuses of the helper.
const (
	ExitOther    = 1
	ExitInternal = 70
	ExitBuilder  = 100
	ExitTimeout  = 101
	ExitHash     = 102
)

// Kinds of failure, as they appear in the last lines of a step.
const (
	BuilderFailed = "builder-failed"
	TimedOut      = "timed-out"
	HashMismatch  = "hash-mismatch"
	OutputMissing = "output-missing"
	OutputCheck   = "output-check"
	IllegalOutput = "illegal-output"
	Cycle         = "cycle"
	Internal      = "internal"
)

// Failure is an error whose kind the client is told.
type Failure struct {
	Kind    string
	Message string
}

func (f *Failure) Error() string { return f.Message }

// Fail makes a Failure.
func Fail(kind, format string, args ...any) error {
	return &Failure{kind, fmt.Sprintf(format, args...)}
}

// Report is what a failed step says at its end, and its exit status: a line
// "nixbk: <kind>: <message>"; further lines of the message are indented.
func Report(err error) (string, int) {
	failure := new(Failure)
	if !errors.As(err, &failure) {
		failure = &Failure{Internal, err.Error()}
	}
	status := ExitOther
	switch failure.Kind {
	case BuilderFailed:
		status = ExitBuilder
	case TimedOut:
		status = ExitTimeout
	case HashMismatch:
		status = ExitHash
	case Internal:
		status = ExitInternal
	}
	return "nixbk: " + failure.Kind + ": " + printable(failure.Message) + "\n", status
}

// printable keeps a hostile file name from writing lines of its own: only a
// newline that is followed by the indent of a message of ours stays.
func printable(text string) string {
	var out strings.Builder
	for i := range len(text) {
		c := text[i]
		indented := c == '\n' && strings.HasPrefix(text[i+1:], "  ")
		if (c < 0x20 && !indented) || c == 0x7f {
			fmt.Fprintf(&out, `\x%02x`, c)
		} else {
			out.WriteByte(c)
		}
	}
	return out.String()
}
