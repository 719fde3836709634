// Package predict says how a migration will go.
package predict
