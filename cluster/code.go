package cluster

import "fmt"

// Code says what the machine decided about a command. It is part of the format,
// by its name: see docs/format/cluster.md.
type Code uint8

// The codes.
const (
	Undecided      Code = iota // never an answer to a command
	Applied                    // done, now or before
	Malformed                  // the command breaks the format or its rules
	NotInitialized             // there is no cluster yet
	Initialized                // there is one, with other content
	UnknownNode                // no such node was ever added, or it is long removed
	UnknownGroup               // the cluster has no such group
	NodeRemoved                // the node is leaving or removed: it does not come back, and nobody takes its place
	AddressTaken               // another node has the peer address
	AddressMissing             // every node of several needs a peer address
	LastNode                   // there would be no node left
	NoReplica                  // the node shall have no replica of the group
	LimitReached               // MaxNodes
	Outdated                   // a later report is known
	NodeExists                 // the node is one of the cluster already, and took the place of no such node
)

var codeNames = [...]string{
	Undecided: "undecided", Applied: "applied", Malformed: "malformed", NotInitialized: "not_initialized",
	Initialized: "already_initialized", UnknownNode: "unknown_node", UnknownGroup: "unknown_group", NodeRemoved: "node_removed",
	AddressTaken: "address_taken", AddressMissing: "address_missing", LastNode: "last_node", NoReplica: "no_replica",
	LimitReached: "limit_reached", Outdated: "outdated", NodeExists: "node_exists",
}

// Codes returns all codes.
func Codes() []Code {
	codes := make([]Code, len(codeNames))
	for i := range codes {
		codes[i] = Code(i)
	}
	return codes
}

// String returns the code's name.
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("code(%d)", uint8(c))
}

// MarshalText returns the code's name.
func (c Code) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads a code's name.
func (c *Code) UnmarshalText(text []byte) error {
	for i, name := range codeNames {
		if name == string(text) {
			*c = Code(i)
			return nil
		}
	}
	return fmt.Errorf("cluster: unknown code %q", text)
}
