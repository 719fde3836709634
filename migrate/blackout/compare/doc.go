// Package compare decides whether two sets of runs of the probe differ: for each
// target and each figure the median and the spread of both sides, and how likely
// so great a difference would be if there were none.
//
// That likelihood is the two-sided p of the rank test of Mann, Whitney and
// Wilcoxon (Ann. Math. Statist. 18 (1947) 50), which assumes nothing of how the
// figures are distributed. It is exact for small sets without ties. Fewer than
// four runs on each side cannot show a difference at the usual 5 %, however
// great it is.
//
// [Runs] does everything; [MannWhitney] is the test alone.
package compare
