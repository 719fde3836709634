package main

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vmferry/vmferry/lab/styletest"
)

// batch is one package's fuzz targets, which run in one binary.
type batch struct {
	dir     string
	targets []styletest.FuzzTarget
}

// plan groups those targets by package whose "package Name" matches, in the order of the packages' paths.
func plan(targets []styletest.FuzzTarget, only *regexp.Regexp) []batch {
	var out []batch
	for _, t := range targets {
		if !only.MatchString(t.Dir + " " + t.Name) {
			continue
		}
		i := slices.IndexFunc(out, func(b batch) bool { return b.dir == t.Dir })
		if i < 0 {
			i = len(out)
			out = append(out, batch{dir: t.Dir})
		}
		out[i].targets = append(out[i].targets, t)
	}
	slices.SortFunc(out, func(a, b batch) int { return strings.Compare(a.dir, b.dir) })
	return out
}

// outcome is what one run of a target did, by the counts that it printed.
type outcome struct {
	// executions are all calls of the target, seeds those of the corpus, which come first.
	executions, seeds int
	// interesting are the new inputs that raised the coverage.
	interesting int
	// skipped is why the target did nothing here, such as for a program that is missing; "" for one that ran.
	skipped string
}

var (
	fuzzing  = regexp.MustCompile(`(?m)^fuzz: .*: (\d+)/\d+ completed, now fuzzing`)
	skipping = regexp.MustCompile(`(?m)^(?: +\S+?:\d+: (.*)\n)?--- SKIP: `)
	counted  = regexp.MustCompile(`(?m)^fuzz: .* execs: (\d+) \([^)]*\)(?:, new interesting: (\d+) )?`)
)

// judge reads what a target printed that exited with success. want is the number of executions that it was to do,
// 0 when it was given a time. The error says why the run does not count as one.
func judge(printed string, want int) (outcome, error) {
	var o outcome
	if skip := skipping.FindStringSubmatch(printed); skip != nil {
		o.skipped = cmp.Or(skip[1], "it does not say why")
		return o, nil
	}
	start, counts := fuzzing.FindStringSubmatch(printed), counted.FindAllStringSubmatch(printed, -1)
	if start == nil || len(counts) == 0 {
		return o, fmt.Errorf("it did not fuzz")
	}
	last := counts[len(counts)-1]
	o.seeds, _ = strconv.Atoi(start[1])
	o.executions, _ = strconv.Atoi(last[1])
	o.interesting, _ = strconv.Atoi(last[2])
	switch {
	case o.executions <= o.seeds:
		return o, fmt.Errorf("its corpus of %d inputs took all %d executions; none was left for a new input", o.seeds,
			o.executions)
	case o.executions < want:
		return o, fmt.Errorf("it stopped after %d of %d executions", o.executions, want)
	}
	return o, nil
}
