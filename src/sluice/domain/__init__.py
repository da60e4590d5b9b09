"""The rules of a sale: pure values and functions, the standard library alone, no I/O."""
