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

// secretWords stand in what libvirt tells of a guest only to those who may know its secrets, or in front of what
// somebody hands QEMU past libvirt. Where one stands for something else, the file is private without need.
var secretWords = regexp.MustCompile(`(?i)passw|secret|<launchSecurity|<qemu:`)

// MayHoldSecrets tells whether a guest's XML may hold what nobody but root is to know.
func MayHoldSecrets(text string) bool { return secretWords.MatchString(text) }
