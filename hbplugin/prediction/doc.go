// Package prediction says what becomes of the guests of this node when the node goes down: while nothing is going on,
// every few minutes ([Watch], which reports what changed), and at a shutdown ([Predictor.AtShutdown]), when a fraction
// of a second must do. After the drain it collects where each guest is and what the records say of it
// ([Predictor.Trace]).
//
// The verdicts themselves are those of package verdict.
package prediction
