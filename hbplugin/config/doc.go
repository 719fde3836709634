// Package config reads vmferryd.toml(5), the one configuration of vmferryd and vmferry, so that both mean the same
// node, manager and guests. The reference file cmd/vmferryd/vmferryd.toml explains each setting.
package config
