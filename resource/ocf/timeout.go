package ocf

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// timeoutVar holds the action's timeout in milliseconds.
	timeoutVar = "OCF_RESKEY_CRM_meta_timeout"
	// MaxTimeout keeps arithmetic on timeouts in range. A year is no timeout any more.
	MaxTimeout = 365 * 24 * time.Hour
)

// Timeout is the action's timeout in an environment, or fallback where it is unset or senseless.
func Timeout(environ []string, fallback time.Duration) time.Duration {
	if t := ParseTimeout(Variable(environ, timeoutVar, "")); t > 0 {
		return t
	}
	return fallback
}

// ParseTimeout reads milliseconds; 0 is no timeout.
func ParseTimeout(s string) time.Duration {
	ms, err := strconv.ParseInt(s, 10, 64)
	if err != nil || ms <= 0 {
		return 0
	}
	return time.Duration(min(ms, MaxTimeout.Milliseconds())) * time.Millisecond
}

// SetTimeout returns the environment with another timeout, of a millisecond at least; the
// list that it was given stays as it is.
func SetTimeout(environ []string, timeout time.Duration) []string {
	ms := max(timeout.Milliseconds(), 1)
	others := slices.DeleteFunc(slices.Clone(environ),
		func(v string) bool { return strings.HasPrefix(v, timeoutVar+"=") })
	return append(others, timeoutVar+"="+strconv.FormatInt(ms, 10))
}
