// Package mutation plants bugs in the code of the project, one at a time, and
// runs the simulations that are expected to find them: a simulation that finds
// nothing may as well be blind. It is tests alone. There are no hooks for it in the
// code: the go command is given other files in place of some of its own
// (go help build, -overlay).
package mutation
