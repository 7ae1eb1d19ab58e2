package builtins

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// What Nix's settings of these names are unless they are set.
const (
	tries          = 5
	connectTimeout = 15 * time.Second
	stalledAfter   = 5 * time.Minute
	maxRedirects   = 10
)

const (
	firstPause   = 250 * time.Millisecond
	tooManyPause = time.Minute
)

// certificates is where a build with a network may find the machine's.
const certificates = "/etc/ssl/certs/ca-certificates.crt"

// download is one URL on its way into a file (curlFileTransfer, Nix
// src/libstore/filetransfer.cc).
type download struct {
	address string
	url     *url.URL
	client  *http.Client
	pause   func(time.Duration)
	// resumable says whether the server can send the rest of the file alone.
	resumable bool
}

func newDownload(address, netrc, ca string) (*download, error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("'%s' is not a valid URL: %w", address, err)
	}
	if parsed.Scheme == "" {
		return nil, fmt.Errorf("URL '%s' doesn't have a scheme", address)
	}
	roots, err := trusted(ca)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout:   connectTimeout,
		ResponseHeaderTimeout: stalledAfter,
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:     true,
	}
	transport.RegisterProtocol("file", http.NewFileTransport(http.Dir("/")))
	client := &http.Client{
		Transport: authorised{transport, parseNetrc(netrc)},
		CheckRedirect: func(request *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return &hopeless{fmt.Errorf("number of redirects hit maximum amount (47) Maximum (%d) redirects followed", maxRedirects)}
			}
			if request.URL.Scheme == "file" {
				return &hopeless{errors.New("unsupported protocol (1) Protocol \"file\" disabled in followed redirect")}
			}
			return nil
		},
	}
	return &download{address: address, url: parsed, client: client, pause: time.Sleep}, nil
}

func trusted(ca string) (*x509.CertPool, error) {
	if ca == "" {
		data, err := os.ReadFile(certificates)
		if err != nil {
			return x509.NewCertPool(), nil //nolint:nilerr // then nobody is trusted
		}
		ca = string(data)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(ca)) {
		return nil, errors.New("the file of trusted certificates has none")
	}
	return roots, nil
}

// hopeless is an error that another try would not mend.
type hopeless struct{ error }

func (h *hopeless) Unwrap() error { return h.error }

// statusError is an answer that is no success.
type statusError struct {
	address string
	status  int
	body    string
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("unable to download '%s': HTTP error %d", e.address, e.status)
	if e.body != "" {
		text += "\n\n       response body:\n\n       " + strings.ReplaceAll(e.body, "\n", "\n       ")
	}
	return text
}

// transient says whether another try may help.
func transient(err error) bool {
	if status := new(statusError); errors.As(err, &status) {
		switch s := status.status; {
		case s == http.StatusRequestTimeout, s == http.StatusTooManyRequests:
			return true
		case s == http.StatusNotImplemented, s == http.StatusHTTPVersionNotSupported,
			s == http.StatusNetworkAuthenticationRequired:
			return false
		default:
			return s < 400 || s >= 500
		}
	}
	stop := new(hopeless)
	return !errors.As(err, &stop)
}

// save writes all of the file, in as many tries as it takes.
func (d *download) save(file *os.File) error {
	for try := 1; ; try++ {
		err := d.try(file)
		if err == nil {
			return nil
		}
		if try >= tries || !transient(err) {
			return err
		}
		first := firstPause
		if status := new(statusError); errors.As(err, &status) && status.status == http.StatusTooManyRequests {
			first = tooManyPause
		}
		pause := time.Duration(float64(first) * math.Pow(2, float64(try-1)+rand.Float64()/2))
		message, _, _ := strings.Cut(err.Error(), "\n")
		warn("%s; retrying in %d ms (attempt %d/%d)", message, pause.Milliseconds(), try, tries)
		d.pause(pause)
	}
}

func (d *download) try(file *os.File) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.address, nil)
	if err != nil {
		return &hopeless{d.failed(err)}
	}
	request.Header.Set("User-Agent", "nixbk")
	var have int64
	if d.resumable {
		if have, err = file.Seek(0, io.SeekEnd); err != nil {
			return err
		}
		if have > 0 {
			request.Header.Set("Range", "bytes="+strconv.FormatInt(have, 10)+"-")
		}
	}
	response, err := d.client.Do(request)
	if err != nil {
		return d.explain(err)
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusPartialContent:
		if !strings.HasPrefix(response.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", have)) {
			d.resumable = false
			return d.failed(errors.New("the server sent another part than was asked for"))
		}
	case http.StatusOK, http.StatusCreated, http.StatusNoContent:
		have = 0
	default:
		return d.refused(response)
	}
	if err := file.Truncate(have); err != nil {
		return &hopeless{err}
	}
	if _, err := file.Seek(have, io.SeekStart); err != nil {
		return &hopeless{err}
	}
	d.resumable = response.Header.Get("Accept-Ranges") == "bytes" && !response.Uncompressed
	body := &watched{response.Body, time.AfterFunc(stalledAfter, cancel)}
	defer body.timer.Stop()
	into := &target{Writer: file}
	if _, err := io.Copy(into, body); err != nil {
		if into.err != nil {
			return &hopeless{into.err}
		}
		return d.failed(err)
	}
	return nil
}

// target tells errors of the file from those of the network.
type target struct {
	io.Writer
	err error
}

func (t *target) Write(data []byte) (int, error) {
	n, err := t.Writer.Write(data)
	if err != nil {
		t.err = err
	}
	return n, err
}

// watched ends a download that has come to a halt.
type watched struct {
	io.Reader
	timer *time.Timer
}

func (w *watched) Read(buf []byte) (int, error) {
	n, err := w.Reader.Read(buf)
	if n > 0 {
		w.timer.Reset(stalledAfter)
	}
	return n, err
}

func (d *download) failed(err error) error {
	return fmt.Errorf("unable to download '%s': %w", d.address, err)
}

// explain takes the request out of an error of the client, which has it twice.
func (d *download) explain(err error) error {
	if wrapped := new(url.Error); errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	failed := d.failed(err)
	if strings.Contains(err.Error(), "unsupported protocol scheme") {
		return &hopeless{failed}
	}
	return failed
}

func (d *download) refused(response *http.Response) error {
	if d.url.Scheme == "file" {
		return &hopeless{fmt.Errorf(
			"unable to download '%s': Could not read a file:// file (37) Could not open file %s", d.address, d.url.Path)}
	}
	const most = 4096
	body, _ := io.ReadAll(io.LimitReader(response.Body, most))
	return &statusError{d.address, response.StatusCode, strings.TrimSpace(string(body))}
}

// authorised adds what the netrc has for the host of a request.
type authorised struct {
	http.RoundTripper
	logins []login
}

func (a authorised) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.User == nil {
		for _, login := range a.logins {
			if login.machine == request.URL.Hostname() || login.machine == "" {
				request = request.Clone(request.Context())
				request.SetBasicAuth(login.name, login.password)
				break
			}
		}
	}
	return a.RoundTripper.RoundTrip(request)
}

// login is one entry of a netrc; that of the default has no machine.
type login struct{ machine, name, password string }

// parseNetrc reads machine, default, login and password, and passes over
// account and macdef, as curl does.
func parseNetrc(text string) []login {
	var logins []login
	macro := false
	for line := range strings.Lines(text) {
		if macro {
			macro = strings.TrimSpace(line) != ""
			continue
		}
		words := netrcWords(line)
		for i := 0; i < len(words); i++ {
			value := ""
			if i+1 < len(words) {
				value = words[i+1]
			}
			switch words[i] {
			case "machine":
				logins = append(logins, login{machine: strings.ToLower(value)})
				i++
			case "default":
				logins = append(logins, login{})
			case "login":
				if len(logins) > 0 {
					logins[len(logins)-1].name = value
				}
				i++
			case "password":
				if len(logins) > 0 {
					logins[len(logins)-1].password = value
				}
				i++
			case "account":
				i++
			case "macdef":
				macro = true
				i = len(words)
			}
		}
	}
	return logins
}

// netrcWords splits a line at spaces, but for those in double quotes.
func netrcWords(line string) []string {
	var words []string
	for {
		line = strings.TrimLeft(line, " \t\r\n")
		if line == "" || line[0] == '#' {
			return words
		}
		var word strings.Builder
		if line[0] != '"' {
			end := strings.IndexAny(line, " \t\r\n")
			if end < 0 {
				end = len(line)
			}
			words, line = append(words, line[:end]), line[end:]
			continue
		}
		i := 1
		for ; i < len(line) && line[i] != '"'; i++ {
			if line[i] == '\\' && i+1 < len(line) {
				i++
				escaped := strings.NewReplacer("n", "\n", "r", "\r", "t", "\t").Replace(line[i : i+1])
				word.WriteString(escaped)
				continue
			}
			word.WriteByte(line[i])
		}
		words, line = append(words, word.String()), line[min(i+1, len(line)):]
	}
}
