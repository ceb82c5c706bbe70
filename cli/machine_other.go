//go:build !linux

package cli

// memory is known on Linux; elsewhere 0 stands for "the system does not tell".
func memory() (total, available uint64) { return 0, 0 }
