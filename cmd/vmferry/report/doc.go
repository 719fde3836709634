// Package report makes something to read of migrations' records: a table, JSON,
// and one HTML page that needs nothing else. Start with New.
package report
