module tune/kernels/asm

go 1.26.0
