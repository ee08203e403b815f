"""What keeps a served model good: its traffic watched, trained again when that is due, promoted, by the clock."""
