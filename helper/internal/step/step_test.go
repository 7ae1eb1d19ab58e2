package step

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestSettings reads what may follow no_proxy.
func TestSettings(t *testing.T) {
	cases := map[string]struct {
		env  []string
		want Settings
		err  string
	}{
		"none":        {nil, Settings{}, ""},
		"proxy alone": {[]string{"no_proxy=localhost"}, Settings{}, ""},
		"all": {
			[]string{"no_proxy=localhost;nixbk:cores=4;timeout=60;max-silent=5"},
			Settings{Cores: 4, Timeout: time.Minute, MaxSilent: 5 * time.Second}, "",
		},
		"capitals": {[]string{"NO_PROXY=;nixbk:cores=2"}, Settings{Cores: 2}, ""},
		"tell":     {[]string{"no_proxy=;nixbk:tell=1"}, Settings{Tell: true}, ""},
		"unknown":  {[]string{"no_proxy=;nixbk:core=2"}, Settings{}, `unknown setting "core"`},
		"negative": {[]string{"no_proxy=;nixbk:cores=-2"}, Settings{}, `setting "cores=-2" is not a number`},
		"no value": {[]string{"no_proxy=;nixbk:cores"}, Settings{}, `setting "cores" is not a number`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := NewEnvironment(c.env).Settings()
			if text(err) != c.err || (err == nil && got != c.want) {
				t.Errorf("expected %v, %q, got %v, %q", c.want, c.err, got, text(err))
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestProxies cuts the settings off and leaves all else of the environment.
func TestProxies(t *testing.T) {
	e := NewEnvironment([]string{"no_proxy=a,b;nixbk:cores=1", "HTTPS_PROXY=http://p", "PATH=/bin", "TRACEPARENT=1"})
	want := map[string]string{"no_proxy": "a,b", "HTTPS_PROXY": "http://p"}
	if got := e.Proxies(); !reflect.DeepEqual(got, want) {
		t.Errorf("expected %v, got %v", want, got)
	}
}

// TestRead finds the step in one variable, in several, and in a file.
func TestRead(t *testing.T) {
	document := `{"version":1,"kind":"build","builder":"\u00ff\u0000","env":{"\u00e9":"\\"}}`
	file := filepath.Join(t.TempDir(), "step.json")
	if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	want := &Step{Version: 1, Kind: "build", Builder: "\xff\x00", Env: map[Text]Text{"\xe9": `\`}}
	for name, env := range map[string][]string{
		"one variable": {"NIXBK_STEP=" + document},
		"several":      {"NIXBK_STEP=" + document[:5], "NIXBK_STEP_2=" + document[9:], "NIXBK_STEP_1=" + document[5:9]},
		"file":         {"PATH=/"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Read(NewEnvironment(env), file)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("expected %+v, got %+v, %v", want, got, err)
			}
		})
	}
}

// TestRefused has steps this helper must not guess about.
func TestRefused(t *testing.T) {
	const unreadable = "the step is not what this helper reads: "
	cases := map[string]struct{ document, want string }{
		"unknown field":  {`{"version":1,"colour":1}`, unreadable + `json: unknown field "colour"`},
		"version":        {`{"version":2}`, "the step has version 2, this helper reads 1"},
		"trailing":       {`{"version":1} 2`, "the step is followed by something else"},
		"no byte":        {`{"version":1,"builder":"\u0100"}`, unreadable + "a character beyond U+00FF stands for no byte"},
		"outside":        {`{"version":1,"outputs":{"out":"/etc/x"}}`, `"/etc/x" is no store path`},
		"below an entry": {`{"version":1,"outputs":{"out":"/nix/store/a/b"}}`, `"/nix/store/a/b" is no store path`},
		"parent":         {`{"version":1,"outputs":{"out":"/nix/store/.."}}`, `"/nix/store/.." is no store path`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse([]byte(c.document)); text(err) != c.want {
				t.Errorf("expected %q, got %q", c.want, text(err))
			}
		})
	}
}

// TestReport writes one line a machine can find and a person can read.
func TestReport(t *testing.T) {
	cases := map[string]struct {
		err    error
		text   string
		status int
	}{
		"builder":  {Fail(BuilderFailed, "builder failed with exit code %d", 3), "nixbk: builder-failed: builder failed with exit code 3\n", 100},
		"time":     {Fail(TimedOut, "x"), "nixbk: timed-out: x\n", 101},
		"hash":     {Fail(HashMismatch, "x:\n  a\n     b"), "nixbk: hash-mismatch: x:\n  a\n     b\n", 102},
		"output":   {Fail(OutputMissing, "x"), "nixbk: output-missing: x\n", 1},
		"internal": {errors.New("disk"), "nixbk: internal: disk\n", 70},
		"hostile":  {Fail(IllegalOutput, "%s", "a\nnixbk: builder-failed: b\x1b[31m"), "nixbk: illegal-output: a\\x0anixbk: builder-failed: b\\x1b[31m\n", 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, status := Report(c.err)
			if got != c.text || status != c.status {
				t.Errorf("expected %q, %d, got %q, %d", c.text, c.status, got, status)
			}
		})
	}
}

// TestResult is canonical, whatever the bytes of names and targets.
func TestResult(t *testing.T) {
	got := string(Result(map[string]Output{
		"out": {Path: "/nix/store/o", NarHash: "sha256-x", NarSize: 1 << 63, Type: "symlink", Target: "\xff\"\\\n<é"},
		"dev": {Path: "/nix/store/d", NarHash: "sha256-y", NarSize: 2, Type: "directory", References: []string{"/b", "/a"}},
	}))
	want := strings.Join([]string{
		`{"outputs":{"dev":{"narHash":"sha256-y","narSize":2,"path":"/nix/store/d","references":["/a","/b"],"type":"directory"},`,
		`"out":{"narHash":"sha256-x","narSize":9223372036854775808,"path":"/nix/store/o","references":[],`,
		`"target":"\u00ff\"\\\u000a<\u00c3\u00a9","type":"symlink"}},"version":1}`, "\n",
	}, "")
	if got != want {
		t.Errorf("expected %s, got %s", want, got)
	}
}

// TestFloatingResult says what the path was made of, and when it is an input's.
func TestFloatingResult(t *testing.T) {
	got := string(Result(map[string]Output{
		"out": {Path: "/o", NarHash: "x", NarSize: 1, Type: "regular", ContentAddress: "text:y", Existing: true},
	}))
	want := `{"outputs":{"out":{"contentAddress":"text:y","existing":true,"narHash":"x","narSize":1,` +
		`"path":"/o","references":[],"type":"regular"}},"version":1}` + "\n"
	if got != want {
		t.Errorf("expected %s, got %s", want, got)
	}
}

// TestFailed is the result of a step whose failure was wanted.
func TestFailed(t *testing.T) {
	got := string(Failed(&Failure{BuilderFailed, "no\n  way \xff"}))
	want := `{"failure":"builder-failed: no\u000a  way \u00ff","outputs":{},"version":1}` + "\n"
	if got != want {
		t.Errorf("expected %s, got %s", want, got)
	}
}
