"""What analysts and operators run beside the service: nothing here is on the way of a request."""
