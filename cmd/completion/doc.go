// Package completion makes a program's completion for bash from its flag sets, so that both cannot differ. Each program
// prints its own with --completion bash, which make install puts where bash looks for it.
package completion
