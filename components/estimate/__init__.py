"""What a training takes, told before it starts: parameters, memory, operations and time. It changes no output."""
