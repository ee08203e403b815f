"""How requests are let in, read, judged, answered and refused."""
