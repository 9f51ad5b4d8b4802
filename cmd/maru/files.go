package main

import (
	"fmt"
	"log/slog"
	"syscall"
)

const (
	// ownFiles is how many of the files that the process may open are kept from
	// the clients, for the log, snapshots, keys, profiles and the runtime.
	ownFiles = 128
	// fewestConnections is how many connections a port must be able to have.
	fewestConnections = 16
)

// limitConnections lowers --max-connections to what the limit on open files
// leaves: a log that finds none left for its next segment ends the process. Go has
// raised the soft limit to the hard one when the process started.
func (o *serveOptions) limitConnections(logger *slog.Logger) error {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return failed(fmt.Errorf("read the limit on open files: %w", err), "ulimit -n shows it")
	}
	limit := uint64(files.Cur) //nolint:unconvert // it is an int64 on FreeBSD
	most := connectionsOf(limit)
	switch {
	case most < fewestConnections:
		return failed(fmt.Errorf("this process may open %d files, which is too few", limit),
			fmt.Sprintf("raise the limit, with ulimit -n or LimitNOFILE=, to %d, or better 10000", ownFiles+2*fewestConnections))
	case uint64(o.maxConnections) > most:
		logger.Warn("fewer connections are taken than --max-connections, as the process may not open more files: raise ulimit -n or LimitNOFILE=",
			"max_connections", o.maxConnections, "taken", most, "open_files", limit)
		o.maxConnections = int(most) //nolint:gosec // it is less than maxConnections
	}
	return nil
}

// connectionsOf returns how many connections each of the two ports may have in a
// process that may open so many files.
func connectionsOf(files uint64) uint64 {
	return (max(files, ownFiles) - ownFiles) / 2
}
