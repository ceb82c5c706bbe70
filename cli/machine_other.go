//go:build !linux

package cli

// memory and diskFree are known on Linux; elsewhere 0 stands for "the system does not tell".
func memory() (total, available uint64) { return 0, 0 }

func diskFree(string) uint64 { return 0 }
