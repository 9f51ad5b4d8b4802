//go:build race

package racing

// Enabled says whether the race detector is in this program.
const Enabled = true
