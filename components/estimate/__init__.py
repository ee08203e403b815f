"""The cost of a training, told before it starts: parameters, memory, operations and time. It changes no output."""
