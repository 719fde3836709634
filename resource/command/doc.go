// Package command runs other programs: by argument list and no shell, with a deadline that holds even where the program
// does not end by itself, and with a bound on what is kept of its output. It is the only way in which vmferry does
// that.
package command
