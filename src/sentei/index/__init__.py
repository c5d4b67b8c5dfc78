"""The index algebra: atoms, equalities between them, sizes with a memory. No torch."""
