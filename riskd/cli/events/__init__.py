"""`riskd events`: the receiver of shared signals, and tools to set it up."""
