"""The subcommands of `edge_runtime`, a file each, imported when asked for."""
