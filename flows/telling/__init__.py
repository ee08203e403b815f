"""The messages to people: the output of commands, as tables or JSON; the figures of a run; alerts."""
