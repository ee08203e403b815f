"""What people are told: what commands print, as tables or JSON; the figures of a run; alerts."""
