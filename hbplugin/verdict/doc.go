// Package verdict says what will become of each guest of this node when the node goes into standby: by the
// cluster manager's word, and, where that is a live migration, by the target's.
//
// [Decide] joins the two words; it is the whole rule. [Asker] asks for them: the manager forecasts, and the
// engine's pre-flight is run for each guest that would be moved live, against the node that the manager
// chose. Nothing is changed by that.
package verdict
