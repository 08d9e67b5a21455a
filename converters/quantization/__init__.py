"""Models whose kernels are 8-bit integers, with figures of what that costs."""
