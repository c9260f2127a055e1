"""What the jobs share: the slice of a config that a job reads, cells and rows, data and networks, files of rows."""
