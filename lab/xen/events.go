package xen

import (
	"encoding/json"
	"io"
)

// resets follows QEMU's events (qemu-qmp-ref(7)) until the connection ends, and
// reports whether the machine went down to boot again. A machine that is
// switched off, or killed, did not.
func resets(qmp io.ReadWriter) bool {
	if _, err := io.WriteString(qmp, `{"execute":"qmp_capabilities"}`+"\n"); err != nil {
		return false
	}
	reset := false
	messages := json.NewDecoder(qmp)
	for {
		var message struct {
			Event string `json:"event"`
			Data  struct {
				Reason string `json:"reason"`
			} `json:"data"`
		}
		if messages.Decode(&message) != nil {
			return reset
		}
		if message.Event == "SHUTDOWN" {
			reset = message.Data.Reason == "guest-reset"
		}
	}
}
