"""What analysts and operators run beside the service. No code here runs during a request."""
