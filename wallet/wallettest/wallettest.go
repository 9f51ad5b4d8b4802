// Package wallettest has what every implementation of a wallet's stores passes, and one in
// memory of each, for tests.
package wallettest
