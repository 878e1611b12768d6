"""The subcommands of `dmnil-map`, one file each."""
