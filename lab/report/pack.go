package report

import (
	"math"
	"strings"
)

// digits write a number to base 64 in characters that JSON and HTML leave alone.
const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"

// repeat comes before three digits that say how often the value before it
// comes again.
const (
	repeat    = '*'
	maxRepeat = 64*64*64 - 1
)

// packed is a sequence of numbers as the page carries it: each number takes
// Width digits, and runs of equal numbers are written once. page.js unpacks it.
type packed struct {
	Width int    `json:"w"`
	Text  string `json:"s"`
}

// pack writes values with as few digits as the largest of them needs.
func pack(values []uint32) packed {
	var largest uint32
	for _, v := range values {
		largest = max(largest, v)
	}
	width := 1
	for v := largest >> 6; v > 0; v >>= 6 {
		width++
	}
	var b strings.Builder
	for i := 0; i < len(values); {
		run := 1
		for i+run < len(values) && values[i+run] == values[i] && run <= maxRepeat {
			run++
		}
		packRun(&b, values[i], run, width)
		i += run
	}
	return packed{width, b.String()}
}

// packRun writes v run times, in whichever form is shorter.
func packRun(b *strings.Builder, v uint32, run, width int) {
	putDigits(b, v, width)
	if rest := run - 1; rest*width > 4 {
		b.WriteRune(repeat)
		putDigits(b, uint32(rest), 3)
		return
	}
	for range run - 1 {
		putDigits(b, v, width)
	}
}

func putDigits(b *strings.Builder, v uint32, width int) {
	for shift := 6 * (width - 1); shift >= 0; shift -= 6 {
		b.WriteByte(digits[v>>shift&63])
	}
}

// Round trips span seven decades, and the page needs their magnitude: they are
// sent as one of 4096 logarithmic steps up to rttTop, which are 0.5 % apart.
// 0 stays 0, "no answer".
const (
	rttSteps = 4095
	rttTop   = 1e8 // µs
)

// rttStep is the step of a round trip in microseconds.
func rttStep(us uint32) uint32 {
	if us == 0 {
		return 0
	}
	step := math.Round(math.Log1p(float64(us)) / math.Log1p(rttTop) * rttSteps)
	return uint32(min(max(step, 1), rttSteps))
}

// zigzag writes a small difference of either sign as a small number.
func zigzag(sent, answered uint32) uint32 {
	d := int64(sent) - int64(answered)
	if d < 0 {
		return uint32(-2*d - 1)
	}
	return uint32(2 * d)
}
