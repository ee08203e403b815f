"""The cost of a training, estimated before it starts: parameters, memory, operations and time. It changes no output."""
