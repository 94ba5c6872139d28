package secret_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/patchlab/patchlab/harness/secret"
)

// hunter is in every secret of the tests, so that one search finds what was left.
const hunter = "Hunter2"

func TestSecretsAreHiddenAndWhatIsAroundThemStays(t *testing.T) {
	const long = "Hunter2abcdefghij0123456789KLMNOP"
	hider := secret.NewHider()
	for in, want := range map[string]string{
		"a\n-----BEGIN RSA PRIVATE KEY-----\nHunter2\nx==\n-----END RSA PRIVATE KEY-----\nb": "a\n[private key hidden]\nb",
		"-----BEGIN OPENSSH PRIVATE KEY-----\nHunter2 and no end":                            "[private key hidden]",
		`"text":"-----BEGIN PRIVATE KEY-----\nHunter2\n-----END PRIVATE KEY-----\n"`:         `"text":"[private key hidden]\n"`,
		"@@\n Hunter2abcdefghijkl\n-Hunter2abcdefghijkl\n -----END EC PRIVATE KEY-----\n":    "@@\n[private key hidden]\n",
		"root:$6$salt$Hunter2abcdefgh:19000:0:99999:7:::":                                    "root:[hidden]:19000:0:99999:7:::",
		"root:$y$j9T$Hunter2/x.y$Hunter2abcdefgh:19000:":                                     "root:[hidden]:19000:",
		"web:Hunter2abcdefg:1000:1000::/home/web:/bin/sh":                                    "web:[hidden]:1000:1000::/home/web:/bin/sh",
		"password_pbkdf2 root grub.pbkdf2.sha512.10000.AB0C.DE1F":                            "password_pbkdf2 root [hidden]",
		"userPassword: {SSHA}Hunter2abc=":                                                    "userPassword: [hidden]",
		"Acquire::http::Proxy \"http://apt:Hunter2@proxy.example.org:3128/\";":               "Acquire::http::Proxy \"http://[hidden]@proxy.example.org:3128/\";",
		"deb https://" + long + "@deb.example.org/ x main":                                   "deb https://[hidden]@deb.example.org/ x main",
		"//nas/share cifs username=web,password=Hunter2,vers=3":                              "//nas/share cifs username=web,password=[hidden],vers=3",
		"Environment=\"API_TOKEN=Hunter2\" MODE=x":                                           "Environment=\"API_TOKEN=[hidden]\" MODE=x",
		"DB_PASSWORD='two Hunter2 words'":                                                    "DB_PASSWORD='[hidden]'",
		"pg_pass = Hunter2":                                                                  "pg_pass = [hidden]",
		`{"client_secret": "Hunter2", "a": 1}`:                                               `{"client_secret": "[hidden]", "a": 1}`,
		`"text":"token = \"Hunter2 x\"\nnext"`:                                               `"text":"token = \"[hidden]\"\nnext"`,
		"machine example.org login web password Hunter2":                                     "machine example.org login web password [hidden]",
		"requirepass Hunter2":                                                                "requirepass [hidden]",
		"ALTER USER web WITH PASSWORD 'Hunter2';":                                            "ALTER USER web WITH PASSWORD '[hidden]';",
		"Authorization: Bearer " + long:                                                      "Authorization: Bearer [hidden]",
		"BOOT_IMAGE=/vmlinuz root=UUID=1 rd.luks.key=Hunter2 quiet":                          "BOOT_IMAGE=/vmlinuz root=UUID=1 rd.luks.key=[hidden] quiet",
		"systemd.set_credential=db.pw:Hunter2 quiet":                                         "systemd.set_credential=db.pw:[hidden] quiet",
		"PrivateKey = Hunter2/abc+def=":                                                      "PrivateKey = [hidden]",
		"STRIPE_KEY=" + long:                                                                 "STRIPE_KEY=[hidden]",
		"clone with ghp_Hunter2abcdefghij0123456789":                                         "clone with [hidden]",
	} {
		got := hider.Hide(in)
		if got != want {
			t.Errorf("Hide(%q)\n     = %q,\nwant   %q", in, got, want)
		}
		if again := hider.Hide(got); again != got {
			t.Errorf("hidden twice: %q, then %q", got, again)
		}
	}
}

func TestSettingsThatOnlySoundSecretStay(t *testing.T) {
	hider := secret.NewHider()
	for _, text := range []string{
		"PasswordAuthentication no\n#PermitRootLogin prohibit-password\nPubkeyAuthentication yes\n",
		"passwd:         files systemd\ngroup:          files systemd\nshadow:         files\n",
		"password\t[success=1 default=ignore]\tpam_unix.so obscure yescrypt\npassword required pam_permit.so\n",
		"#password_encryption = scram-sha-256\t# scram-sha-256 or md5\nssl_key_file = '/etc/ssl/private/web.key'\n",
		"private_key\t= $dir/private/cakey.pem\nssl_certificate_key /etc/ssl/private/web.key;\n",
		"root:x:0:0:root:/root:/bin/bash\nsshd:x:101:65534::/run/sshd:/usr/sbin/nologin\nsystemd-network:!*:19000:::::\n",
		"PASS_MAX_DAYS\t99999\nENCRYPT_METHOD YESCRYPT\n",
		"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://debian.example.org/debian bookworm main\n",
		"git clone ssh://git@example.org/x.git https://example.org/a:b@c\n",
		"KEYMAP=de\nXKBLAYOUT=us\nHostKey /etc/ssh/ssh_host_ed25519_key\n",
		"use_token = yes\nsecret = $SECRET\n",
		"2: eth0: <BROADCAST> 00:11:22:33:44:55 brd ff:ff:ff:ff:ff:ff\nlibssl3:amd64 (3.0.20-1~deb12u1) over (3.0.22)\n",
		"[    1.0] systemd[1]: Listening on ssh.socket - OpenBSD Secure Shell server socket.\n",
	} {
		if got := hider.Hide(text); got != text {
			t.Errorf("Hide(%q)\n     = %q", text, got)
		}
	}
}

func TestAFileIsReplacedOnlyWhenThereIsSomethingToHide(t *testing.T) {
	hider := secret.NewHider()
	file := filepath.Join(t.TempDir(), "console.log")
	for content, want := range map[string]string{
		"nothing\n": "nothing\n",
		"token=Hunter2\n" + strings.Repeat("x\n", 3<<18): "token=[hidden]\n" + strings.Repeat("x\n", 3<<18),
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := hider.HideFile(file); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("of %d bytes %d were left, want %d", len(content), len(got), len(want))
		}
	}
	if err := hider.HideFile(file + ".none"); err != nil {
		t.Errorf("a file that does not exist: %v", err)
	}
	if left, err := filepath.Glob(filepath.Dir(file) + "/*.new"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func FuzzHide(f *testing.F) {
	f.Add("password=x -----BEGIN PRIVATE KEY-----\n$6$abc$abcdefgh http://a:b@c/ Authorization: Bearer abcdefgh")
	hider := secret.NewHider()
	f.Fuzz(func(t *testing.T, text string) {
		hidden := hider.Hide(text)
		if utf8.ValidString(text) && !utf8.ValidString(hidden) {
			t.Errorf("%q became %q", text, hidden)
		}
		if planted := hider.Hide(text + "\nDB_PASSWORD=" + hunter + "\n"); !strings.Contains(text, hunter) && strings.Contains(planted, hunter) {
			t.Errorf("behind %q a password is not seen", text)
		}
	})
}
