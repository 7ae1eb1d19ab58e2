package hashes

import "testing"

// TestParse reads what it prints and refuses the rest.
func TestParse(t *testing.T) {
	for _, text := range []string{
		"md5-1B2M2Y8AsgTpgAmY7PhCfg==",
		"sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
		"sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
		"sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
	} {
		hash, err := Parse(text)
		if err != nil || hash.String() != text {
			t.Errorf("%s became %s, %v", text, hash, err)
		}
		empty := Hash{hash.Algorithm, hash.New().Sum(nil)}
		if !hash.Equal(empty) {
			t.Errorf("%s is not the hash of nothing, %s", text, empty)
		}
	}
	for text, want := range map[string]string{
		"":                             `"" has an unknown hash algorithm`,
		"sha3-AAAA":                    `"sha3-AAAA" has an unknown hash algorithm`,
		"md5-AAAA":                     `"md5-AAAA" is no md5 hash`,
		"md5-1B2M2Y8AsgTpgAmY7PhCfh==": `"md5-1B2M2Y8AsgTpgAmY7PhCfh==" is no md5 hash`,
		"md5:1B2M2Y8AsgTpgAmY7PhCfg==": `"md5:1B2M2Y8AsgTpgAmY7PhCfg==" has an unknown hash algorithm`,
	} {
		if _, err := Parse(text); err == nil || err.Error() != want {
			t.Errorf("expected %q, got %v", want, err)
		}
	}
}
