"""The upkeep of a served model: its traffic is watched, it is trained again when that is due,
and promoted, by the clock."""
