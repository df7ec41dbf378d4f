"""What riskd asks of the machine that it runs on: threads, the clock, files, locks between processes, HTTP."""
