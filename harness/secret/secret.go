// Package secret hides what a guest keeps to itself from everything that people read of a run: private keys, password
// hashes, passwords, tokens and credentials in URLs.
//
// It knows secrets by their form or by the name that stands before them. One that has neither, a word in a sentence, passes.
package secret

import (
	"regexp"
	"strings"
)

// Hidden stands where a secret was.
const Hidden = "[hidden]"

// rule replaces what an expression finds.
type rule struct {
	// signs are lower-case words of which a line must have one: most have none, and the search for a word is fifty times
	// faster than the expression.
	signs []string
	spans bool // over several lines
	find  *regexp.Regexp
	with  string
	// named is for an expression whose first group is what stands before the secret: its quotes stay, for JSON, and so does
	// what is [harmless].
	named bool
}

// Hider hides secrets. Make one with [NewHider] and use it again: its expressions are compiled once.
type Hider struct{ rules []rule }

// The names before a secret, as the end of a longer one: DB_PASSWORD, ssl.key.passphrase, rd.luks.key. "passwd:" is a line of
// nsswitch.conf, and "password_encryption = x" a setting.
const (
	names  = `(?:password|passphrase|secret|token|credentials?|api[_-]?key|access[_-]?key|secret[_-]?key|secret[_-]?key[_-]?base|auth[_-]?key|private[_-]?key|preshared[_-]?key|psk|luks\.key)`
	equals = `(?:passwd|[_-]pwd|[_-]pass|\bpass|requirepass|masterauth|bindpw|rootpw)`
	// value is quoted, in JSON with escaped quotes, or a word.
	value = `(?:"(?:[^"\\\n]|\\.)*"|\\"(?:[^"\\\n]|\\\\.)*\\"|'[^'\n]*'|[^\s"'<>,;\\)\]}]+)`
)

// NewHider returns a hider that knows the usual forms.
func NewHider() *Hider {
	expression := regexp.MustCompile
	return &Hider{rules: []rule{
		{
			signs: []string{"private key"}, spans: true,
			find: expression(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)`),
			with: "[private key hidden]",
		},
		{ // a key whose beginning is not in the text: a diff shows a few lines around a change
			signs: []string{"private key"}, spans: true,
			find: expression(`(?:[ +-]?[A-Za-z0-9+/=]{16,}(?:\\n|\r?\n))+[ +-]?-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----`),
			with: "[private key hidden]",
		},
		{ // crypt(5)
			signs: []string{"$"},
			find:  expression(`\$(?:1|2[abxy]?|5|6|7|y|gy|md5|sha1|apr1|argon2[a-z]*|scrypt|pbkdf2[a-z0-9-]*)\$[./A-Za-z0-9$=,+-]{8,}`),
			with:  Hidden,
		},
		{ // GRUB, LDAP, PostgreSQL
			signs: []string{"grub.pbkdf2", "{ss", "{sm", "{crypt}", "scram-sha-", "md5"},
			find:  expression(`(?i:grub\.pbkdf2\.\w+\.\d+\.[0-9a-f.]+|\{(?:SSHA\d*|SMD5|CRYPT)\}[./A-Za-z0-9+=$]+|SCRAM-SHA-\d+\$\d+:[A-Za-z0-9+/=$:]+|\bmd5[0-9a-f]{32}\b)`),
			with:  Hidden,
		},
		{ // the second field of passwd, group, shadow and gshadow; "x", "*" and "!" are none
			signs: []string{":"},
			find:  expression(`(?m)^([ +-]?[a-z_][a-z0-9_.-]*\$?:!?)[./A-Za-z0-9]{13,}(:\d*:)`),
			with:  "${1}" + Hidden + "${2}",
		},
		{
			signs: []string{"://"},
			find:  expression(`(\b[A-Za-z][A-Za-z0-9+.-]*://)(?:[^\s/@:"'<>]*:[^\s/@"'<>]+|[^\s/@:"'<>]{16,})@`),
			with:  "${1}" + Hidden + "@",
		},
		{ // systemd's credentials, on a kernel's command line and in units
			signs: []string{"credential"},
			find:  expression(`(?i)(set_?credential(?:_binary|encrypted)?=[^:\s]+:)` + value),
			named: true,
		},
		{
			signs: []string{"pass", "secret", "token", "credential", "key", "psk"},
			find:  expression(`(?i)([\w.-]*` + names + `\\?["']?\s*(?:[:=]|=>)\s*)` + value),
			named: true,
		},
		{
			signs: []string{"pass", "pwd", "masterauth", "bindpw", "rootpw"},
			find:  expression(`(?i)([\w.-]*` + equals + `\\?["']?\s*=\s*)` + value),
			named: true,
		},
		{ // netrc, Redis, LDAP, SQL
			signs: []string{"pass", "masterauth", "bindpw", "rootpw", "identified"},
			find:  expression(`(?i)(\blogin\s+\S+\s+password\s+|\b(?:requirepass|masterauth|bindpw|rootpw)\s+|\b(?:identified\s+by|(?:with|encrypted)\s+password)\s+)` + value),
			named: true,
		},
		{
			signs: []string{"authorization", "bearer"},
			find:  expression(`(?i)(\bauthorization\\?["']?\s*[:=]\s*\\?["']?(?:basic|bearer|token|digest)\s+|\bbearer\s+)[A-Za-z0-9._~+/=-]{8,}`),
			with:  "${1}" + Hidden,
		},
		{ // any other key, when its value has the look of one
			signs: []string{"key"},
			find:  expression(`(?i)([\w.-]*key(?:[_-]?id)?\\?["']?\s*[:=]\s*\\?["']?)[A-Za-z0-9+_=-][A-Za-z0-9+/_=-]{19,}`),
			with:  "${1}" + Hidden,
		},
		{ // tokens that tell by themselves what they are: GitHub, GitLab, Slack, AWS, age, Vault, Stripe, JSON Web Tokens
			signs: []string{"gh", "glpat-", "xox", "akia", "asia", "age-secret-key-", "hvs.", "sk_live_", "sk-", "eyj"},
			find: expression(`\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abprs]-[A-Za-z0-9-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}` +
				`|AGE-SECRET-KEY-1[A-Z0-9]{20,}|hvs\.[\w-]{20,}|sk_live_\w{16,}|sk-[A-Za-z0-9_-]{20,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)`),
			with: Hidden,
		},
	}}
}

// Hide returns the text with its secrets hidden. What it has hidden once it leaves alone.
func (h *Hider) Hide(text string) string {
	small := lower(text)
	for _, r := range h.rules {
		if !r.applies(small) {
			continue
		}
		if r.spans {
			text = r.apply(text)
		} else {
			text = r.applyByLine(text)
		}
		small = lower(text)
	}
	return text
}

// lower is for the search of signs, which are ASCII.
func lower(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)
}

func (r rule) applyByLine(text string) string {
	var hidden strings.Builder
	for line := range strings.Lines(text) {
		if r.applies(lower(line)) {
			line = r.apply(line)
		}
		hidden.WriteString(line)
	}
	return hidden.String()
}

func (r rule) applies(small string) bool {
	for _, sign := range r.signs {
		if strings.Contains(small, sign) {
			return true
		}
	}
	return false
}

func (r rule) apply(text string) string {
	if !r.named {
		return r.find.ReplaceAllString(text, r.with)
	}
	var hidden strings.Builder
	last := 0
	for _, at := range r.find.FindAllStringSubmatchIndex(text, -1) {
		named, value := at[3], text[at[3]:at[1]]
		if harmless(value) {
			continue
		}
		quote := value[:len(value)-len(strings.TrimLeft(value, `\"'`))]
		hidden.WriteString(text[last:named] + quote + Hidden + quote)
		last = at[1]
	}
	return hidden.String() + text[last:]
}

// harmless says of what stands after a telling name that it is no secret: a switch, the name of a variable, a path such as
// private_key = /etc/ssl/private/web.key, or what was hidden already.
func harmless(value string) bool {
	word := strings.ToLower(strings.Trim(value, `\"'`))
	switch word {
	case "", "yes", "no", "true", "false", "on", "off", "none", "null", "0", "1":
		return true
	}
	return strings.Contains(word, strings.TrimSuffix(Hidden, "]")) || strings.HasPrefix(word, "$") && !strings.Contains(word[1:], "$") || strings.HasPrefix(word, "/etc/") || strings.HasPrefix(word, "/usr/") ||
		strings.HasPrefix(word, "/run/") || strings.HasPrefix(word, "/var/") || strings.HasPrefix(word, "%")
}
