// Package endpoint reads what a target is called, such as udp://HOST:PORT: the
// schemes that there are, and what each needs. It resolves no names.
package endpoint
