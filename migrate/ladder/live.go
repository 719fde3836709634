package ladder

// Live is pre-copy, with the guest at its full speed.
const Live Rung = "live"

var live = Spec{Name: Live, Live: true, Text: "moves it while it runs."}
