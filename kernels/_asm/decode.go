package main

// decoders emits block -> bf16 row decoders, n blocks each.
func decoders(a *asm) {}
