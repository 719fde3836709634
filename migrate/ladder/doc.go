// Package ladder is what may be done to get a guest off its node: one record for each rung, from the gentlest to the
// roughest.
package ladder
