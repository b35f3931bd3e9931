"""Where versions, index entries and claims are kept. `protocol` is the contract; the stores are blind to each other."""
