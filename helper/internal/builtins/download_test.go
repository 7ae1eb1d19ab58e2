package builtins

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// saved downloads into a file without pauses, which are returned.
func saved(t *testing.T, address, netrc, ca string) (string, []time.Duration, error) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "x"))
	must(t, err)
	defer file.Close()
	d, err := newDownload(address, netrc, ca)
	if err != nil {
		return "", nil, err
	}
	var pauses []time.Duration
	d.pause = func(pause time.Duration) { pauses = append(pauses, pause) }
	err = d.save(file)
	text, failed := os.ReadFile(file.Name())
	must(t, failed)
	return string(text), pauses, err
}

// TestTries are as many as Nix makes, with pauses that double.
func TestTries(t *testing.T) {
	cases := map[string]struct {
		status, tries int
		pause         time.Duration
	}{
		"not found":           {404, 1, 0},
		"gone":                {410, 1, 0},
		"forbidden":           {403, 1, 0},
		"teapot":              {418, 1, 0},
		"timeout":             {408, 5, 250 * time.Millisecond},
		"too many":            {429, 5, time.Minute},
		"internal":            {500, 5, 250 * time.Millisecond},
		"not implemented":     {501, 1, 0},
		"gateway":             {504, 5, 250 * time.Millisecond},
		"version":             {505, 1, 0},
		"login at the portal": {511, 1, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			tries := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				tries++
				w.WriteHeader(c.status)
				_, _ = fmt.Fprint(w, "why\nnot\n")
			}))
			defer server.Close()
			_, pauses, err := saved(t, server.URL+"/x", "", "")
			want := fmt.Sprintf("unable to download '%s/x': HTTP error %d\n\n       response body:\n\n       why\n       not", server.URL, c.status)
			if err == nil || err.Error() != want || tries != c.tries {
				t.Errorf("%d tries: %v", tries, err)
			}
			for i, pause := range pauses {
				if least := c.pause << i; pause < least || pause > least*3/2 {
					t.Errorf("pauses %v", pauses)
				}
			}
		})
	}
}

// TestResumed takes up a download where it broke off, and starts anew where
// it cannot.
func TestResumed(t *testing.T) {
	content := strings.Repeat("0123456789", 10_000)
	for _, resumable := range []bool{true, false} {
		var ranges []string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ranges = append(ranges, r.Header.Get("Range"))
			if resumable {
				w.Header().Set("Accept-Ranges", "bytes")
			}
			if len(ranges) == 1 {
				w.Header().Set("Content-Length", "100000")
				_, _ = w.Write([]byte(content[:60_000]))
				return // with too little: the connection is closed
			}
			http.ServeContent(w, r, "x", time.Time{}, strings.NewReader(content))
		}))
		text, _, err := saved(t, server.URL, "", "")
		server.Close()
		want := []string{"", ""}
		if resumable {
			want[1] = "bytes=60000-"
		}
		if err != nil || text != content || !reflect.DeepEqual(ranges, want) {
			t.Errorf("%d bytes by %q: %v", len(text), ranges, err)
		}
	}
}

// TestRefusedConnection is tried again, and told.
func TestRefusedConnection(t *testing.T) {
	_, pauses, err := saved(t, "http://127.0.0.1:1/x", "", "")
	if err == nil || !strings.HasPrefix(err.Error(), "unable to download 'http://127.0.0.1:1/x': dial tcp 127.0.0.1:1:") ||
		len(pauses) != tries-1 {
		t.Errorf("%d pauses: %v", len(pauses), err)
	}
}

// TestAddresses that are none.
func TestAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"nonsense":        "URL 'nonsense' doesn't have a scheme",
		"gopher://x":      `unable to download 'gopher://x': unsupported protocol scheme "gopher"`,
		"file:///nothing": "unable to download 'file:///nothing': Could not read a file:// file (37) Could not open file /nothing",
	} {
		_, pauses, err := saved(t, address, "", "")
		if err == nil || err.Error() != want || len(pauses) > 0 {
			t.Errorf("expected %q, got %v after %d pauses", want, err, len(pauses))
		}
	}
}

// TestRedirects are followed, but not for ever, and not to files.
func TestRedirects(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/here":
			_, _ = fmt.Fprint(w, "here")
		case "/elsewhere":
			http.Redirect(w, r, "/here", http.StatusFound)
		case "/file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		default:
			http.Redirect(w, r, "/loop", http.StatusFound)
		}
	}))
	defer server.Close()
	if text, _, err := saved(t, server.URL+"/elsewhere", "", ""); err != nil || text != "here" {
		t.Errorf("got %q, %v", text, err)
	}
	for _, path := range []string{"/loop", "/file"} {
		text, pauses, err := saved(t, server.URL+path, "", "")
		if err == nil || text != "" || len(pauses) > 0 {
			t.Errorf("%s: got %q, %v", path, text, err)
		}
	}
}

// TestTrust is in the certificates of the user, and in nobody without them.
func TestTrust(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, "secret")
	}))
	defer server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if text, _, err := saved(t, server.URL, "", string(ca)); err != nil || text != "secret" {
		t.Errorf("got %q, %v", text, err)
	}
	if text, _, err := saved(t, server.URL, "", ""); err == nil || text != "" {
		t.Errorf("got %q, %v", text, err)
	}
	if _, _, err := saved(t, server.URL, "", "no certificate"); err == nil {
		t.Error("rubbish is no certificate")
	}
}

// TestLogin is sent to the host it is for alone.
func TestLogin(t *testing.T) {
	var logins []string
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, password, _ := r.BasicAuth()
		logins = append(logins, name+":"+password)
		if r.URL.Path == "/there" {
			there := strings.Replace("http://"+r.Host, "127.0.0.1", "localhost", 1)
			http.Redirect(w, r, there+"/here", http.StatusFound)
		}
	})
	server := httptest.NewServer(handler)
	defer server.Close()
	netrc := "# mine\nmachine example.org login me password you\nmachine 127.0.0.1\n\tlogin \"a b\"\n\tpassword \"c\\\"d\"\n"
	for _, c := range []struct {
		address, netrc string
		want           []string
	}{
		{server.URL + "/here", netrc, []string{`a b:c"d`}},
		{server.URL + "/there", netrc, []string{`a b:c"d`, ":"}},
		{strings.Replace(server.URL, "//", "//x:y@", 1), netrc, []string{"x:y"}},
		{server.URL + "/there", "default login d password e", []string{"d:e", "d:e"}},
		{server.URL, "", []string{":"}},
	} {
		logins = nil
		if _, _, err := saved(t, c.address, c.netrc, ""); err != nil || !reflect.DeepEqual(logins, c.want) {
			t.Errorf("expected %q, got %q, %v", c.want, logins, err)
		}
	}
}

// TestNetrc reads what curl reads.
func TestNetrc(t *testing.T) {
	got := parseNetrc("machine A login b account x password c\nmacdef init\n machine no\n cd x\n\n" +
		"machine d password \"e\\tf\" login g\ndefault login h")
	want := []login{{"a", "b", "c"}, {"d", "g", "e\tf"}, {"", "h", ""}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("expected %q, got %q", want, got)
	}
}
