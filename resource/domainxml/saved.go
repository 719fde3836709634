package domainxml

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"
)

const savedMark = "<!-- saved by vmferry-agent "

// Seal is text with a first line that lets a later call know it for our own, and unchanged.
func Seal(text string) string {
	return fmt.Sprintf("%s%x -->\n%s", savedMark, sha256.Sum256([]byte(text)), text)
}

// Unseal gives back what seal was given; ours is false for all other text, and also for ours when
// somebody has edited it.
func Unseal(sealed string) (text string, ours bool) {
	if !strings.HasPrefix(sealed, savedMark) {
		return "", false
	}
	_, text, _ = strings.Cut(sealed, "\n")
	return text, Seal(text) == sealed
}

// secretWords are in a domain XML that libvirt gives with VIR_DOMAIN_XML_SECURE only, or in front of arguments for QEMU
// that bypass libvirt. Where one means something else, the file is private without need.
var secretWords = regexp.MustCompile(`(?i)passw|secret|<launchSecurity|<qemu:`)

// MayHoldSecrets reports whether a guest's XML may hold what nobody but root is to know.
func MayHoldSecrets(text string) bool { return secretWords.MatchString(text) }

// Update is what becomes of a config file when the guest's configuration is to be saved to it.
type Update int

// What may become of it.
const (
	Unchanged       Update = iota // it has the configuration
	Edited                        // an edit of the operator's is meant for the next start
	Replace                       // it is replaced, as it was saved before
	ReplaceOriginal               // it is kept under another name, and replaced
)

// DecideUpdate is the rule: old is the file's text, private that nobody but its owner may read it, and edited that it
// was written to after the guest started here.
func DecideUpdate(old, text string, private, edited bool) Update {
	before, ours := Unseal(old)
	switch {
	case old == text, ours && before == text && (private || !MayHoldSecrets(text)):
		return Unchanged
	case ours:
		return Replace
	case edited:
		return Edited
	}
	return ReplaceOriginal
}
