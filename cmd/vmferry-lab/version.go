package main

// revision is the commit that was built; the Makefile sets it.
var revision string

func commit() string {
	if revision == "" {
		return "unknown"
	}
	return revision
}
