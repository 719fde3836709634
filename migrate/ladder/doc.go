// Package ladder is what may be done to get a guest off its node: one [Spec] for each rung, from the gentlest to the
// roughest. All others ask a rung for its properties and do not compare names: the planner (package drain), the
// prediction, the migration engine, the agent with its parameter, meta-data and manual, and the commands' tables.
//
// A new rung is one new file beside live.go and one line in [Specs]. Where it needs something that no rung needs so
// far, its executor is new too: a live one is made by the migration engine, by its [Techniques]; one that ends the
// guest by the agent's stop, which has a table of them (resource/stop.go). Tests fail where the executor or the
// paragraph in the agent's manual is missing.
package ladder
