"""The command `cloudbutton`."""
