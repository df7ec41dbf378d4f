"""The receiver of shared signals (SSF 1.0): takes security event tokens from transmitters, and reports them to
riskd."""
