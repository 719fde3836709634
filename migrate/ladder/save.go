package ladder

import (
	"math"
	"time"
)

// Save saves the guest to shared storage, from which it is restored elsewhere.
const Save Rung = "save"

var save = Spec{
	Name: Save, Ended: "it was saved", Needs: []Need{SaveDir}, Takes: savingTime,
	Text: "(with save_dir) is for a guest that could not be moved: the stop that follows saves its memory, " +
		"and the start on the other node restores it. A stop that was requested on its own does not save.",
}

func savingTime(e Ending) (_ time.Duration, ok bool) {
	ns := e.Bytes / e.StoreRate * float64(time.Second)
	if e.StoreRate > 0 && ns < math.MaxInt64/4 { // more is no time that counts
		return time.Duration(ns), true
	}
	return 0, false
}
