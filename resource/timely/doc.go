// Package timely bounds work that may hang: it is left behind at the end of a context, where no signal ends it.
//
// [Do] and [Get] take the context's time; [DoBriefly] and [GetBriefly] are for a side job, which must not take the time
// of what matters more.
package timely
