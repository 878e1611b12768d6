"""Where fixes go: log files and a picture of the track."""
