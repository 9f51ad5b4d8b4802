// Package arch tests the shape of the project: who may import whom, and what a
// reader may count on in every file and package. It is tests alone; the rules
// are tables in them, and a refusal says why.
//
// The tests read the files themselves instead of asking the go command, so that
// the go command sees what they depend on and runs them again when it changes.
package arch
