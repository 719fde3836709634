package reflector

import "time"

// RenewKeysEvery makes the keys of the cookies last for so long; nothing may be served yet.
func (r *Reflector) RenewKeysEvery(life time.Duration) { r.handshake.keys = newCookieKeys(life) }

// KeysRenewed is how often the key was renewed; nothing may be served any more.
func (r *Reflector) KeysRenewed() uint64 { return r.handshake.keys.epoch - 2 }
