"""From labelled rows to a model bundle: split in time, weigh, boost, calibrate, export exactly."""
