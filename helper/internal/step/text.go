package step

import "errors"

// Text is a string of bytes that travels in JSON with one character of
// latin-1 for each byte: Nix's strings are bytes, JSON's are not.
type Text string

var errNotLatin1 = errors.New("a character beyond U+00FF stands for no byte")

// UnmarshalText reads the latin-1 form; encoding/json calls it for values and
// for the keys of maps.
func (t *Text) UnmarshalText(data []byte) error {
	out := make([]byte, 0, len(data))
	for _, r := range string(data) {
		if r > 0xff {
			return errNotLatin1
		}
		out = append(out, byte(r))
	}
	*t = Text(out)
	return nil
}

// AppendJSON appends s as a JSON string in the same form, in ASCII only.
func AppendJSON(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20 || c >= 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
