module build/peers/internal

go 1.26.0
